"""The effect of a change: against SciPy and statsmodels' formulas, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dsnotes.metrics import paired_t_test
from dsnotes.metrics.effects import Effect, against, bootstrap_interval, effect, smallest_detectable


def scores(table):
    """{seed: {case: score}} of an array (cases, seeds)."""
    return {s: {f"case{c}": float(x) for c, x in enumerate(column)} for s, column in enumerate(np.asarray(table).T)}


def simulated(rng, *, cases, seeds, effect, of_cases, of_seeds, rest):
    d = effect + rng.normal(0, of_cases, (cases, 1)) + rng.normal(0, of_seeds, (1, seeds))
    return d + rng.normal(0, rest, (cases, seeds))


def test_one_seed_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.8, 0.1, (2, 20))
    found, expected = effect(scores(a[:, None]), scores(b[:, None])), paired_t_test(b, a)
    assert found.mean == pytest.approx(expected.difference)
    assert found.p == pytest.approx(expected.p)
    low, high = stats.ttest_rel(b, a).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_mean_squares_are_those_of_the_two_way_table():
    """Written out with loops, from the definition."""
    rng = np.random.default_rng(1)
    d = simulated(rng, cases=7, seeds=3, effect=0.02, of_cases=0.03, of_seeds=0.02, rest=0.01) + np.array(
        [0.03, 0, -0.03]
    )
    n, m = d.shape
    grand = sum(d[c, s] for c in range(n) for s in range(m)) / (n * m)
    cases = [sum(d[c]) / m for c in range(n)]
    seeds = [sum(d[:, s]) / n for s in range(m)]
    ms_cases = m * sum((x - grand) ** 2 for x in cases) / (n - 1)
    ms_seeds = n * sum((x - grand) ** 2 for x in seeds) / (m - 1)
    ms_rest = sum((d[c, s] - cases[c] - seeds[s] + grand) ** 2 for c in range(n) for s in range(m))
    ms_rest /= (n - 1) * (m - 1)
    total = ms_cases + ms_seeds - ms_rest
    freedom = total**2 / (ms_cases**2 / (n - 1) + ms_seeds**2 / (m - 1) + ms_rest**2 / ((n - 1) * (m - 1)))
    error = math.sqrt(total / (n * m))
    found = effect(scores(np.zeros((n, m))), scores(d))
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, freedom) * error)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(grand) / error, freedom))
    assert found.by_seed == pytest.approx(seeds)


def test_the_smallest_detectable_effect_is_found_in_80_of_100_simulations():
    rng = np.random.default_rng(2)
    cases, spread = 15, 0.05
    delta = smallest_detectable(spread / math.sqrt(cases), cases - 1)
    d = rng.normal(delta, spread, (4000, cases))
    found = stats.ttest_1samp(d, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.02)
    assert delta == pytest.approx((stats.t.ppf(0.975, 14) + stats.t.ppf(0.8, 14)) * spread / math.sqrt(cases), rel=0.02)


@pytest.mark.parametrize(("cases", "seeds"), [(20, 3), (40, 5)])
def test_with_several_seeds_chance_is_found_in_five_of_100_and_a_large_effect_mostly(cases, seeds):
    """Seeds vary more than cases: pooled as if they were cases they would give too many false alarms."""
    rng = np.random.default_rng(3)
    of = {"cases": cases, "seeds": seeds, "of_cases": 0.02, "of_seeds": 0.02, "rest": 0.02}
    zero = scores(np.zeros((cases, seeds)))
    p = [effect(zero, scores(simulated(rng, effect=0, **of)), resamples=2).p for _ in range(600)]
    assert np.mean(np.array(p) < 0.05) < 0.1
    error = math.sqrt(0.02**2 / cases + 0.02**2 / seeds + 0.02**2 / (cases * seeds))
    delta = smallest_detectable(error, seeds - 1)
    p = [effect(zero, scores(simulated(rng, effect=delta, **of)), resamples=2).p for _ in range(400)]
    assert np.mean(np.array(p) < 0.05) > 0.75
    naive = [
        stats.ttest_1samp(simulated(rng, effect=0, **of).ravel(), 0).pvalue for _ in range(600)
    ]  # what the module's model is there to prevent
    assert np.mean(np.array(naive) < 0.05) > 0.15


def test_cases_of_a_fold_share_their_training():
    """With three trainings of each of three folds, and no effect: without the folds, luck is taken for an effect."""
    rng, folds = np.random.default_rng(7), {f"case{c}": c // 10 for c in range(30)}
    zero, found, without = scores(np.zeros((30, 3))), [], []
    for _ in range(600):
        d = simulated(rng, cases=30, seeds=3, effect=0, of_cases=0.02, of_seeds=0, rest=0.02)
        d += np.repeat(rng.normal(0, 0.03, (3, 3)), 10, 0)  # a training's luck, the same for its ten cases
        found.append(effect(zero, scores(d), folds=folds, resamples=2).p < 0.05)
        without.append(effect(zero, scores(d), resamples=2).p < 0.05)
    assert np.mean(found) < 0.06
    assert np.mean(found) < np.mean(without)
    d = np.random.default_rng(8).normal(0.01, 0.001, (30, 3)) + np.repeat(
        [[0, 0.02, 0], [0.01, 0, 0], [0, 0, 0.03]], 10, 0
    )
    runs = [d[10 * fold : 10 * fold + 10, seed].mean() for fold in range(3) for seed in range(3)]
    one = effect(zero, scores(d), folds=folds)
    half = stats.t.ppf(0.975, 8) * np.std(runs, ddof=1) / 3
    assert one.high - one.low >= 2 * half * (1 - 1e-9)


def test_the_bootstrap_interval_is_scipys():
    values = np.random.default_rng(4).exponential(1, 40)
    how = {"method": "percentile", "n_resamples": 20_000, "rng": np.random.default_rng(5)}
    expected = stats.bootstrap((values,), np.mean, **how).confidence_interval
    assert bootstrap_interval(values, resamples=20_000) == pytest.approx(expected, abs=0.02)


def test_wins_draws_losses_and_what_is_left_out():
    before = {0: {"a": 0.5, "b": 0.5, "c": 0.5, "d": 0.5}, 1: {"a": 0.5, "b": 0.5, "c": 0.5}}
    after = {0: {"a": 0.6, "b": 0.5, "c": 0.4, "d": math.inf}, 1: {"a": 0.6, "b": 0.5, "c": 0.5}, 2: {"a": 1.0}}
    found = effect(before, after)
    assert (found.wins, found.draws, found.losses, found.cases) == (1, 1, 1, 3)
    assert found.left_out == 2, "case d and seed 2"
    with pytest.raises(ValueError, match="same seeds and folds"):
        effect(before, {5: before[0]})


def test_against_corrects_for_the_family():
    rng = np.random.default_rng(6)
    rows = {"none": scores(np.zeros((9, 2)))}
    rows |= {f"row{i}": scores(rng.normal(0.01, 0.03, (9, 2))) for i in range(4)}
    alone = {name: effect(rows["none"], of).p for name, of in rows.items() if name != "none"}
    found = against("none", rows)
    smallest = min(alone, key=alone.get)
    assert found[smallest].p == pytest.approx(min(1, 4 * alone[smallest]))
    assert list(found) == list(alone)


def test_a_row_may_have_a_base_of_its_own():
    rng = np.random.default_rng(9)
    rows = {name: scores(rng.normal(size, 0.01, (9, 2))) for name, size in {"a": 0.5, "b": 0.6, "c": 0.61}.items()}
    found = against("a", rows, bases={"c": "b"})
    assert found["c"].mean == pytest.approx(effect(rows["b"], rows["c"]).mean)
    assert found["b"].mean == pytest.approx(effect(rows["a"], rows["b"]).mean)
    assert list(against("a", rows, bases={"c": "not run"})) == ["b"]


def test_verdicts_in_words():
    one = Effect(0.03, 0.01, 0.05, 0.01, 0.03, 0, 0, (0.03,) * 3, 5, 0, 0, 5)
    assert one.verdict() == "helps: +0.030 (+0.010 to +0.050)"
    assert Effect(-0.03, -0.05, -0.01, 0.01, 0.03, 0, 0, (0.0,), 0, 0, 5, 5).verdict().startswith("hurts: -0.030")
    assert Effect(0.0, -0.012, 0.01, 0.9, 0.01, 0, 0, (0.0,), 0, 5, 0, 5).verdict() == "no difference larger than 0.012"
    assert Effect(0.0, -0.1, 0.1, 0.9, 0.14, 0, 0, (0.0,), 0, 5, 0, 5).verdict() == (
        "unknown: 5 cases and 1 seed could only have shown 0.140 or more"
    )
