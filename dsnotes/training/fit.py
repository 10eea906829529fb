"""From cases to a trained network: a plain loop that can be stopped anywhere and goes on from there."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dsnotes.data.any_dataset import as_cases
from dsnotes.data.augment import Augmentation
from dsnotes.data.dataset import Dataset
from dsnotes.data.task import read_task, task_of
from dsnotes.supervision.base import Batch
from dsnotes.training import checkpoints, devices, distributed, precision, schedules
from dsnotes.training.arguments import check_arguments
from dsnotes.training.asked import refuse_no_system
from dsnotes.training.batches import Draw, ahead, for_validation, seed_of
from dsnotes.training.history import History, Record
from dsnotes.training.metric_accumulator import MetricAccumulator
from dsnotes.training.preflight import augmentation, fitting_patch, refuse_unfit
from dsnotes.training.progress import Progress
from dsnotes.training.run_identity import describe_run
from dsnotes.training.settings import Number, Settings
from dsnotes.training.sizes import refuse_too_large
from dsnotes.training.statistics import reestimate_statistics
from dsnotes.training.step import Step
from dsnotes.training.system import System
from dsnotes.training.validate import validate


def fit(
    system: System,
    train: Any,
    val: Any = None,
    *,
    patch: Sequence[int] | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    lr: Number | None = None,
    iterations: int | None = None,
    accumulate: int | None = None,
    augment: bool | Augmentation | None = None,
    settings: Settings | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    amp: bool | str = "auto",
    deterministic: bool = True,
    channels_last: bool | str = "auto",
    compile: bool | str = False,  # noqa: A002
    checkpointing: bool = False,
    memory: Number | None = None,
    on_epoch: Callable[[History], object] | None = None,
    progress: bool = True,
    workers: int = 1,
    prefetch: int = 2,
) -> History:
    """Train `system.network` in place and return one record an epoch.

    `train` and `val` are lists or map-style datasets of cases, of {"image", "label"} dicts or of (image, label) pairs.
    What is not given comes from `settings`, or else from the system's own. With `out`, that folder holds a checkpoint
    after every epoch and the same command goes on from it, on a CPU bit for bit as if it had never been stopped.
    `on_epoch` gets the history after every epoch and may end the run by returning True. `seed` decides the batches,
    their augmentation and the dropout, not the weights the network came with. `workers` threads draw the batches up
    to `prefetch` ahead; `workers=0` draws them in between. A step that takes more than `memory` gigabytes, or than the
    device has, is refused before the first with sizes that fit; `checkpointing` computes the backbone's blocks again
    on the way back instead of keeping them. `compile` may name a mode of torch.compile: "reduce-overhead" is CUDA
    graphs, for small networks.
    """
    refuse_no_system(system)
    shape = {"dims": system.dims, "channels": system.network.backbone.in_channels}
    train = as_cases("train", train, **shape)
    val = None if val is None else as_cases("val", val, **shape)
    check_arguments(seed=seed, workers=workers, prefetch=prefetch, on_epoch=on_epoch, memory=memory)
    patch = tuple(patch) if isinstance(patch, Iterable) else patch
    given = {"patch": patch, "epochs": epochs, "batch": batch, "lr": lr, "iterations": iterations,
             "accumulate": accumulate, "augment": augment}  # fmt: skip
    settings = replace(settings or system.settings, **{k: v for k, v in given.items() if v is not None})
    settings = replace(settings, patch=fitting_patch(system, settings, train))
    refuse_unfit(system, settings, train, val, seed)
    world = distributed.here()
    device = devices.pick(device, local=world.local)
    folder = None if out is None else checkpoints.prepare(out)
    task = system.task or (task_of(train) if isinstance(train, Dataset) else None)
    if task is not None and folder is not None and world.first and read_task(folder) is None:
        task.save(folder)
    samples = settings.batch * settings.accumulate * world.size

    with ExitStack() as stack:
        stack.enter_context(checkpoints.alone(folder if world.first else None))
        stack.enter_context(distributed.joined(world, device))
        stack.enter_context(devices.reproducible(device, deterministic=deterministic))
        stack.enter_context(devices.explained_memory(settings, system.network.backbone.stride, device))
        system.network.to(device)
        devices.arrange(system.network, system.dims, channels_last, device)
        augment = augmentation(settings.augment)
        draw = Draw(train, settings, system.classes, augment, seed, world.rank, device, world.size)
        iterations = draw.iterations
        run = describe_run(system, settings, train, val, seed=seed, processes=world.size)
        room = refuse_too_large(
            system,
            settings,
            lambda: draw.ready(draw(1, 0)),
            device=device,
            limit=memory,
            amp=precision.choose(amp, device, lambda: None)[0],
            checkpointing=checkpointing,
        )
        how = {"compile": compile} | ({"checkpointing": True} if checkpointing else {})  # a step may know no others
        step, history = begin(system, settings, draw, run, folder, amp=amp, how=how)
        history.notes += [room] if room and not any(note.startswith("a step takes") for note in history.notes) else []
        moments = ((e, i) for e in range(len(history) + 1, settings.epochs + 1) for i in range(iterations))
        batches = stack.enter_context(closing(ahead(draw, moments, workers=workers, prefetch=prefetch)))
        shown = Progress(settings.epochs, iterations, started=len(history), shown=progress and world.first)
        stack.enter_context(closing(shown)).say(history.notes)
        if not len(history):
            heed(step.remark(history), history, aloud=world.first)
        try:
            for epoch in range(len(history) + 1, settings.epochs + 1):
                started = time.perf_counter()
                lr = schedules.rate(settings, epoch - 1, history.column("loss"))
                if schedules.finished(settings, history, lr):
                    history.stopped = f"stop={settings.stop!r}"
                    break
                step.set_lr(lr)
                ledger = MetricAccumulator(epoch, look_every=1 if device.type == "cpu" else 16)
                for iteration in range(iterations):
                    devices.seed_everything(seed_of(seed, world.rank, epoch, iteration), device)  # dropout, sampling
                    ledger.add(step(draw.ready(next(batches))))
                    shown.step()
                record: Record = {"epoch": epoch, **distributed.average(ledger.means(), device), "lr": lr}
                record["samples_per_second"] = iterations * samples / (time.perf_counter() - started)
                if settings.reestimate:
                    again = (draw.ready(draw(epoch, i))["image"] for i in range(min(settings.reestimate, iterations)))
                    reestimate_statistics(system.network, again)
                if val is not None:
                    seen = for_validation(val, settings, seed=seed, world=world, workers=workers)
                    record |= validate(step.terms, system.deploy, seen, classes=system.classes, device=device)
                history.append({**record, "seconds": time.perf_counter() - started})
                heed(step.remark(history), history, aloud=world.first)
                if folder is not None and world.first:
                    checkpoints.save(folder, run=run, network=system.network, step=step, history=history)
                shown.epoch(record)
                if on_epoch is not None and on_epoch(history) is True:
                    history.stopped = "on_epoch"
                    break
            else:
                history.stopped = "epochs"
        except (KeyboardInterrupt, FloatingPointError) as error:
            history.stopped = "interrupted"
            if folder is not None:  # weights and history as they were after the last finished epoch
                found = checkpoints.load(folder)
                system.network.load_state_dict(found["network"])
                history.records = found["history"]
            if isinstance(error, FloatingPointError):
                raise
    return history


def begin(
    system: System,
    settings: Settings,
    draw: Draw,
    run: dict,
    folder: Path | None,
    *,
    amp: bool | str,
    how: dict,
) -> tuple[Step, History]:
    """The step and the history so far: a new one, or what `folder` holds if that is the same run."""
    distributed.together()  # the first may still be writing for a run before this one
    found = None if folder is None else checkpoints.load(folder)
    distributed.together()  # nor may it write a new one before the others have looked
    if found is not None and amp == "auto":
        amp = found["run"]["amp"] == "bfloat16"  # measured when the run began; a second measurement may fall otherwise
    dtype, sentence = precision.choose(amp, draw.device, lambda: precision.speedup(system, first_batch(draw)))
    run["amp"] = "float32" if dtype is None else "bfloat16"
    if found is not None:
        checkpoints.refuse_other_network(found["network"], system.network, folder / checkpoints.CHECKPOINT)
        checkpoints.refuse_other_run(found["run"], run, folder / checkpoints.CHECKPOINT)
    step = system.make_step(system, settings, amp=dtype, **how)
    if found is not None:
        history = checkpoints.restore(found, network=system.network, step=step)
        if len(history) > settings.epochs:
            raise ValueError(
                f"{folder} holds {len(history)} finished epochs, epochs={settings.epochs} asks for fewer. "
                f"Pass epochs={len(history)} or more, or another out."
            )
        return step, history
    history = History()
    history.notes.append(sentence)
    if folder is not None and draw.rank == 0:
        checkpoints.describe(folder, run)
        checkpoints.save(
            folder, run=run, network=system.network, step=step, history=history
        )  # the weights it began with
    return step, history


def heed(remark: str | None, history: History, *, aloud: bool) -> None:
    """Warn of it the first time it is made, also over several sittings, and keep it with the history."""
    if remark is None or remark in history.notes:
        return
    history.notes.append(remark)
    if aloud:
        warnings.warn(remark, RuntimeWarning, stacklevel=3)


def first_batch(draw: Draw) -> Batch:
    """As much as goes forward at once."""
    return {name: value[: draw.settings.batch] for name, value in draw.ready(draw(1, 0)).items()}
