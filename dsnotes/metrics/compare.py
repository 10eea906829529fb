"""Compare two systems or several readers: paired tests, Holm correction, reader agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dsnotes.data.conversion import Array
from dsnotes.metrics.overlap import as_masks, dice


class PairedTest(NamedTuple):
    """For `n` cases scored by both: mean of first - second, the test statistic and the two-sided p-value."""

    difference: float
    statistic: float
    p: float
    n: int


def paired_t_test(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> PairedTest:
    """t = mean(d) √n / sd(d) over the cases' differences d, with n - 1 degrees of freedom.

    If all differences are equal, t is 0 (p = 1) when they are 0 and infinite (p = 0) otherwise.
    """
    from scipy.special import stdtr

    d = _differences(first, second)
    mean, error = d.mean(), d.std(ddof=1) / math.sqrt(len(d))
    alike = 0.0 if mean == 0 else math.copysign(math.inf, mean)
    t = alike if np.ptp(d) == 0 else float(mean / error)
    return PairedTest(float(mean), t, float(2 * stdtr(len(d) - 1, -abs(t))), len(d))


def smallest_difference(spread: float, n: int, *, power: float = 0.8, level: float = 0.05) -> float:
    r"""The mean difference that a paired t-test of `n` cases finds with probability `power`.

    `spread` is the standard deviation of the cases' differences. With the true difference d, the statistic is
    $(z + d \sqrt n / s) / u$, where z is normal and $(n - 1) u^2$ is chi-squared; d is where it exceeds the two-sided
    critical value with probability `power`.
    """
    if n < 2 or spread < 0 or not level < power < 1:
        raise ValueError(
            f"spread={spread}, n={n}, power={power}, level={level}: pass a spread of 0 or more, two cases or more, and "
            f"a power between the level and 1, such as smallest_difference(0.1, 10)."
        )
    return spread * detectable(n - 1, power=power, level=level) / math.sqrt(n)


def detectable(freedom: float, *, power: float = 0.8, level: float = 0.05) -> float:
    """How many standard errors from 0 a mean must be for its t-test to find it with probability `power`."""
    from scipy.optimize import brentq
    from scipy.special import chdtri, ndtr, stdtrit

    middles = (np.arange(4000) + 0.5) / 4000
    bound = stdtrit(freedom, 1 - level / 2) * np.sqrt(chdtri(freedom, middles) / freedom)  # of z + centre

    def missing(centre: float) -> float:
        return float((ndtr(centre - bound) + ndtr(-centre - bound)).mean()) - power

    return float(brentq(missing, 0, 10 + bound.max()))


def wilcoxon(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> PairedTest:
    """Signed-rank test, for differences that are not normal, as with Dice values near 1. Cases without a difference are
    left out; with none left the statistic is 0 and p = 1.
    """
    from scipy.stats import wilcoxon as signed_ranks

    d = _differences(first, second)
    if not d.any():
        return PairedTest(0.0, 0.0, 1.0, len(d))
    result = signed_ranks(d[d != 0])
    return PairedTest(float(d.mean()), float(result.statistic), float(result.pvalue), len(d))


def holm(p_values: Sequence[float] | np.ndarray) -> list[float]:
    """p-values with Holm correction: the k-th smallest of m times m - k + 1, kept in non-decreasing order."""
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            f"p_values={p.tolist()}: needed is a list of numbers from 0 to 1. "
            f"Leave out comparisons without a p-value: [p for p in p_values if 0 <= p <= 1]."
        )
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    corrected = np.empty_like(p)
    corrected[order] = stepped
    return corrected.tolist()


def consensus(readers: Sequence[Array] | Array, *, share: float = 0.5) -> np.ndarray:
    """Mask of the voxels that at least `share` of the readers marked."""
    masks = [as_masks(reader, readers[0])[0] for reader in readers]
    return (np.sum(masks, axis=0) >= share * len(masks)).astype(np.uint8)


class Agreement(NamedTuple):
    """`dice[i, j]` of `names[i]` with `names[j]`: "D1", "D2", …, "consensus" and, where given, "prediction"."""

    names: tuple[str, ...]
    dice: np.ndarray


def agreement(readers: Sequence[Array] | Array, *, prediction: Array | None = None) -> Agreement:
    """Pairwise Dice of readers, their 50 % consensus and a prediction: one nodule of DSNet's table 4.

    Each reader contributes to the consensus, so a reader's Dice with it is biased upwards; the prediction's is not.
    """
    if len(readers) < 2:
        raise ValueError(f"{len(readers)} reader came, but agreement needs two or more: agreement([first, second]).")
    masks = {f"D{i}": reader for i, reader in enumerate(readers, 1)} | {"consensus": consensus(readers)}
    if prediction is not None:
        masks["prediction"] = prediction
    table = np.array([[dice(a, b) for b in masks.values()] for a in masks.values()])
    return Agreement(tuple(masks), table)


def _differences(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> np.ndarray:
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(
            f"the scores have shapes {a.shape} and {b.shape}, but a paired test needs one number per case and the "
            f"same cases in the same order on both sides: [table[name] for name in names] of each."
        )
    if len(a) < 2:
        raise ValueError(f"a paired test needs two cases or more, got {len(a)}: score more cases.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(
            f"the scores hold {np.count_nonzero(~(np.isfinite(a) & np.isfinite(b)))} pairs with NaN or infinity (a "
            f"Hausdorff distance to an empty mask is infinite). Leave those cases out of both and say how many: "
            f"keep = np.isfinite(first) & np.isfinite(second)."
        )
    return a - b
