"""Calibration: of the voxels to which a network gives probability 0.8, are 80 % lesion?

Guo et al. 2017, https://arxiv.org/abs/1706.04599; the bias of binning and its correction: Kumar, Liang and Ma 2019,
https://arxiv.org/abs/1909.10155. Departure: voxels of one case resemble each other, so where several cases are given
the intervals and the bias count cases, not voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from dsnotes.data.conversion import Array, Maps, Spacing, as_array, as_list, checked_spacing
from dsnotes.metrics.overlap import require_whole
from dsnotes.metrics.proper_scores import one_class, pooled


@dataclass(frozen=True)
class Reliability:
    """Per bin that holds a voxel: its edges (bins, 2), number of voxels, mean probability and mean target, the target's
    interval, and the standard error of the difference between the two means."""

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    frequency: np.ndarray
    low: np.ndarray
    high: np.ndarray
    standard_error: np.ndarray
    cases: int

    @property
    def gap(self) -> np.ndarray:
        """Frequency - confidence: negative where the probabilities of lesion are too high."""
        return self.frequency - self.confidence

    @property
    def error(self) -> float:
        r"""Expected calibration error, $\sum_k \frac{n_k}{n} |\bar t_k - \bar p_k|$."""
        return float(np.average(np.abs(self.gap), weights=self.count))

    @property
    def floor(self) -> float:
        r"""The error that a perfectly calibrated network would show: $\sum_k \frac{n_k}{n} s_k \sqrt{2/\pi}$."""
        return float(np.average(self.standard_error * np.sqrt(2 / np.pi), weights=self.count))

    @property
    def bias(self) -> float:
        r"""$\sum_k \frac{n_k}{n} (E|N(d_k, s_k^2)| - |d_k|)$ with the gaps $d_k$: noise cannot cancel in $|\cdot|$."""
        from scipy.special import ndtr

        d, s = np.abs(self.gap), np.maximum(self.standard_error, 1e-9)
        folded = s * np.sqrt(2 / np.pi) * np.exp(-0.5 * (d / s) ** 2) + d * (1 - 2 * ndtr(-d / s))
        return float(np.average(folded - d, weights=self.count))

    @property
    def debiased(self) -> float:
        """`error` - `bias`, at least 0. A perfectly calibrated network still shows about 0.59 × `floor`."""
        return max(self.error - self.bias, 0.0)


def reliability(
    p: Maps, t: Maps, *, bins: int = 15, equal_mass: bool = False, where: Maps | None = None, level: float = 0.95
) -> Reliability:
    """Bin the voxels by their probability, and compare it with how often they are lesion.

    Bins are (low, high], of equal width or, with `equal_mass`, of equal numbers of voxels (the adaptive error; equal
    probabilities stay together, so there may be fewer bins). Two biases remain: noise in each bin makes the error too
    large (`Reliability.bias`), and errors of opposite sign within a bin cancel, which makes it too small.

    Intervals are Wilson's, for the effective number of voxels: as many independent ones have the same standard error.
    With lists of cases the standard error is clustered by case; with one map voxels count as independent, and the
    interval is too narrow.
    """
    if bins < 1 or not 0 < level < 1:
        raise ValueError(f"bins={bins}, level={level} came. Pass bins=15 or another whole number, and level=0.95.")
    p, t, case = pooled(p, t, where)
    inner = np.quantile(p, np.linspace(0, 1, bins + 1)) if equal_mass else np.linspace(0, 1, bins + 1)
    at = np.searchsorted(inner[1:-1], p)
    count = np.bincount(at, minlength=bins)
    occupied = count > 0
    n, at_least_one = count[occupied], np.maximum(count, 1)
    confidence, frequency = (np.bincount(at, x, bins) / at_least_one for x in (p, t))
    residual = t - p - (frequency - confidence)[at]
    error, clusters = _standard_error(residual, at, case, count)
    low, high = wilson(frequency[occupied], error[occupied], n, clusters[occupied], level)
    edges = np.stack([inner[:-1], inner[1:]], 1)
    arrays = (x[occupied] for x in (edges, count, confidence, frequency))
    return Reliability(*arrays, low, high, error[occupied], int(case[-1]) + 1)


def expected_calibration_error(
    p: Maps,
    t: Maps,
    *,
    bins: int = 15,
    equal_mass: bool = False,
    debiased: bool = False,
    where: Maps | None = None,
) -> float:
    """The mean over voxels of |frequency - confidence| of their bin: `reliability(…).error`, or `.debiased`.

    Most voxels are background and dominate the mean: also pass `where=boundary_band(…)`.
    """
    found = reliability(p, t, bins=bins, equal_mass=equal_mass, where=where)
    return found.debiased if debiased else found.error


def by_class(
    metric: Callable[..., float],
    p: Maps,
    label: Maps,
    *,
    labels: Mapping[int, str] | None = None,
    **options: object,
) -> dict[str, float]:
    """{class: metric(p of the class, its mask)} for every class of (classes, *space), also the background.

    `labels` names the classes as `dataset.labels` does; `options` go to the metric, such as bins=10 or where=band.
    """
    first = as_array(as_list(p)[0], "p", example="probabilities (classes, *space)")
    if first.ndim != np.ndim(as_list(label)[0]) + 1:
        raise ValueError(
            f"p has shape {first.shape}, the label {np.shape(as_list(label)[0])}. Pass (classes, *space) and (*space), "
            f"such as dsnotes.predict(system, case) and case.label."
        )
    values = [1] if len(first) == 1 else range(len(first))
    names = {value: str(value) if labels is None else labels[value] for value in values}
    return {name: metric(*one_class(p, label, value), **options) for value, name in names.items()}


def boundary_band(label: Array, *, spacing: Spacing, width: float) -> np.ndarray:
    """True where a voxel's centre is at most `width` mm from the centre of a voxel of another class.

    The background of most scans is easy and large: calibration there says little about an outline.
    """
    from scipy.ndimage import distance_transform_edt

    label = as_array(label, "the label", example="case.label")
    require_whole(label, "label")
    spacing = checked_spacing(spacing, "the label", axes=label.ndim, example="spacing=case.spacing")
    if not width > 0:
        raise ValueError(f"width={width} must be positive, in mm. For instance width={2 * max(spacing):g}.")
    band = np.zeros(label.shape, bool)
    for value in np.unique(label):
        inside = label == value
        if not inside.all():
            band |= inside & (distance_transform_edt(inside, sampling=spacing) <= width)
    return band


def wilson(
    frequency: np.ndarray, error: np.ndarray, n: np.ndarray, clusters: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval of a frequency whose standard error is `error`, with Student's t over several clusters."""
    from scipy.special import ndtri, stdtrit

    several = clusters > 1
    z = np.where(several, stdtrit(np.maximum(clusters - 1, 1), (1 + level) / 2), ndtri((1 + level) / 2))
    spread = frequency * (1 - frequency)
    known = (spread > 0) & (error > 0) & several
    effective = np.where(known, np.minimum(spread / np.where(known, error, 1) ** 2, n), np.where(several, clusters, n))
    centre = (frequency + z**2 / (2 * effective)) / (1 + z**2 / effective)
    half = z / (1 + z**2 / effective) * np.sqrt(spread / effective + z**2 / (4 * effective**2))
    return np.maximum(centre - half, 0), np.minimum(centre + half, 1)


def _standard_error(
    residual: np.ndarray, at: np.ndarray, case: np.ndarray, count: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Standard error of each bin's mean residual, clustered by case if several have voxels in it; number of cases."""
    bins, cases = len(count), int(case[-1]) + 1
    cell = case * bins + at
    sums = np.bincount(cell, residual, bins * cases).reshape(cases, bins)
    clusters = (np.bincount(cell, minlength=bins * cases).reshape(cases, bins) > 0).sum(0)
    n = np.maximum(count, 1)
    unclustered = np.bincount(at, residual**2, bins) / np.maximum(n - 1, 1) / n
    clustered = clusters / np.maximum(clusters - 1, 1) * (sums**2).sum(0) / n**2
    return np.sqrt(np.where(clusters > 1, clustered, unclustered)), clusters
