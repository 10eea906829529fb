"""Paired tests against SciPy, Holm's correction worked by hand, readers who agree in part."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dsnotes.metrics import agreement, consensus, dice, holm, paired_t_test, smallest_difference, wilcoxon

RNG = np.random.default_rng(0)
A = RNG.beta(8, 2, 15)
B = A - RNG.normal(0.02, 0.03, 15)


def test_paired_t_test_is_scipys():
    ours, theirs = paired_t_test(A, B), stats.ttest_rel(A, B)
    assert ours.statistic == pytest.approx(theirs.statistic)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours.difference == pytest.approx((A - B).mean())
    assert ours.n == 15
    swapped = paired_t_test(B.tolist(), A.tolist())
    assert (swapped.statistic, swapped.p) == pytest.approx((-ours.statistic, ours.p))


def test_differences_that_are_all_alike():
    assert paired_t_test([0.5, 0.25], [0.5, 0.25]) == (0, 0, 1, 2)
    assert paired_t_test([0.5, 0.75], [0.25, 0.5]) == (0.25, math.inf, 0, 2)
    assert paired_t_test([0.25, 0.5], [0.5, 0.75]).statistic == -math.inf


def test_wilcoxon_is_scipys_and_leaves_ties_out():
    ours, theirs = wilcoxon(A, B), stats.wilcoxon(A, B)
    assert (ours.statistic, ours.p) == (theirs.statistic, theirs.pvalue)
    assert ours.difference == pytest.approx((A - B).mean())
    more = wilcoxon([*A, 0.5, 0.7], [*B, 0.5, 0.7])
    assert (more.statistic, more.p, more.n) == (ours.statistic, ours.p, 17)
    assert wilcoxon(A, A) == (0, 0, 1, 15)


def test_wilcoxon_of_five_wins_is_one_in_sixteen():
    """All signs alike in 5 cases: 2 of 2⁵ patterns are as extreme."""
    assert wilcoxon([0.5, 0.6, 0.7, 0.8, 0.9], [0.4, 0.4, 0.4, 0.4, 0.4]).p == 2 / 32


def test_holm_worked_by_hand():
    """.005 × 4, .01 × 3, .03 × 2, then .04 × 1 which may not fall below .06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([]) == []


def test_consensus_is_what_half_the_readers_marked():
    readers = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]], dtype=np.uint8)
    assert consensus(readers).tolist() == [1, 1, 0, 0, 0]
    assert consensus(list(readers[:3])).tolist() == [1, 1, 0, 0, 0]
    assert consensus(readers, share=1).tolist() == [1, 0, 0, 0, 0]
    assert consensus(readers).dtype == np.uint8


def test_agreement_is_the_table_of_pairwise_dice():
    readers = RNG.integers(0, 2, (4, 6, 7)).astype(np.uint8)
    prediction = RNG.integers(0, 2, (6, 7)).astype(np.uint8)
    names, table = agreement(readers, prediction=prediction)
    assert names == ("D1", "D2", "D3", "D4", "consensus", "prediction")
    np.testing.assert_array_equal(table, table.T)
    np.testing.assert_array_equal(np.diag(table), 1)
    assert table[1, 2] == dice(readers[1], readers[2])
    assert table[0, 4] == dice(readers[0], consensus(readers))
    assert table[3, 5] == dice(readers[3], prediction)
    assert agreement(list(readers)).names == names[:-1]


def test_four_radiologists_agree_as_published():
    """LIDC: their pairwise Dice is 0.774 ± 0.082 over 896 nodules; a reader's with the consensus 0.870."""
    home = Path(os.environ.get("DSNOTES_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "lidc_readers"
    if not home.exists():
        pytest.skip("no LIDC outlines: set DSNOTES_TEST_DATA to a folder that holds lidc_readers")
    readers, with_consensus = [], []
    with np.load(home / "lidc_4reader_masks.npz") as masks:
        for name in masks.files:
            bits = masks[name]  # bit r: inside the outline of reader r
            table = agreement([bits >> r & 1 for r in range(4)]).dice
            readers.append(table[:4, :4][np.triu_indices(4, 1)].mean())
            with_consensus.append(table[:4, 4].mean())
    assert len(readers) == 896
    assert np.mean(readers) == pytest.approx(0.774, abs=5e-4)
    assert np.std(readers) == pytest.approx(0.082, abs=1e-3)
    assert np.mean(with_consensus) == pytest.approx(0.870, abs=5e-4)


def test_the_smallest_difference_is_found_in_eight_of_ten_simulated_studies():
    for n, spread in ((5, 0.1), (12, 0.03)):
        least = smallest_difference(spread, n)
        d = np.random.default_rng(n).normal(least, spread, (20_000, n))
        found = stats.ttest_1samp(d, 0, axis=1).pvalue < 0.05
        assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_the_smallest_difference_of_many_cases_is_that_of_the_normal_distribution():
    normal = stats.norm.isf(0.025) + stats.norm.isf(0.2)
    assert smallest_difference(2.0, 10_000) == pytest.approx(2.0 * normal / 100, rel=1e-3)
    assert smallest_difference(0.0, 5) == 0
    with pytest.raises(ValueError, match=r"n=1.*two cases or more"):
        smallest_difference(0.1, 1)


def test_wrong_input_is_answered_with_the_remedy():
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\).*same cases in the same order"):
        paired_t_test([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match=r"needs two cases or more, got 1: score more cases"):
        wilcoxon([1.0], [2.0])
    with pytest.raises(ValueError, match=r"shapes \(2, 2\) and \(2, 2\), but a paired test needs one number per case"):
        paired_t_test(np.eye(2), np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"p_values=\[\[0.5\]\]: needed is a list of numbers"):
        holm(np.array([[0.5]]))
    with pytest.raises(ValueError, match=r"2 pairs with NaN or infinity.*keep = np.isfinite\(first\)"):
        paired_t_test([1.0, math.nan, 3.0], [1.0, 2.0, math.inf])
    with pytest.raises(ValueError, match=r"p_values=\[0.5, nan\].*numbers from 0 to 1.*Leave out"):
        holm([0.5, math.nan])
    with pytest.raises(ValueError, match=r"1 reader came.*agreement\(\[first, second\]\)"):
        agreement([np.ones((2, 2), dtype=bool)])
    with pytest.raises(ValueError, match=r"shape \(2, 3\), the truth \(2, 2\)"):
        consensus([np.ones((2, 2), dtype=bool), np.ones((2, 3), dtype=bool)])
