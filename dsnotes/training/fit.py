"""`fit` trains a system on cases: a plain loop that can be interrupted anywhere and resumed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dsnotes.data.any_dataset import as_cases
from dsnotes.data.augmentations import augmentation_of
from dsnotes.data.dataset import Dataset
from dsnotes.data.task import read_task, task_of
from dsnotes.supervision.regions import label_values, regions_of
from dsnotes.training import budget as budget_module
from dsnotes.training import checkpoints, devices
from dsnotes.training.batches import Draw, for_validation, prefetched, seed_of
from dsnotes.training.checks import (
    check_arguments,
    check_run,
    check_system,
)
from dsnotes.training.forward_pass import choose_dtype, reestimate_statistics, set_memory_format, to_channels_last
from dsnotes.training.history import History, MetricAccumulator, Progress, Record
from dsnotes.training.patch_size import fitting_patch
from dsnotes.training.run_identity import describe_run
from dsnotes.training.settings import Settings, learning_rate, must_stop, settings_with
from dsnotes.training.step import Step
from dsnotes.training.system import System
from dsnotes.training.validate import empty_prediction, validate


def fit(
    system: System,
    train: Any,
    val: Any = None,
    *,
    settings: Settings | None = None,
    budget: str | float | None = None,
    timings: str | Path | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    amp: bool | str = "auto",
    deterministic: bool = True,
    channels_last: bool | str = "auto",
    compile: bool | str = False,  # noqa: A002
    checkpointing: bool = False,
    on_epoch: Callable[[History], object] | None = None,
    progress: bool = True,
    workers: int = 1,
    prefetch: int = 2,
    **overrides,
) -> History:
    """Train `system.network` in place and return the history, one record per epoch.

    `train` and `val` are lists or map-style datasets of cases, of {"image", "label"} dicts or of (image, label) pairs.
    `settings` defaults to the system's, and every field of `Settings` can be passed by name instead: patch=, epochs=,
    batch=, lr=, iterations=, … `budget`, such as "600 s", replaces `iterations` by the number of steps that one thread
    or the GPU makes in that time, measured once and kept in `history.steps_per_epoch`; runs that pass the same folder
    as `timings`, and differ in seed and cases alone, share the measurement and so make the same number of steps. With
    `out`, a checkpoint is saved in that folder after every epoch, and the same command resumes from it, on a CPU bit
    for bit as if it had never stopped. `on_epoch` is called with the history after every epoch and ends the run by
    returning True. `seed` determines the batches, their augmentation and the dropout, but not the network's initial
    weights. `workers` threads draw up to `prefetch` batches ahead; with `workers=0` they are drawn between the steps.
    `amp="auto"` and `channels_last="auto"` follow fixed rules (`training.forward_pass`). `checkpointing` recomputes the
    backbone's blocks in the backward pass to save memory. `compile` is True or a mode of torch.compile;
    "reduce-overhead" uses CUDA graphs, for small networks.
    """
    check_system(system)
    shape = {"dims": system.dims, "channels": system.network.backbone.in_channels}
    train = as_cases("train", train, **shape)
    val = None if val is None else as_cases("val", val, **shape)
    check_arguments(seed=seed, workers=workers, prefetch=prefetch, on_epoch=on_epoch)
    settings = settings_with(settings or system.settings, overrides)
    world = devices.world_from_env()
    device = devices.pick(device, local=world.local)
    settings = replace(settings, patch=fitting_patch(system, settings, train, device))
    check_run(system, settings, train, val, seed)
    folder = None if out is None else checkpoints.prepare(out)
    task = system.task or (task_of(train) if isinstance(train, Dataset) else None)
    if task is not None and folder is not None and world.first and read_task(folder) is None:
        task.save(folder)

    with ExitStack() as stack:
        stack.enter_context(checkpoints.locked_folder(folder if world.first else None))
        stack.enter_context(devices.joined(world, device))
        stack.enter_context(devices.keep_freed_memory(device))
        stack.enter_context(devices.reproducible(device, deterministic=deterministic))
        stack.enter_context(devices.explained_memory(settings, system.network.backbone.stride, device))
        system.network.to(device)
        augment = augmentation_of(settings.augment, system.dims)
        values = label_values(system.objective, system.classes)
        draw = Draw(train, settings, values, augment, seed, world.rank, device, world.size)
        if budget is not None:
            settings = steps_within(budget, system, settings, draw, folder, world, amp=amp, timings=timings)
            draw = replace(draw, settings=settings)
        run = describe_run(system, settings, train, val, seed=seed, processes=world.size)
        if budget is not None:
            run["budget"] = str(budget)
        if channels_last == "auto":
            stack.callback(set_memory_format, system.network, channels_last=False)  # restored at the end
        how = {"channels_last": channels_last, "compile": compile, "checkpointing": checkpointing}
        step, history = resume_or_start(system, settings, run, folder, device, world=world, amp=amp, **how)
        history.steps_per_epoch = draw.iterations
        iterations, samples = draw.iterations, settings.batch * settings.accumulate * world.size
        moments = ((e, i) for e in range(len(history) + 1, settings.epochs + 1) for i in range(iterations))
        batches = stack.enter_context(closing(prefetched(draw, moments, workers=workers, prefetch=prefetch)))
        shown = Progress(settings.epochs, iterations, started=len(history), shown=progress and world.first)
        stack.enter_context(closing(shown)).say(history.notes)
        if not len(history):
            warn_once(step.diagnose(history), history, aloud=world.first)
        try:
            for epoch in range(len(history) + 1, settings.epochs + 1):
                started = time.perf_counter()
                lr = learning_rate(settings, epoch - 1, history.column("loss"))
                if must_stop(settings, history, lr):
                    history.stopped = f"stop={settings.stop!r}"
                    break
                step.set_lr(lr)
                metrics = MetricAccumulator(epoch, look_every=1 if device.type == "cpu" else 16)
                for iteration in range(iterations):
                    devices.seed_everything(seed_of(seed, world.rank, epoch, iteration), device)  # dropout, sampling
                    metrics.add(step(draw.to_device(next(batches))))
                    shown.step()
                record: Record = {"epoch": epoch, **devices.average(metrics.means(), device), "lr": lr}
                record["samples_per_second"] = iterations * samples / (time.perf_counter() - started)
                if settings.reestimate:
                    again = range(min(settings.reestimate, iterations))
                    reestimate_statistics(system.network, (draw.to_device(draw(epoch, i))["image"] for i in again))
                if val is not None:
                    seen = for_validation(val, settings, seed=seed, world=world, workers=workers)
                    how_scored = {"classes": system.classes, "regions": regions_of(system.objective)}
                    record |= validate(step.evaluate, system.deploy, seen, **how_scored, device=device)
                history.append({**record, "seconds": time.perf_counter() - started})
                warn_once(step.diagnose(history), history, aloud=world.first)
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
            if folder is not None:  # back to the end of the last finished epoch
                found = checkpoints.load(folder)
                system.network.load_state_dict(found["network"])
                history.records = found["history"]
            if isinstance(error, FloatingPointError):
                raise
        if len(history):
            warn_once(empty_prediction(history), history, aloud=world.first)
    return history


def steps_within(
    budget: str | float,
    system: System,
    settings: Settings,
    draw: Draw,
    folder: Path | None,
    world: devices.World,
    *,
    amp: bool | str,
    timings: str | Path | None = None,
) -> Settings:
    """The settings with the budget's steps: those of the run in `folder`, those of a run like it, or measured now."""
    budget_module.parse_seconds(budget)
    if (found := None if folder is None else checkpoints.load(folder)) is not None:
        kept = found["run"]["settings"]
        return replace(settings, epochs=kept["epochs"], iterations=kept["iterations"])
    if world.size > 1:
        raise ValueError(
            f"budget={budget!r} is measured in one process, but {world.size} train together. Measure it in a run of "
            f"one process, then pass its steps: epochs=…, iterations=history.steps_per_epoch."
        )
    shape = (settings.batch, system.network.backbone.in_channels, *settings.patch)
    dtype, _ = choose_dtype(amp, system.network, device=draw.device, shape=shape)
    measure = partial(budget_module.seconds_per_step, system, settings, draw, amp=dtype)
    if timings is None:
        return budget_module.settings_within(settings, budget, measure())
    alike = describe_run(system, settings, (), None, seed=0, processes=1)
    alike |= {"device": draw.device.type, "amp": str(dtype)}
    per_step = budget_module.shared_seconds_per_step(timings, alike, measure)
    return budget_module.settings_within(settings, budget, per_step)


def resume_or_start(
    system: System,
    settings: Settings,
    run: dict,
    folder: Path | None,
    device: torch.device,
    *,
    world: devices.World,
    amp: bool | str,
    channels_last: bool | str,
    compile: bool | str,  # noqa: A002
    checkpointing: bool,
) -> tuple[Step, History]:
    """The step and the history so far: new, or from the checkpoint in `folder` if it belongs to the same run."""
    devices.barrier()  # the first process may still be writing for an earlier run
    found = None if folder is None else checkpoints.load(folder)
    devices.barrier()  # it must not write before the others have read
    if found is not None and amp == "auto":
        amp = found["run"]["amp"] == "bfloat16"  # as at the start of the run, perhaps on another machine
    shape = (settings.batch, system.network.backbone.in_channels, *settings.patch)
    dtype, sentence = choose_dtype(amp, system.network, device=device, shape=shape)
    to_channels_last(system.network, channels_last, amp=dtype)
    run["amp"] = "float32" if dtype is None else "bfloat16"
    if found is not None:
        checkpoints.refuse_other_network(found["network"], system.network, folder / checkpoints.CHECKPOINT)
        checkpoints.refuse_other_run(found["run"], run, folder / checkpoints.CHECKPOINT)
    how = {"compile": compile} | (
        {"checkpointing": True} if checkpointing else {}
    )  # a step may not accept other arguments
    step = system.make_step(system, settings, amp=dtype, **how)
    if found is not None:
        history = checkpoints.restore(found, network=system.network, step=step)
        if len(history) > settings.epochs:
            raise ValueError(
                f"{folder} holds {len(history)} finished epochs, more than epochs={settings.epochs}. "
                f"Pass epochs={len(history)} or more, or another out."
            )
        return step, history
    history = History()
    history.notes.append(sentence)
    if folder is not None and world.first:
        checkpoints.describe(folder, run)
        weights = {"network": system.network, "step": step}
        checkpoints.save(folder, run=run, history=history, **weights)  # the initial weights
    return step, history


def warn_once(diagnosis: str | None, history: History, *, aloud: bool) -> None:
    """Warn only the first time, also across resumed runs, and keep the message in the history's notes."""
    if diagnosis is None or diagnosis in history.notes:
        return
    history.notes.append(diagnosis)
    if aloud:
        warnings.warn(diagnosis, RuntimeWarning, stacklevel=3)
