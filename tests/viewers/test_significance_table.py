"""Which system differs from the one with the star: by sign, by colour, and by SciPy's own test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from dsnotes.viewers.significance_table import significance_table

RNG = np.random.default_rng(0)
OURS = RNG.normal(0.8, 0.05, 12)
SCORES = {
    "ours": {"dice": OURS, "hausdorff95": RNG.normal(5, 1, 12)},
    "worse": {"dice": OURS - RNG.normal(0.1, 0.02, 12), "hausdorff95": RNG.normal(9, 1, 12)},
    "alike": {"dice": OURS + RNG.normal(0, 0.05, 12), "hausdorff95": RNG.normal(5, 1, 12)},
    "better": {"dice": OURS + RNG.normal(0.1, 0.02, 12), "hausdorff95": RNG.normal(5, 1, 12)},
}


def test_signs_are_those_of_a_paired_test():
    table = significance_table(SCORES, star="ours")
    signs = {row["system"]: row["dice"].verdict for row in table.rows[1:]}
    assert signs == {"worse": "lower", "alike": "even", "better": "higher"}
    assert ttest_rel(SCORES["alike"]["dice"], OURS).pvalue > 0.05 > 3 * ttest_rel(SCORES["worse"]["dice"], OURS).pvalue
    assert table.rows[0] == {
        "system": "ours *",
        "dice": f"{OURS.mean():.3f} ± {OURS.std(ddof=1):.3f}",
        "hausdorff95": f"{SCORES['ours']['hausdorff95'].mean():.3f} ± {SCORES['ours']['hausdorff95'].std(ddof=1):.3f}",
    }


def test_the_correction_is_for_the_number_of_rows():
    """A difference that a single test would call real is even among twenty."""
    base = np.array([0.50, 0.52, 0.49, 0.51, 0.50, 0.53, 0.48, 0.50])
    shifted = base + np.array([0.03, 0.01, 0.02, -0.01, 0.03, 0.00, 0.02, 0.01])
    assert ttest_rel(shifted, base).pvalue < 0.05 < 20 * ttest_rel(shifted, base).pvalue
    alone = significance_table({"base": {"d": base}, "shifted": {"d": shifted}}, star="base")
    assert alone.rows[1]["d"].verdict == "higher"
    noise = {f"noise {n}": {"d": np.roll(base, n % 8)} for n in range(19)}
    crowd = significance_table({"base": {"d": base}, "shifted": {"d": shifted}} | noise, star="base")
    assert crowd.rows[1]["d"].verdict == "even"


def test_it_reads_without_colour_and_with_it():
    table = significance_table(SCORES, star="ours", caption="Phantoms.")
    assert "▼ 0." in table._repr_markdown_()
    assert table._repr_html_().count("rgba(213, 94, 0, 0.25)") == 1
    assert "Phantoms. 12 cases; ▲ above, ▼ below the row with the star (p < 0.05" in repr(table)


def test_one_case_proves_nothing():
    table = significance_table({"a": {"dice": [0.9]}, "b": {"dice": [0.1]}}, star="a")
    assert table.rows[1]["dice"] == ("0.100", "even")


def test_what_cannot_be_paired_is_answered():
    with pytest.raises(ValueError, match=r"star='mine' is not among the systems \['a'\]"):
        significance_table({"a": {"dice": [1.0]}}, star="mine")
    with pytest.raises(ValueError, match="'b' has 1 values of 'dice', 'a' has 2: a paired test needs the same cases"):
        significance_table({"a": {"dice": [1.0, 0.5]}, "b": {"dice": [1.0]}}, star="a")
