"""Trimaps: which pixels are certain lesion (1), certain background (−1) and unknown (0).

Strategies 1 and 2 of Wang et al., https://arxiv.org/abs/2007.14556; strategy 3, RECIST axes, makes a mask first
(`recist.mask_from_recist`) and continues with strategy 1. The paper gives no radius: 2 or 3 pixels suit 64×64 crops, 4
suit 256×256.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache, partial

import numpy as np
from jaxtyping import Int8, Shaped
from torch import Tensor

from dsnotes.data.conversion import as_array, checked_spacing

AnyMask = Shaped[np.ndarray, "..."] | Shaped[Tensor, "..."]
Trimap = Int8[np.ndarray, "..."]

LEAST_CORE = 1 / 3  # the share of a structure that must stay certain, or its soft mask fades (benchmarks/soft_core.py)


def trimap_from_mask(
    mask: AnyMask,
    radius: int = 3,
    *,
    core: float = 0.0,
    keep_small: bool = False,
    spacing: Sequence[float] | None = None,
) -> Trimap:
    """1 inside the mask eroded by a disk of `radius` pixels, −1 outside the mask dilated by it, 0 between.

    A stack (depth, height, width) is processed slice by slice. Outside the image the mask is continued from the border,
    so a lesion cut off by the crop is not eroded there. Where erosion would remove all of a slice's lesion, its deepest
    pixels stay core. A small lesion beside a larger one has no core then, and matting makes it background; with
    `keep_small=True` every connected lesion keeps its deepest pixels. With `core=1/3` the radius is lowered, to 1 if
    need be, until a third of the mask's pixels are core, as in `softened`.

    With the `spacing` of a stack, in mm, the unknown shell is three-dimensional, for `soft_mask(…, window="volume")`:
    an ellipsoid of `radius` voxels along the finest axis and as many mm along the others, but at least one voxel, so
    that the slices above and below a lesion are unknown too: partial volume is largest there.
    """
    mask = as_array(mask, "mask", example="a mask of 0 and 1, such as case.label == 1")
    inside = _binary(mask, "mask")
    if radius < 1:
        raise ValueError(f"radius={radius} came; needed is a whole number ≥ 1. For instance radius=3 for 64×64 crops.")
    if mask.ndim not in (2, 3):
        raise ValueError(f"mask has shape {mask.shape}. Pass (height, width) or (depth, height, width), no channels.")
    if not inside.any():
        raise ValueError("mask is empty. Leave this case out, or check its label.")
    if not 0 <= core < 1:
        raise ValueError(f"core={core} came; needed is a share of the mask, 0 ≤ core < 1. For instance core=1/3.")
    build = _slice_by_slice if spacing is None else partial(_shell, spacing=spacing)
    narrowed = radius
    trimap = build(inside, narrowed, keep_small=keep_small)
    while narrowed > 1 and np.count_nonzero(trimap == 1) < core * np.count_nonzero(inside):
        narrowed -= 1
        trimap = build(inside, narrowed, keep_small=keep_small)
    if trimap.min() > -1:
        raise ValueError(
            f"radius={radius} leaves no pixel outside the lesion in {mask.shape}. "
            f"Crop the image with more margin around the lesion, or use a smaller radius."
        )
    return trimap


def _slice_by_slice(inside: np.ndarray, radius: int, *, keep_small: bool) -> Trimap:
    import cv2

    trimap = np.empty(inside.shape, np.int8)
    disk = _disk(radius)
    for index, level in enumerate(inside.reshape(-1, *inside.shape[-2:])):
        core = cv2.erode(level, disk)
        if keep_small or not core.any():
            core |= _deepest(level, each=keep_small)
        trimap.reshape(-1, *inside.shape[-2:])[index] = core + cv2.dilate(level, disk)
    return trimap - np.int8(1)


def _shell(inside: np.ndarray, radius: int, *, spacing: Sequence[float], keep_small: bool) -> Trimap:
    from scipy import ndimage

    mm = checked_spacing(spacing, "trimap_from_mask", axes=inside.ndim, example="spacing=case.spacing")
    unit = [1 / max(1, radius * min(mm) / step) for step in mm]  # the ellipsoid's radius is 1
    depth = ndimage.distance_transform_edt(inside, unit)
    core = depth > 1 + 1e-9
    parts, count = ndimage.label(inside) if keep_small else (inside, 1)
    for part in range(1, count + 1):
        own = parts == part
        if not core[own].any():
            core |= own & (depth == depth[own].max())
    return core.astype(np.int8) - (ndimage.distance_transform_edt(1 - inside, unit) > 1 + 1e-9)


def trimap_from_annotators(masks: Sequence[AnyMask] | AnyMask) -> Trimap:
    """1 where all readers marked, −1 where none did, 0 where they disagree; `masks` are (readers, *space).

    In a stack, slices not marked by all readers have no core: `soft_mask(…, window="volume")` fills them from their
    neighbours.
    """
    readers = _stacked(masks)
    if readers.ndim not in (3, 4) or len(readers) < 2:
        raise ValueError(
            f"masks have shape {readers.shape}; needed are two or more annotators' masks on one grid, "
            f"(annotators, *space). "
            f"With a single mask use trimap_from_mask(mask, radius)."
        )
    votes = _binary(readers, "masks").sum(axis=0, dtype=np.int16)
    empty = [k for k, reader in enumerate(readers) if not reader.any()]
    if empty:
        raise ValueError(f"annotators {empty} drew nothing. Leave their masks out: masks[[0, 1, …]].")
    if votes.max() < len(readers):
        raise ValueError(
            f"no pixel lies inside all {len(readers)} outlines (at most {votes.max()} agree), so there is no core. "
            f"Leave out the annotator who drew elsewhere, or use the consensus: "
            f"trimap_from_mask(consensus(masks), radius)."
        )
    if votes.min() > 0:
        raise ValueError("no pixel lies outside all outlines. Crop with more margin around the lesion.")
    return (votes == len(readers)).astype(np.int8) - (votes == 0)


def _stacked(masks: Sequence[AnyMask] | AnyMask) -> np.ndarray:
    if not isinstance(masks, list | tuple):
        return as_array(masks, "masks", example="two or more annotators' masks, [first, second]")
    each = [
        as_array(mask, f"masks[{k}]", example="a mask of 0 and 1 for each annotator") for k, mask in enumerate(masks)
    ]
    if len({mask.shape for mask in each}) > 1:
        raise ValueError(
            f"the annotators' masks have the shapes {', '.join(str(mask.shape) for mask in each)}; needed is one grid. "
            f"Crop or resample them together with the image first."
        )
    return np.asarray(each)


def _binary(mask: np.ndarray, name: str) -> np.ndarray:
    """The mask as contiguous 0/1 bytes."""
    if mask.dtype == bool:
        return np.ascontiguousarray(mask).view(np.uint8)
    if mask.size and (mask.min() < 0 or mask.max() > 1 or (mask.dtype.kind == "f" and not np.isin(mask, (0, 1)).all())):
        raise ValueError(
            f"{name} holds values from {mask.min():g} to {mask.max():g}; needed are 0 and 1. Pick the lesion's value: "
            f"{name} == 1, or threshold: {name} > 0.5."
        )
    return np.ascontiguousarray(mask, np.uint8)


@cache
def _disk(radius: int) -> np.ndarray:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (y * y + x * x <= radius * radius).astype(np.uint8)


def _deepest(level: np.ndarray, *, each: bool) -> np.ndarray:
    """The pixels farthest from the background, per connected lesion (`each`) or overall; erosion removes them last."""
    import cv2

    count, parts = cv2.connectedComponents(level) if each else (2, level)
    depth = cv2.distanceTransform(level, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    kept = np.zeros_like(level)
    for part in range(1, count):
        own = parts == part
        kept[own & (depth == depth[own].max(initial=0))] = 1
    return kept


def trimap_from_readers(masks: Sequence[AnyMask] | AnyMask) -> Trimap:
    """The former name of `trimap_from_annotators`, for one release."""
    warnings.warn("trimap_from_readers is now trimap_from_annotators.", DeprecationWarning, stacklevel=2)
    return trimap_from_annotators(masks)
