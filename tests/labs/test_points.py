"""For each lab: the reference gets everything, an empty one nothing, each wrong one what was meant."""

from __future__ import annotations

import pytest
from coursework import LABS, WRONG, every_lab, graded, handed_in, wrong_one


@pytest.mark.parametrize("name", every_lab())
def test_reference_empty_and_wrong_ones_get_the_points_that_were_meant(name):
    """One test for each lab, so that its submissions run once however the tests are shared out."""
    lab = LABS[name]
    files = {"reference": handed_in(lab), "empty": handed_in(lab, empty=True)}
    ran = graded(lab, files | {wrong["name"]: wrong_one(lab, wrong) for wrong in WRONG[name]})
    assert ran["reference"].points == lab.tests, ran["reference"].messages
    assert ran["reference"].notes == []
    assert set(ran["empty"].points.values()) == {0}
    assert len(WRONG[name]) >= 6
    lost = {who: sorted(t for t, value in each.points.items() if value < lab.tests[t]) for who, each in ran.items()}
    meant = {wrong["name"]: sorted(wrong["loses"]) for wrong in WRONG[name]}
    assert lost == meant | {"reference": [], "empty": sorted(lab.tests)}
    assert "were replaced by the instructor's: test-" in ran["tests edited"].notes[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", LABS)
def test_the_reference_is_right_for_other_hidden_inputs_too(name):
    for seed in (0, 1, 2**31 - 1):
        (attempt,) = graded(LABS[name], {"reference": handed_in(LABS[name])}, seed=seed).values()
        assert attempt.points == LABS[name].tests, (seed, attempt.messages)


@pytest.mark.parametrize("name", LABS)
def test_a_lab_has_twenty_points_a_reflection_and_hidden_tests(name):
    lab = LABS[name]
    assert lab.points == 20
    assert len([cell for cell in lab.cells.values() if cell["cell_type"] == "markdown"]) == 1
    sources = [lab.cells[test]["source"] for test in lab.tests]
    assert all("### BEGIN HIDDEN TESTS" in source for source in sources)
    assert all("SEED" in source.split("### BEGIN HIDDEN")[1] for source in sources), "hidden inputs are drawn anew"
    assert all(", " in source.split("### BEGIN")[0] for source in sources), "a test that fails says what to look at"
