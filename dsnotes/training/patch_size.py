"""The patch size of a run: the one that was given, the size of the images, or what fits into the memory."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from dsnotes.data.case import Case
from dsnotes.training import devices
from dsnotes.training.settings import Settings
from dsnotes.training.system import System


def fitting_patch(system: System, settings: Settings, train: Sequence[Case], device: torch.device) -> tuple[int, ...]:
    """The patch as a tuple, checked against the network's stride; without one, the size of the images, or a patch
    planned from them and from the memory where they have several sizes.
    """
    if not len(train):
        raise ValueError("train is empty. Pass at least one case with a label, for instance phantoms.lung(8, seed=0).")
    stride = system.network.backbone.stride
    if settings.patch is None:
        sizes = [case.space[-system.dims :] for case in train]
        if len(set(sizes)) > 1:
            return planned_patch(system, sizes, batch=settings.batch, memory=devices.free_memory(device))
        patch, came = sizes[0], "patch=None means whole images; their size"
    else:
        patch, came = tuple(int(n) for n in settings.patch), "patch"
    if len(patch) != system.dims:
        raise ValueError(
            f"{came} {patch} has {len(patch)} axes, but {system.name!r} is {system.dims}-D. "
            f"Pass {system.dims} numbers, or build the system with dims={len(patch)}."
        )
    if any(n < s or n % s for n, s in zip(patch, stride, strict=True)):
        raise ValueError(
            f"{came} {patch} is not divisible by {stride}, this network's total stride. "
            f"Pass for instance patch={_at_most(patch, stride)}."
        )
    return patch


def planned_patch(system: System, sizes: Iterable[tuple[int, ...]], *, batch: int, memory: float) -> tuple[int, ...]:
    """The median size of the images, up to the next multiple of the network's stride, and as much smaller as it takes
    for the maps that a step of `batch` patches keeps to fit into half of `memory`, in bytes.
    """
    stride = system.network.backbone.stride
    middle = np.median(np.array(sorted(sizes)), axis=0)
    patch = [-(-int(n) // s) * s for n, s in zip(middle, stride, strict=True)]
    room = memory / 2 / (batch * bytes_per_voxel(system))
    while math.prod(patch) > room and any(n > 2 * s for n, s in zip(patch, stride, strict=True)):
        longest = max(range(len(patch)), key=lambda axis: (patch[axis] > 2 * stride[axis], patch[axis]))
        patch[longest] -= stride[longest]
    return tuple(patch)


def bytes_per_voxel(system: System) -> float:
    """Bytes that the backward pass needs for each voxel of a patch, counted on a small one in float32."""
    network = copy.deepcopy(system.network).cpu().train()
    size = tuple(-(-max(2 * s, 8) // s) * s for s in network.backbone.stride)
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    with torch.random.fork_rng([]), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        outputs = network(torch.zeros(2, network.backbone.in_channels, *size))
    del outputs
    return sum(n for at, n in kept.items() if at not in weights) / (2 * math.prod(size))


def _at_most(size: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(n // s, 1) * s for n, s in zip(size, stride, strict=True))
