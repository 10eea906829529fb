"""Do the sizes of a run fit into memory? Found out by a step that leaves no trace, before anything is trained."""

from __future__ import annotations

import copy
import gc
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from dsnotes.supervision.base import Batch
from dsnotes.training import distributed
from dsnotes.training.memory import free, metered, out_of_memory
from dsnotes.training.settings import Number, Settings
from dsnotes.training.system import System

GB = 1e9
A_VOXEL = 250e3  # bytes for each voxel of a batch: DSNet, the hungriest, takes 203 kB at its paper's width


class TooLargeError(torch.OutOfMemoryError):
    """A step that does not fit, found out before the first one; it names sizes that do."""


@dataclass(frozen=True)
class Sizes:
    """What decides how much memory a step takes, as one types it."""

    patch: tuple[int, ...]
    batch: int
    accumulate: int
    checkpointing: bool

    def __str__(self) -> str:
        sizes = f"patch={self.patch}, batch={self.batch}, accumulate={self.accumulate}"
        return sizes + ", checkpointing=True" * self.checkpointing


def refuse_too_large(
    system: System,
    settings: Settings,
    draw: Callable[[], Batch],
    *,
    device: torch.device,
    limit: Number | None = None,
    amp: torch.dtype | None = None,
    checkpointing: bool = False,
) -> str | None:
    """What a step takes, in words; an error with sizes that fit where it takes more than `limit` gigabytes.

    Without a limit, more than is free; and on a CPU nothing is tried that cannot fill what is free.
    """
    if limit is not None and limit <= 0:
        raise ValueError(f"memory={limit} GB hold nothing. Pass a positive number of gigabytes, or memory=None.")
    weights = sum(p.numel() * p.element_size() for p in system.network.parameters())
    room = free(device) if limit is None else limit * GB
    if room is None:
        return None
    if limit is None and device.type == "cpu":
        samples = settings.batch * min(settings.accumulate, 2)
        if samples * math.prod(settings.patch) * A_VOXEL + 4 * weights < room:
            return None
    asked = Sizes(settings.patch, settings.batch, settings.accumulate, checkpointing)
    batch = draw()
    needed = step_bytes(system, settings, batch, asked, amp=amp, room=room)
    if not distributed.all_agree(needed is not None, device):
        stride = system.network.backbone.stride
        found = [
            f"{sizes} ({taken / GB:.3g} GB{', as many samples a step' * (sizes.patch == asked.patch)})"
            for family in families(asked, stride)
            for sizes, taken in first_that_fits(system, settings, batch, family, amp=amp, room=room)
        ]
        raise TooLargeError(
            f"a step of {asked} does not fit into the {room / GB:.3g} GB that "
            f"{f'{device} has free' if limit is None else f'memory={limit} allows'}. "
            + (f"These do: {'; or '.join(found)}." if found else "Nothing smaller does: build it narrower, width=….")
        )
    return f"a step takes {needed / GB:.3g} of {room / GB:.3g} GB"


def families(asked: Sizes, stride: tuple[int, ...]) -> Iterator[Iterator[Sizes]]:
    """Three ways to need less, each mildest first: fewer samples at a time, blocks computed again, a smaller patch."""
    yield fewer_at_a_time(asked)
    if not asked.checkpointing:
        again = replace(asked, checkpointing=True)
        yield iter((again, *fewer_at_a_time(again)))
    yield smaller_patches(asked, stride)


def fewer_at_a_time(sizes: Sizes) -> Iterator[Sizes]:
    """As many samples a step, in more and smaller batches."""
    while sizes.batch > 1:
        fewer = sizes.batch // 2 if sizes.batch % 2 == 0 else 1
        sizes = replace(sizes, batch=fewer, accumulate=sizes.accumulate * (sizes.batch // fewer))
        yield sizes


def smaller_patches(sizes: Sizes, stride: tuple[int, ...]) -> Iterator[Sizes]:
    """The axis with the most coarsest voxels halved, again and again."""
    while (cut := halved(sizes.patch, stride)) != sizes.patch:
        sizes = replace(sizes, patch=cut)
        yield sizes


def halved(patch: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...]:
    longest = max(range(len(patch)), key=lambda axis: patch[axis] // stride[axis])
    half = -(-patch[longest] // (2 * stride[longest])) * stride[longest]
    return tuple(half if axis == longest else n for axis, n in enumerate(patch))


def first_that_fits(
    system: System, settings: Settings, batch: Batch, family: Iterator[Sizes], *, amp: torch.dtype | None, room: Number
) -> list[tuple[Sizes, int]]:
    """One of the family with the bytes that its step took, or none."""
    for sizes in family:
        try:
            taken = step_bytes(system, settings, batch, sizes, amp=amp, room=room)
        except ValueError:  # a patch that this system cannot be trained on is none to recommend
            continue
        if taken is not None:
            return [(sizes, taken)]
    return []


def step_bytes(
    system: System, settings: Settings, batch: Batch, sizes: Sizes, *, amp: torch.dtype | None, room: Number
) -> int | None:
    """The most bytes that live during one step of these sizes, weights and all; None where they exceed `room`.

    The step is a copy's, with gradients and the optimiser's state; of several micro-batches it does two, since the
    second one finds the gradients of the first.
    """
    device = batch["image"].device
    parts = min(sizes.accumulate, 2)
    settings = replace(settings, patch=sizes.patch, batch=sizes.batch, accumulate=parts)
    corner = (slice(sizes.batch * parts), ..., *(slice(n) for n in sizes.patch))
    cut = {name: value[corner].contiguous() for name, value in batch.items()}
    how = {"amp": amp} | ({"checkpointing": True} if sizes.checkpointing else {})
    try:
        with distributed.apart(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            trial = copy.deepcopy(system)
            weights = sum(p.numel() * p.element_size() for p in trial.network.parameters())
            with metered(room, weights, device) as taken:
                trial.make_step(trial, settings, **how)(cut)
            return taken()
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    if device.type == "cuda":
        gc.collect()  # what the traceback held
        torch.cuda.empty_cache()
    return None
