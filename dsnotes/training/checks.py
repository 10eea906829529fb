"""Checks of the arguments of `fit` before anything is computed; each message says what to type instead."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from numbers import Integral

import torch

from dsnotes.data.case import Case
from dsnotes.training.settings import Settings
from dsnotes.training.system import System


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
                    f"case {case.name!r} of {name} has {case.channels} channel{'s' * (case.channels != 1)}, but "
                    f"{system.name!r} was built for {needed}. Build it with in_channels={case.channels}."
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
