"""What a network sees of a case: its images as a batch, at least as large as a window, and the window's size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsnotes.data.case import Case
from dsnotes.training.system import System


def images_of(system: System, case: Case) -> np.ndarray:
    """The image as (batch, channels, *space); for a 2-D network the slices of a volume are the batch."""
    axes, dims, channels = len(case.space), system.dims, system.network.backbone.in_channels
    if axes < dims:
        raise ValueError(
            f"case {case.name!r} has {axes} spatial axes {case.space}, but system {system.name!r} is {dims}-D. "
            f"Build it with dims={axes}, or pass a volume (depth, height, width) with three spacings."
        )
    if case.channels != channels:
        raise ValueError(
            f"case {case.name!r} has {case.channels} channels, but system {system.name!r} takes {channels}. "
            f"Build it with in_channels={case.channels}, or choose the channels: "
            f"dataclasses.replace(case, image=case.image[:{channels}])."
        )
    if not np.isfinite(case.image.sum(dtype=np.float64)):
        raise ValueError(
            f"the image of case {case.name!r} holds NaN or infinite voxels. "
            f"Clip or fill them first, for instance dataclasses.replace(case, image=np.nan_to_num(case.image))."
        )
    image = case.image.reshape(channels, *case.space)
    return np.moveaxis(image, 0, 1) if axes > dims else image[None]


def filled_up(images: np.ndarray, patch: tuple[int, ...]) -> tuple[np.ndarray, tuple[slice, ...]]:
    """The images padded to at least the window's size, and the slices of the original volume in them."""
    space = images.shape[2:]
    short = [max(0, p - n) for n, p in zip(space, patch, strict=True)]
    inside = tuple(slice(s // 2, s // 2 + n) for n, s in zip(space, short, strict=True))
    if not any(short):
        return images, inside
    lowest = images.min((0, *range(2, images.ndim)))  # per channel over the whole case, as in draw_batch
    full = np.empty((*images.shape[:2], *(n + s for n, s in zip(space, short, strict=True))), np.float32)
    full[:] = lowest.reshape(1, -1, *[1] * len(space))
    full[(..., *inside)] = images
    return full, inside


def window_size(system: System, space: Sequence[int], patch: Sequence[int] | None) -> tuple[int, ...]:
    stride = system.network.backbone.stride
    wanted = patch or (system.dims == 3 and system.settings.patch) or space
    if len(wanted) != len(stride):
        raise ValueError(
            f"patch={tuple(wanted)} has {len(wanted)} axes, but system {system.name!r} is {len(stride)}-D. "
            f"Pass {len(stride)} sizes, for instance patch={tuple(4 * s for s in stride)}."
        )
    if not patch:
        return tuple(-(-n // s) * s for n, s in zip(wanted, stride, strict=True))
    nearest = tuple(max((2 * n + s) // (2 * s), 1) * s for n, s in zip(patch, stride, strict=True))
    if tuple(patch) != nearest:
        raise ValueError(
            f"patch={tuple(patch)} is not divisible by {stride}, the total stride of system {system.name!r}. "
            f"The nearest valid size is patch={nearest}."
        )
    return nearest
