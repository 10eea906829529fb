"""What can be found wrong before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch

from dsnotes.data.augment import Augmentation
from dsnotes.data.case import Case
from dsnotes.training.settings import Settings
from dsnotes.training.system import System


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


def refuse_unfit(
    system: System, settings: Settings, train: Sequence[Case], val: Sequence[Case] | None, seed: int
) -> None:
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
    _refuse_single_voxel(system, settings)


def _refuse_single_voxel(system: System, settings: Settings) -> None:
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


def augmentation(augment: bool | Augmentation) -> Augmentation | None:
    """True is the default one; rotations and sizes are `Augmentation`'s own."""
    if isinstance(augment, Augmentation):
        return augment
    return Augmentation() if augment else None
