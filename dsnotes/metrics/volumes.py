"""The volume that probabilities predict, its interval, and its bias over cases.

Volumes are in mm³; for 2-D images they are areas in mm². Bias with limits of agreement: Bland and Altman 1986,
https://doi.org/10.1016/S0140-6736(86)90837-8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dsnotes.data.conversion import Array, Spacing, checked_spacing
from dsnotes.metrics.proper_scores import as_probabilities

Numbers = Sequence[float] | np.ndarray


def expected_volume(p: Array, *, spacing: Spacing) -> float:
    r"""$\sum p$ times the size of a voxel. p is the map or mask of one class, (*space) or (1, *space)."""
    p, voxel = _of_one_class(p, spacing)
    return float(p.sum(dtype=float) * voxel)


def volume_samples(p: Array, *, spacing: Spacing, n: int = 100, together: bool = True) -> np.ndarray:
    """`n` equally likely volumes for one map of probabilities; their mean is about `expected_volume`.

    Probabilities do not say whether voxels err together. `together=True`: all do, as if one reader drew generously or
    tightly; the samples are the volumes above the thresholds (i + ½) / n, smallest first. No spread can be larger.
    `together=False`: voxels are independent and their errors cancel; the spread is √Σp(1 - p), far too small.
    """
    p, voxel = _of_one_class(p, spacing)
    levels = _levels(n)
    if together:
        ordered = np.sort(p, axis=None)
        return (p.size - np.searchsorted(ordered, levels[::-1], side="right")) * voxel
    from scipy.special import ndtri

    p = p.astype(float)
    return np.maximum(p.sum() + np.sqrt((p * (1 - p)).sum()) * ndtri(levels), 0) * voxel


def threshold_masks(p: Array, n: int = 16) -> np.ndarray:
    """(n, *space) masks of the voxels with p above (i + ½) / n: n readers' masks if all voxels err together."""
    p = as_probabilities(p)
    return p > _levels(n).reshape(-1, *[1] * p.ndim)


def volume_interval(samples: Numbers, *, level: float = 0.9) -> tuple[float, float]:
    """The central interval that holds `level` of the sampled volumes, such as those of an ensemble's members."""
    samples = np.asarray(samples, float)
    if samples.ndim != 1 or len(samples) < 2 or not 0 < level < 1:
        raise ValueError(
            f"{samples.shape} volumes and level={level} came; needed are two volumes or more and a level between 0 and "
            f"1. For instance volume_interval(volume_samples(p, spacing=case.spacing), level=0.9)."
        )
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class VolumeBias:
    """Mean of predicted - true over `n` cases, with Student's interval `low` to `high`, and its SD over cases."""

    mean: float
    low: float
    high: float
    sd: float
    n: int

    @property
    def limits(self) -> tuple[float, float]:
        """Limits of agreement, mean ± 1.96 SD: where 95 % of single cases lie if the differences are normal."""
        return self.mean - 1.96 * self.sd, self.mean + 1.96 * self.sd


def volume_bias(predicted: Numbers, true: Numbers, *, relative: bool = False, level: float = 0.95) -> VolumeBias:
    """By how much the predicted volumes are too large on average, one pair per case or, better, per patient.

    `relative=True`: as a share of the true volume.
    """
    from scipy.special import stdtrit

    predicted, true = (np.asarray(x, float) for x in (predicted, true))
    if predicted.shape != true.shape or predicted.ndim != 1 or len(true) < 2:
        raise ValueError(
            f"volumes of shapes {predicted.shape} and {true.shape} came; needed is one of each for two cases or more. "
            f"Pass [expected_volume(p, spacing=case.spacing) for …] and the same of case.label == 1."
        )
    if relative and not (true > 0).all():
        raise ValueError(
            f"{np.count_nonzero(~(true > 0))} true volumes are 0, so a relative error is unknown. "
            f"Leave these cases out, or pass relative=False."
        )
    d = (predicted - true) / (true if relative else 1)
    mean, sd = float(d.mean()), float(d.std(ddof=1))
    half = float(stdtrit(len(d) - 1, (1 + level) / 2)) * sd / np.sqrt(len(d))
    return VolumeBias(mean, mean - half, mean + half, sd, len(d))


def _levels(n: int) -> np.ndarray:
    if n < 1:
        raise ValueError(f"n={n} samples came. Pass at least 1, for instance n=100.")
    return (np.arange(n) + 0.5) / n


def _of_one_class(p: Array, spacing: Spacing) -> tuple[np.ndarray, float]:
    p = as_probabilities(p)
    if p.ndim == len(tuple(spacing)) + 1 and len(p) > 1:
        raise ValueError(f"p has {len(p)} classes, but a volume is of one. Choose it: p[1].")
    if p.ndim == len(tuple(spacing)) + 1:
        p = p[0]
    spacing = checked_spacing(spacing, "p", axes=p.ndim, example="spacing=case.spacing")
    return p, float(np.prod(spacing))
