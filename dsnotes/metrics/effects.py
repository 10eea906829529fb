r"""The effect of a change, from paired scores of several cases and seeds: interval, test, smallest detectable effect.

Case c, trained with seed s, scores d_cs better with the change than without it. The model is

    d_cs = effect + case_c + seed_s + rest_cs

so more cases do not make up for few seeds. The variance of the mean is estimated from the mean squares of the two-way
table of n cases and m seeds, $(MS_{cases} + MS_{seeds} - MS_{rest}) / nm$, with Satterthwaite's degrees of freedom.
With one seed this is the paired t-test, which says nothing about another training.

In cross-validation the cases of a fold share a trained network for each seed. With `folds` a second t-test treats
every training, one fold under one seed, as one observation, the mean of its cases; the wider of the two intervals
counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dsnotes.metrics.compare import detectable, holm

Scores = Mapping[object, Mapping[str, float]]  # seed -> case -> score
Folds = Mapping[str, object]  # case -> the fold in which it was held out


@dataclass(frozen=True)
class Effect:
    """`mean` is the difference of the second from the first; `low` and `high` its interval over cases and seeds."""

    mean: float
    low: float
    high: float
    p: float
    smallest: float  # the smallest effect that this comparison would find in 80 of 100 repetitions
    cases_low: float  # bootstrap interval over the cases alone: for these trained networks
    cases_high: float
    by_seed: tuple[float, ...]
    wins: int
    draws: int
    losses: int
    cases: int
    left_out: int = 0  # cases or seeds that only one of the two has, or without a finite score

    def verdict(self, *, margin: float = 0.02, level: float = 0.05) -> str:
        """In words; `margin` is the largest difference that does not matter, `level` the significance level for `p`."""
        if self.p < level:
            return f"{'helps' if self.mean > 0 else 'hurts'}: {self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})"
        bound = max(abs(self.low), abs(self.high))
        if bound <= margin:
            return f"no difference larger than {bound:.3f}"
        seeds = f"{len(self.by_seed)} seed{'s' * (len(self.by_seed) != 1)}"
        return f"unknown: {self.cases} cases and {seeds} could only have shown {self.smallest:.3f} or more"


def effect(
    before: Scores,
    after: Scores,
    *,
    folds: Folds | None = None,
    level: float = 0.05,
    power: float = 0.8,
    draw: float = 0.005,
    resamples: int = 5000,
) -> Effect:
    """Compare two rows, seed by seed and case by case; a case within ± `draw`, on average over seeds, is a draw."""
    d, cases, left_out = differences(before, after)
    n, m = d.shape
    mean, error, freedom = _mean_and_error(d)
    if folds is not None and len({folds[case] for case in cases}) > 1:
        each = (error, freedom), _over_trainings(d, [folds[case] for case in cases])
        error, freedom = max(each, key=lambda one: one[0] * _t_quantile(1 - level / 2, one[1]))
    of_cases = d.mean(1)
    low, high = bootstrap_interval(of_cases, level=level, resamples=resamples)
    reach = _t_quantile(1 - level / 2, freedom) * error
    p = 1.0 if mean == 0 else 0.0 if error == 0 else 2 * _upper_tail(abs(mean) / error, freedom)
    wins, losses = int((of_cases > draw).sum()), int((of_cases < -draw).sum())
    return Effect(
        mean=mean,
        low=mean - reach,
        high=mean + reach,
        p=p,
        smallest=smallest_detectable(error, freedom, level=level, power=power),
        cases_low=low,
        cases_high=high,
        by_seed=tuple(d.mean(0).tolist()),
        wins=wins,
        draws=n - wins - losses,
        losses=losses,
        cases=n,
        left_out=left_out,
    )


def against(
    first: str, rows: Mapping[str, Scores], *, bases: Mapping[str, str] | None = None, **how
) -> dict[str, Effect]:
    """Every other row against `first`, or against the row that `bases` gives it; p-values corrected by Holm.

    A row whose base is not among `rows` is left out.
    """
    of = dict.fromkeys(rows, first) | dict(bases or {})
    compared = [name for name in rows if name != first and of[name] in rows]
    found = {name: effect(rows[of[name]], rows[name], **how) for name in compared}
    corrected = holm([one.p for one in found.values()]) if found else []
    return {name: replace(one, p=p) for (name, one), p in zip(found.items(), corrected, strict=True)}


def differences(before: Scores, after: Scores) -> tuple[np.ndarray, list[str], int]:
    """(cases, seeds) of after - before for the cases and seeds of both, those cases, and how many are left out."""
    seeds = [seed for seed in before if seed in after]
    shared = [set(of[seed]) for of in (before, after) for seed in seeds]
    found = sorted(set.intersection(*shared)) if shared else []
    cases = [c for c in found if all(math.isfinite(of[s][c]) for of in (before, after) for s in seeds)]
    if len(cases) < 2:
        raise ValueError(
            f"a comparison needs two cases or more that both rows scored under the same seeds, got {len(cases)}. Run "
            f"both rows with the same seeds and folds."
        )
    every = len(set().union(*shared)) + len({*before, *after})
    d = np.array([[after[seed][case] - before[seed][case] for seed in seeds] for case in cases], dtype=float)
    return d, cases, every - len(cases) - len(seeds)


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, *, level: float = 0.05, resamples: int = 5000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap of the mean: cases are resampled with replacement."""
    values = np.asarray(values, dtype=float)
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (resamples, len(values)))].mean(1)
    low, high = np.quantile(means, [level / 2, 1 - level / 2])
    return float(low), float(high)


def smallest_detectable(error: float, freedom: float, *, level: float = 0.05, power: float = 0.8) -> float:
    """The effect that a two-sided t-test with this standard error finds with probability `power`."""
    if not (error > 0 and math.isfinite(error)):
        return 0.0 if error == 0 else math.inf
    return error * detectable(freedom, level=level, power=power)


def _mean_and_error(d: np.ndarray) -> tuple[float, float, float]:
    """The mean of (cases, seeds) differences, its standard error and its degrees of freedom."""
    n, m = d.shape
    mean = float(d.mean())
    between_cases = m * d.mean(1).var(ddof=1)
    if m == 1:
        return mean, math.sqrt(between_cases / n), n - 1
    between_seeds = n * d.mean(0).var(ddof=1)
    rest = d - d.mean(1, keepdims=True) - d.mean(0, keepdims=True) + mean
    residual = float((rest**2).sum()) / ((n - 1) * (m - 1))
    total = between_cases + between_seeds - residual
    if total <= max(between_cases, between_seeds):  # less spread than chance gives: keep the larger part alone
        part, freedom = max((between_cases, n - 1), (between_seeds, m - 1))
        return mean, math.sqrt(part / (n * m)), freedom
    parts = ((between_cases, n - 1), (between_seeds, m - 1), (residual, (n - 1) * (m - 1)))
    return mean, math.sqrt(total / (n * m)), total**2 / sum(ms**2 / of for ms, of in parts)


def _over_trainings(d: np.ndarray, folds: Sequence[object]) -> tuple[float, float]:
    """The standard error of the mean over trainings, one for each fold and seed, and its degrees of freedom."""
    own = np.array([str(fold) for fold in folds])
    means = np.concatenate([d[own == fold].mean(0) for fold in sorted(set(own))])
    return float(means.std(ddof=1) / math.sqrt(len(means))), len(means) - 1


def _t_quantile(probability: float, freedom: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def _upper_tail(t: float, freedom: float) -> float:
    from scipy.special import stdtr

    return float(stdtr(freedom, -t))
