"""The batches of a run, a pure function of (seed, epoch, iteration): no random state needs storing."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TypeVar

import numpy as np
import torch

from dsnotes.data import augment
from dsnotes.data.augment import Augmentation, Drawn
from dsnotes.data.case import Case
from dsnotes.data.patches import Place, draw_batch, forced_share, gather, tiles, validation_batches
from dsnotes.data.sampling import Unit, place_of, shuffled, units
from dsnotes.supervision.base import Batch
from dsnotes.supervision.targets import unknown_classes
from dsnotes.training.devices import ONE_PROCESS, World
from dsnotes.training.settings import Settings

IGNORED = 255  # marks ignored voxels during augmentation
Job, Result = TypeVar("Job"), TypeVar("Result")


def seed_of(*numbers: int) -> int:
    """One seed from several whole numbers; similar numbers give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


@dataclass(frozen=True)
class Draw:
    """draw(epoch, iteration) -> that batch of the run, and the augmentation to apply on the device; always the same."""

    cases: Sequence[Case]
    settings: Settings
    classes: int
    augmentation: Augmentation | None
    seed: int
    rank: int
    device: torch.device
    processes: int = 1

    @cached_property
    def units(self) -> list[Unit]:
        """The samples that an epoch shows once each; empty if every batch is drawn from all cases."""
        settings = self.settings
        if settings.epoch == "cases":
            return []
        how = {"epoch": settings.epoch, "positive_only": settings.positive_only}
        return units(self.cases, patch=settings.patch, **how)

    @property
    def iterations(self) -> int:
        """Steps per epoch: `settings.iterations`, or as many as one pass takes."""
        samples = self.settings.batch * self.settings.accumulate * self.processes
        return self.settings.iterations or -(-(len(self.units) or len(self.cases)) // samples)

    @cached_property
    def foreground(self) -> float:
        """The share of patches that are forced to hold foreground."""
        if self.settings.foreground is not None:
            return self.settings.foreground
        return forced_share(self.cases, self.settings.patch)

    def places(self, epoch: int, iteration: int, generator: torch.Generator) -> list[Place]:
        """The patches of a batch: units in shuffled order without repetition, reshuffled after the last."""
        n, samples = len(self.units), self.settings.batch * self.settings.accumulate
        first = (iteration * self.processes + self.rank) * samples
        orders: dict[int, list[int]] = {}
        chosen = []
        for turn in range(first, first + samples):
            if (at := turn // n) not in orders:
                order = torch.Generator().manual_seed(seed_of(self.seed, epoch))  # the same in all processes
                orders[at] = shuffled(n, at, order)
            chosen.append(self.units[orders[at][turn % n]])
        forced = math.ceil(self.foreground * samples - 1e-9) if self.settings.epoch == "every_case" else 0
        patch = self.settings.patch
        return [
            place_of(self.cases, unit, patch=patch, forced=at < forced, generator=generator)
            for at, unit in enumerate(chosen)
        ]

    def read(self, epoch: int, iteration: int, generator: torch.Generator) -> Batch:
        settings = self.settings
        if self.units:
            return gather(self.places(epoch, iteration, generator), patch=settings.patch)
        parts = [
            draw_batch(
                self.cases,
                patch=settings.patch,
                batch=settings.batch,
                foreground=self.foreground,
                generator=generator,
            )
            for _ in range(settings.accumulate)  # each micro-batch has its own share of foreground patches
        ]
        return parts[0] if len(parts) == 1 else {name: torch.cat([p[name] for p in parts]) for name in parts[0]}

    def __call__(self, epoch: int, iteration: int) -> tuple[Batch, Drawn | None]:
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.rank, epoch, iteration))
        settings = self.settings
        batch = self.read(epoch, iteration, generator)
        check_classes(batch, self.classes)
        drawn = None
        if self.augmentation is not None:
            drawn = augment.draw(
                self.augmentation,
                batch=len(batch["image"]),
                space=settings.patch,
                generator=generator,
                spacing=self.cases[0].spacing[-len(settings.patch) :],
            )
        if self.device.type == "cpu":
            return augmented(batch, drawn), None
        return pinned(batch, self.device), drawn

    def to_device(self, drawn: tuple[Batch, Drawn | None]) -> Batch:
        """Move a batch to the device and augment it there."""
        batch, parameters = drawn
        return augmented(moved(batch, self.device), parameters)


def augmented(batch: Batch, drawn: Drawn | None) -> Batch:
    if drawn is None:
        return batch
    label, valid = batch["label"], batch.get("valid")
    if valid is not None:  # transformed with the label, as one more label value
        label = label.where(valid, IGNORED)
    image, label, soft = augment.apply(drawn, batch["image"], label, batch.get("soft"))
    moved_along = {} if soft is None else {"soft": soft}
    if valid is not None:
        moved_along["valid"] = label != IGNORED
        label = label.where(moved_along["valid"], 0)
    return {"image": image, "label": label} | moved_along


def pinned(batch: Batch, device: torch.device) -> Batch:
    """The batch in pinned memory, so that it is copied to the GPU while the previous step still runs."""
    return {name: value.pin_memory() for name, value in batch.items()} if device.type == "cuda" else batch


def moved(batch: Batch, device: torch.device) -> Batch:
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}


def check_classes(batch: Batch, classes: int) -> None:
    low, high = (int(end) for end in torch.aminmax(batch["label"]))
    if wrong := unknown_classes(low, high, classes):
        raise ValueError(wrong)


def prefetched(job: Callable[..., Result], calls: Iterable[tuple], *, workers: int, prefetch: int) -> Iterator[Result]:
    """job(*call) for every call, in order, computed up to `prefetch` calls ahead in background threads.

    Closing the generator or an error in a job stops the threads.
    """
    if workers == 0:
        yield from (job(*call) for call in calls)
        return
    calls = iter(calls)
    with ThreadPoolExecutor(workers, thread_name_prefix="dsnotes-batches") as pool:
        waiting = deque(pool.submit(job, *call) for call in islice(calls, max(prefetch, 1)))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(job, *call) for call in islice(calls, 1))
                yield result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def whole(cases: Sequence[Case], patch: tuple[int, ...], batch: int) -> Iterator[tuple[list[Place]]]:
    """The patches that cover every case, `batch` at a time."""
    places = (place for case in cases for place in tiles(case, patch))
    while group := list(islice(places, batch)):
        yield (group,)


def for_validation(
    cases: Sequence[Case], settings: Settings, *, seed: int, world: World = ONE_PROCESS, workers: int = 1
) -> Iterator[Batch]:
    """The same batches in every epoch: whole cases, or `validation_iterations` batches of patches.

    Each of several processes gets its share.
    """
    patch, batch = settings.patch, settings.batch
    if settings.validation_iterations is None:
        yield from prefetched(
            lambda places: gather(places, patch=patch),
            islice(whole(cases, patch, batch), world.rank, None, world.size),
            workers=workers,
            prefetch=2,
        )
    else:
        per_case = -(-settings.validation_iterations * batch // len(cases))
        batches = validation_batches(cases, patch=patch, batch=batch, seed=seed, per_case=per_case)
        yield from islice(batches, world.rank, settings.validation_iterations, world.size)
