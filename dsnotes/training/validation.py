"""What can be found wrong before anything is computed: each `check_…` raises with what to type instead."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields, replace
from difflib import get_close_matches
from numbers import Integral

import torch

from dsnotes.data.case import Case
from dsnotes.training.settings import Settings
from dsnotes.training.system import System


def settings_with(settings: Settings, overrides: dict) -> Settings:
    """The settings with some of their fields changed; None leaves a field as it is."""
    known = [each.name for each in fields(Settings)]
    if unknown := [name for name in overrides if name not in known]:
        near = get_close_matches(unknown[0], known, n=3, cutoff=0.5)
        meant = f"Did you mean {' or '.join(near)}?" if near else f"Settings are {', '.join(known)}."
        raise TypeError(f"fit has no option {unknown[0]!r}. {meant}")
    given = {name: value for name, value in overrides.items() if value is not None}
    if isinstance(given.get("patch"), list | torch.Size):
        given["patch"] = tuple(given["patch"])
    return replace(settings, **given)


def check_system(system: object) -> None:
    if isinstance(system, str):
        raise TypeError(f"{system!r} is a name, fit trains what was built. Pass dsnotes.build({system!r}).")
    if not isinstance(system, System):
        raise TypeError(
            f"fit trains a System, and a {type(system).__name__} came. Pass one that was built, such as "
            f"dsnotes.build('unet-2d'), or dsnotes.system(name, backbone, objective)."
        )


def check_arguments(*, seed: object, workers: object, prefetch: object, on_epoch: object) -> None:
    for name, value, least, example in (("seed", seed, 0, 0), ("workers", workers, 0, 1), ("prefetch", prefetch, 0, 2)):
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(
                f"{name}={value!r} is of type {type(value).__name__}. Pass a whole number: {name}={example}."
            )
        if value < least:
            raise ValueError(
                f"{name}={value} is too small. Pass a whole number from {least} on, such as {name}={example}."
            )
    if on_epoch is not None and not callable(on_epoch):
        raise TypeError(
            f"on_epoch={on_epoch!r} cannot be called. Pass a function of the history, such as on_epoch=print, or None."
        )


def fitting_patch(system: System, settings: Settings, train: Sequence[Case]) -> tuple[int, ...]:
    """The patch as a tuple that the network can halve as often as it wants; without one, the size of the images."""
    if not len(train):
        raise ValueError("train is empty. Pass at least one case with a label, for instance phantoms.lung(8, seed=0).")
    stride = system.network.backbone.stride
    if settings.patch is None:
        sizes = {case.space[-system.dims :] for case in train}
        if len(sizes) > 1:
            smallest = tuple(map(min, zip(*sizes, strict=True)))
            raise ValueError(
                f"without a patch whole images are trained on, but they come in {len(sizes)} sizes from {min(sizes)} "
                f"to {max(sizes)}. Pass a patch, for instance patch={_at_most(smallest, stride)}."
            )
        patch, came = sizes.pop(), "patch=None means whole images, here of size"
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
            f"Pass patch={_at_most(patch, stride)}, for instance."
        )
    return patch


def _at_most(size: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(n // s, 1) * s for n, s in zip(size, stride, strict=True))


def check_run(system: System, settings: Settings, train: Sequence[Case], val: Sequence[Case] | None, seed: int) -> None:
    """Looks at every case of a list, at the first one of a dataset that reads its cases when asked."""
    if seed < 0:
        raise ValueError(f"seed={seed} cannot seed a generator. Pass a whole number from 0 on.")
    if val is None and settings.stop == "twice_best":
        raise ValueError(
            "stop='twice_best' compares validation scores, and val=None came. Pass val, or take the rule away: "
            "settings=replace(system.settings, stop='never')."
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
                    f"case {case.name!r} of {name} has voxels labelled 'ignore', which {system.name!r} cannot leave "
                    f"out: its supervision does more than compare voxel with voxel. Train one with the supervision "
                    f"Plain, MultiScale or TwoPathway, such as dsnotes.build('unet-3d'), or label those voxels."
                )
            needed = system.network.backbone.in_channels
            if case.channels != needed:
                raise ValueError(
                    f"case {case.name!r} of {name} has {case.channels} channel(s), {system.name!r} was built for "
                    f"{needed}. Build it with in_channels={case.channels}."
                )
            if len(case.space) < system.dims:
                raise ValueError(
                    f"case {case.name!r} of {name} has {len(case.space)} axes {case.space}, {system.name!r} is "
                    f"{system.dims}-D. Build it with dims={len(case.space)}."
                )
    _check_deepest_map(system, settings)


def _check_deepest_map(system: System, settings: Settings) -> None:
    """Where a deepest map of one voxel is left, one batch of zeros tells whether its normalisation can train on it.

    A copy is asked, and the random stream put back, so that the training to come is the same.
    """
    bottleneck = system.network.backbone.levels.get("bottleneck")
    deepest = system.network.backbone.stride if bottleneck is None else bottleneck.stride
    if any(n > s for n, s in zip(settings.patch, deepest, strict=True)):
        return
    network = deepcopy(system.network).train()
    weight = next(network.parameters())
    image = weight.new_zeros(settings.batch, network.backbone.in_channels, *settings.patch)
    try:
        with torch.random.fork_rng([weight.device] if weight.is_cuda else []), torch.no_grad():
            network(image)
    except (ValueError, RuntimeError) as error:
        if "Expected more than 1" not in str(error):
            return  # whatever it is, the training tells
        more = "" if "spatial" in str(error) else " Or pass batch=2."
        raise ValueError(
            f"patch {settings.patch} with batch={settings.batch} leaves a single voxel of the deepest map, which has "
            f"stride {deepest}, and its normalisation needs several to train. Pass a larger patch, for instance "
            f"patch={tuple(2 * s for s in deepest)}.{more}"
        ) from error
