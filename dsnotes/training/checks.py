"""Checks of the arguments of `fit` before anything is computed; each message says what to type instead."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from numbers import Integral

import numpy as np
import torch

from dsnotes.data.case import Case
from dsnotes.safety.nearest import nearest
from dsnotes.training.settings import Settings
from dsnotes.training.system import System


def settings_with(settings: Settings, overrides: dict) -> Settings:
    """The settings with some fields changed; None keeps a field."""
    known = [each.name for each in fields(Settings)]
    if unknown := [name for name in overrides if name not in known]:
        near = nearest(unknown[0], known, cutoff=0.5)
        meant = f"Did you mean {' or '.join(near)}?" if near else f"Settings are {', '.join(known)}."
        raise TypeError(f"fit has no option {unknown[0]!r}. {meant}")
    given = {name: value for name, value in overrides.items() if value is not None}
    if isinstance(given.get("patch"), list | torch.Size):
        given["patch"] = tuple(given["patch"])
    return replace(settings, **given)


def check_system(system: object) -> None:
    if isinstance(system, str):
        raise TypeError(f"{system!r} is a name, but fit needs a system. Pass dsnotes.build({system!r}).")
    if not isinstance(system, System):
        raise TypeError(
            f"fit needs a System, but a {type(system).__name__} came. Pass for instance "
            f"dsnotes.build('unet-2d'), or dsnotes.system(name, backbone, objective)."
        )


def check_arguments(*, seed: object, workers: object, prefetch: object, on_epoch: object) -> None:
    for name, value, least, example in (("seed", seed, 0, 0), ("workers", workers, 0, 1), ("prefetch", prefetch, 0, 2)):
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(f"{name}={value!r} has type {type(value).__name__}. Pass a whole number: {name}={example}.")
        if value < least:
            raise ValueError(
                f"{name}={value} is too small. Pass a whole number of at least {least}, such as {name}={example}."
            )
    if on_epoch is not None and not callable(on_epoch):
        raise TypeError(
            f"on_epoch={on_epoch!r} is not callable. Pass a function of the history, such as on_epoch=print, or None."
        )


def fitting_patch(system: System, settings: Settings, train: Sequence[Case]) -> tuple[int, ...]:
    """The patch as a tuple, checked against the network's stride; without one, the size of the images, or a patch
    planned from them and from the memory where they have several sizes.
    """
    if not len(train):
        raise ValueError("train is empty. Pass at least one case with a label, for instance phantoms.lung(8, seed=0).")
    stride = system.network.backbone.stride
    if settings.patch is None:
        sizes = {case.space[-system.dims :] for case in train}
        if len(sizes) > 1:
            return planned_patch(system, sizes, batch=settings.batch)
        patch, came = sizes.pop(), "patch=None means whole images; their size"
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


def planned_patch(
    system: System, sizes: Iterable[tuple[int, ...]], *, batch: int, memory: float | None = None
) -> tuple[int, ...]:
    """The median size of the images, up to the next multiple of the network's stride, and as much smaller as it takes
    for the maps that a step of `batch` patches keeps to fit into half of the free memory (or of `memory`, in bytes).
    """
    stride = system.network.backbone.stride
    middle = np.median(np.array(sorted(sizes)), axis=0)
    patch = [-(-int(n) // s) * s for n, s in zip(middle, stride, strict=True)]
    room = (free_memory() if memory is None else memory) / 2 / (batch * bytes_per_voxel(system))
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


def free_memory() -> float:
    """Bytes: of the GPU if there is one, else of the machine; 8 GiB where the system does not say."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 8 * 2**30


def _at_most(size: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(n // s, 1) * s for n, s in zip(size, stride, strict=True))


def check_run(system: System, settings: Settings, train: Sequence[Case], val: Sequence[Case] | None, seed: int) -> None:
    """Check every case of a list, or the first case of a dataset that reads cases on demand."""
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}. Pass for instance seed=0.")
    if val is None and settings.stop == "twice_best":
        raise ValueError(
            "stop='twice_best' compares validation scores, but val=None. Pass val, or turn the rule off with "
            "stop='never'."
        )
    if val is not None and not len(val):
        raise ValueError("val is empty. Pass cases to validate on, or val=None to train without validation.")
    for name, cases in (("train", train), ("val", val or [])):
        for case in cases if isinstance(cases, list | tuple) else [cases[0]]:
            if case.label is None:
                raise ValueError(
                    f"case {case.name!r} of {name} has no label. Pass labelled cases only: "
                    f"[case for case in {name} if case.label is not None]."
                )
            if "valid" in case.extras and not getattr(system.objective, "voxelwise", False):
                raise ValueError(
                    f"case {case.name!r} of {name} has voxels labelled 'ignore', which the supervision of "
                    f"{system.name!r} cannot leave out. Train a system with the supervision Plain, MultiScale or "
                    f"TwoPathway, such as dsnotes.build('unet-3d'), or label those voxels."
                )
            needed = system.network.backbone.in_channels
            if case.channels != needed:
                raise ValueError(
                    f"case {case.name!r} of {name} has {case.channels} channel(s), but {system.name!r} was built for "
                    f"{needed}. Build it with in_channels={case.channels}."
                )
            if len(case.space) < system.dims:
                raise ValueError(
                    f"case {case.name!r} of {name} has {len(case.space)} axes {case.space}, but {system.name!r} is "
                    f"{system.dims}-D. Build it with dims={len(case.space)}."
                )
    _check_deepest_map(system, settings)


def _check_deepest_map(system: System, settings: Settings) -> None:
    """If the deepest map is a single voxel, test with a batch of zeros whether its normalisation can train on it.

    The test uses a copy and restores the random state, so that the training does not change.
    """
    bottleneck = system.network.backbone.levels.get("bottleneck")
    deepest = system.network.backbone.stride if bottleneck is None else bottleneck.stride
    if any(n > s for n, s in zip(settings.patch, deepest, strict=True)):
        return
    network = copy.deepcopy(system.network).train()
    weight = next(network.parameters())
    image = weight.new_zeros(settings.batch, network.backbone.in_channels, *settings.patch)
    try:
        with torch.random.fork_rng([weight.device] if weight.is_cuda else []), torch.no_grad():
            network(image)
    except (ValueError, RuntimeError) as error:
        if "Expected more than 1" not in str(error):
            return  # another error, which training will raise
        more = "" if "spatial" in str(error) else " Or pass batch=2."
        raise ValueError(
            f"patch {settings.patch} with batch={settings.batch} leaves a single voxel in the deepest map, which has "
            f"stride {deepest}, but its normalisation needs several in training. Pass a larger patch, for instance "
            f"patch={tuple(2 * s for s in deepest)}.{more}"
        ) from error
