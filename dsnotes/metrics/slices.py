"""Scores of slices with and without a tumour: MSDS-UNet's tables 10 and 11, and the slices that table 12 counts.

The paper does not say how it averages, and it counts "patches". We infer slices, because it has 121 per patient, the
number of slices of a CT in that dataset. For slices with a tumour (table 10) the averaging hardly matters. For "all
slices" (table 11) we leave out slices that are correctly empty and count a falsely marked slice as 0. That is our
choice: of table 11 it reproduces the Dice of three of six systems within .005, but for the same three it gives a
precision of .542, .565 and .571 where .472, .498 and .503 are published, and one sensitivity for both tables where the
published ones differ (.728 and .714, .703 and .726, …).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from dsnotes.data.conversion import Array
from dsnotes.metrics.overlap import as_masks


class SliceErrors(NamedTuple):
    """Slices with a tumour and a mark (TP), without a tumour but marked (FP), with a tumour but unmarked (FN)."""

    found: int
    false_positives: int
    false_negatives: int


def slice_errors(prediction: Array, truth: Array, *, axis: int = 0) -> SliceErrors:
    """Count slices across `axis`, for the false positives and negatives of MSDS-UNet's tables 10 and 12."""
    marked, present = (m.any(axis=_within_slice(m, axis)) for m in as_masks(prediction, truth))
    counts = (marked & present, marked & ~present, present & ~marked)
    return SliceErrors(*(int(np.count_nonzero(c)) for c in counts))


def slice_dice(prediction: Array, truth: Array, *, axis: int = 0) -> np.ndarray:
    """Dice of each slice across `axis`; NaN where both masks are empty.

    Its `np.nanmean` counts a falsely marked slice as 0 (MSDS-UNet's table 11, "all slices"); its mean over slices with
    a tumour is that of table 10.
    """
    p, t = as_masks(prediction, truth)
    within = _within_slice(t, axis)
    overlap, size = (p & t).sum(within), p.sum(within) + t.sum(within)
    return np.where(size > 0, 2 * overlap / np.maximum(size, 1), np.nan)


class SliceScores(NamedTuple):
    """Means over `slices`; `f1` pools their voxels; errors are counted over all slices in either mode."""

    dice: float
    sensitivity: float
    ppv: float
    f1: float
    false_positives: int
    false_negatives: int
    slices: int


def slice_scores(pairs: Iterable[tuple[Array, Array]], *, only_tumour: bool = False, axis: int = 0) -> SliceScores:
    """Score the slices of all (prediction, truth) pairs as one set.

    `only_tumour=True` takes slices with a tumour in the truth (table 10); otherwise slices with a tumour or a mark
    (table 11), where a falsely marked slice has Dice and PPV 0 and no sensitivity: that is a mean over tumour slices in
    both.
    """
    counted = [_counts(p, t, axis) for p, t in pairs]
    hit, marked, present = np.concatenate(counted, axis=1) if counted else np.zeros((3, 0), int)
    if not present.any():
        raise ValueError(
            f"{len(counted)} pairs came without a tumour in any truth, so no slice has a sensitivity. "
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
    """(3, slices): true positive, marked and true voxels in each slice across `axis`."""
    p, t = as_masks(prediction, truth)
    within = _within_slice(t, axis)
    return np.stack([(p & t).sum(within), p.sum(within), t.sum(within)])


def _within_slice(mask: np.ndarray, axis: int) -> tuple[int, ...]:
    if not -mask.ndim <= axis < mask.ndim:
        raise ValueError(
            f"axis={axis}, but the masks have axes 0 to {mask.ndim - 1}. Pass one of these; axis=0 counts axial slices."
        )
    return tuple(a for a in range(mask.ndim) if a != axis % mask.ndim)
