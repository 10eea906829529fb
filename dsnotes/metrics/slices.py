"""Slices with and without a tumour: MSDS-UNet's tables 10 and 11, and the slices that table 12 counts.

The paper does not say how it averages, and speaks of patches where it says what it counts: slices are our inference,
from 121 of them a patient, which is how many slices a CT of that set has. Over the slices with a tumour (table 10)
there is little to choose. For "all slices" (table 11) ours leaves out a slice that is rightly left empty, and counts a
falsely marked one 0. That is a choice, not the paper's: of table 11 it gives the Dice of three of six systems within
.005, but for the same three a precision of .542, .565 and .571 where .472, .498 and .503 are published, and one
sensitivity for both tables where the published ones differ (.728 and .714, .703 and .726, …).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from dsnotes.data.conversion import Array
from dsnotes.metrics.overlap import as_masks


class SliceErrors(NamedTuple):
    """Slices with a tumour that was found, without one where some was marked, with one where nothing was marked."""

    found: int
    false_positives: int
    false_negatives: int


def slice_errors(prediction: Array, truth: Array, *, axis: int = 0) -> SliceErrors:
    """Count slices across `axis`, as the false positives and negatives of MSDS-UNet's tables 10 and 12."""
    marked, present = (m.any(axis=_within_slice(m, axis)) for m in as_masks(prediction, truth))
    counts = (marked & present, marked & ~present, present & ~marked)
    return SliceErrors(*(int(np.count_nonzero(c)) for c in counts))


def slice_dice(prediction: Array, truth: Array, *, axis: int = 0) -> np.ndarray:
    """Dice of each slice across `axis`, NaN where both are empty: there is nothing to agree on.

    `np.nanmean` of it counts a falsely marked slice as 0 (MSDS-UNet's table 11, "all slices"); its mean over the slices
    with a tumour is that of table 10.
    """
    p, t = as_masks(prediction, truth)
    within = _within_slice(t, axis)
    overlap, size = (p & t).sum(within), p.sum(within) + t.sum(within)
    return np.where(size > 0, 2 * overlap / np.maximum(size, 1), np.nan)


class SliceScores(NamedTuple):
    """Means over `slices`; `f1` of their voxels together; the errors are counted over every slice either way."""

    dice: float
    sensitivity: float
    ppv: float
    f1: float
    false_positives: int
    false_negatives: int
    slices: int


def slice_scores(pairs: Iterable[tuple[Array, Array]], *, only_tumour: bool = False, axis: int = 0) -> SliceScores:
    """Score the slices of all (prediction, truth) pairs as one set.

    `only_tumour=True` takes those with a tumour in truth (table 10); else those with a tumour or a mark (table 11),
    where a falsely marked slice has Dice and PPV 0. It has no sensitivity: that is a mean over tumour slices in both.
    """
    counted = [_counts(p, t, axis) for p, t in pairs]
    hit, marked, present = np.concatenate(counted, axis=1) if counted else np.zeros((3, 0), int)
    if not present.any():
        raise ValueError(
            f"{len(counted)} pairs came and no truth among them holds a tumour, so that no slice has a sensitivity. "
            f"Pass (prediction, truth) pairs, in this order, with a tumour in at least one truth."
        )
    tumour, errors = present > 0, [(marked > 0) & (present == 0), (marked == 0) & (present > 0)]
    seen = tumour if only_tumour else tumour | (marked > 0)
    overlap, sizes = hit[seen], (marked + present)[seen]
    return SliceScores(
        dice=float((2 * overlap / sizes).mean()),
        sensitivity=float((hit[tumour] / present[tumour]).mean()),
        ppv=float((overlap / np.maximum(marked[seen], 1)).mean()),
        f1=float(2 * overlap.sum() / sizes.sum()),
        false_positives=int(errors[0].sum()),
        false_negatives=int(errors[1].sum()),
        slices=int(seen.sum()),
    )


def _counts(prediction: Array, truth: Array, axis: int) -> np.ndarray:
    """(3, slices): voxels found, marked and present in each slice across `axis`."""
    p, t = as_masks(prediction, truth)
    within = _within_slice(t, axis)
    return np.stack([(p & t).sum(within), p.sum(within), t.sum(within)])


def _within_slice(mask: np.ndarray, axis: int) -> tuple[int, ...]:
    if not -mask.ndim <= axis < mask.ndim:
        raise ValueError(
            f"axis={axis}, but the masks have {mask.ndim} axes, 0 to {mask.ndim - 1}; axis=0 counts axial slices."
        )
    return tuple(a for a in range(mask.ndim) if a != axis % mask.ndim)
