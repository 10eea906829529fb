"""Scores per tumour, by size: small, medium and large, as in MSDS-UNet's tables 6 to 8.

The paper does not define its scales; it only says that tumours have thousands to a million voxels of 1 mm. Here a
tumour's scale is the diameter of the ball of equal volume: small below 17 mm, large from 30 mm on, where radiologists
speak of a mass instead of a nodule (Fleischner Society). The lower bound is our choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dsnotes.data.conversion import Array, Spacing, as_millimetres
from dsnotes.metrics.overlap import Confusion, as_masks, dice_of, ppv_of, sensitivity_of

SCALES = ("small", "medium", "large")
BOUNDS = (17.0, 30.0)  # mm


class TumourScore(NamedTuple):
    """One tumour of the truth: its size, and the scores of the voxels assigned to it."""

    diameter_mm: float
    scale: str
    dice: float
    ppv: float
    sensitivity: float


def tumour_scale(diameter_mm: float, *, bounds: Sequence[float] = BOUNDS) -> str:
    """ "small" below the first bound, "large" from the second on, "medium" between them."""
    low, high = _checked(bounds)
    if not diameter_mm > 0:
        raise ValueError(
            f"diameter_mm={diameter_mm}: pass a positive diameter. For a volume V in mm³ it is (6 V / π) ** (1/3)."
        )
    return SCALES[int(diameter_mm >= low) + int(diameter_mm >= high)]


def tumour_scores(
    prediction: Array,
    truth: Array,
    *,
    spacing: Spacing,
    bounds: Sequence[float] = BOUNDS,
) -> list[TumourScore]:
    """One score per tumour (connected component of the truth, by face, edge or corner), in array order.

    A marked voxel counts for the nearest tumour in mm, if its connected component touches that tumour. Components that
    touch no tumour lower the Dice of the case, but of no tumour.
    """
    from scipy import ndimage

    prediction, truth = as_masks(prediction, truth)
    _checked(bounds)
    spacing = as_millimetres(spacing, "spacing", example="spacing=case.spacing")
    if len(spacing) != truth.ndim or truth.ndim not in (2, 3):
        raise ValueError(
            f"spacing={tuple(spacing)} came for masks of shape {truth.shape}: pass the mm of two or three axes in the "
            f"array's order, such as case.spacing."
        )
    if not truth.any():
        return []
    around = np.ones((3,) * truth.ndim)
    (tumours, _), (pieces, _) = (ndimage.label(mask, around) for mask in (truth, prediction))
    nearest = ndimage.distance_transform_edt(~truth, sampling=spacing, return_distances=False, return_indices=True)
    owner = np.where(prediction, tumours[tuple(nearest)], 0)
    both = prediction & truth
    touching = np.unique(np.stack([pieces[both], tumours[both]]), axis=1)
    touches = np.zeros((int(pieces.max()) + 1, int(tumours.max()) + 1), bool)
    touches[tuple(touching)] = True
    owner[~touches[pieces, owner]] = 0

    n = int(tumours.max()) + 1
    present, marked, hit = (np.bincount(x.ravel(), minlength=n)[1:] for x in (tumours, owner, tumours * both))
    counts = [
        Confusion(int(h), int(m - h), int(p - h), int(truth.size - p - m + h))
        for h, m, p in zip(hit, marked, present, strict=True)
    ]
    return [
        TumourScore(float(mm), tumour_scale(mm, bounds=bounds), dice_of(c), ppv_of(c), sensitivity_of(c))
        for mm, c in zip(_equivalent_diameters(present, spacing), counts, strict=True)
    ]


def diameters(mask: Array, *, spacing: Spacing) -> list[float]:
    """Diameter in mm of each tumour: of the ball of equal volume, or in an image the disc of equal area."""
    from scipy import ndimage

    mask, _ = as_masks(mask, mask)
    pieces, _ = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return _equivalent_diameters(
        np.bincount(pieces.ravel())[1:], as_millimetres(spacing, "spacing", example="spacing=case.spacing")
    )


def _equivalent_diameters(voxels: np.ndarray, spacing: Sequence[float]) -> list[float]:
    volumes = voxels * math.prod(float(mm) for mm in spacing)
    return ((6 * volumes / math.pi) ** (1 / 3) if len(spacing) == 3 else 2 * np.sqrt(volumes / math.pi)).tolist()


def _checked(bounds: Sequence[float]) -> tuple[float, float]:
    if len(bounds) != 2 or not 0 < bounds[0] < bounds[1]:
        raise ValueError(
            f"bounds={tuple(bounds)}: pass two increasing diameters in mm, where medium and where large begins, "
            f"such as bounds={BOUNDS}."
        )
    return float(bounds[0]), float(bounds[1])
