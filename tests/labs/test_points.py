"""For each lab: the reference gets everything, an empty one nothing, each wrong one what was meant."""

from __future__ import annotations

import nbformat
import pytest
from coursework import LABS, SOURCE, WRONG, every_lab, handed_in, needs_linux, points_by_test, wrong_one
from nbgrader.utils import determine_grade

from dsnotes.labs.examine import Sitting, examine
from dsnotes.labs.source import id_of
from dsnotes.labs.submission import paper_of

pytestmark = [needs_linux, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def sittings(name: str) -> dict[str, Sitting]:
    lab = LABS[name]
    files = {"reference": handed_in(lab), "empty": handed_in(lab, empty=True)}
    files |= {wrong["name"]: wrong_one(lab, wrong) for wrong in WRONG[name]}
    papers = [paper_of(student, lab, file) for student, file in files.items()]
    return {each.paper.student: each for each in examine(papers, workers=2, hidden=[SOURCE])}


def points(sitting: Sitting) -> dict[str, float]:
    """By nbgrader's own rule."""
    cells = {id_of(cell): nbformat.from_dict(cell) for cell in sitting.paper.notebook["cells"]}
    return {name: determine_grade(cells[name])[0] for name in points_by_test(LABS[sitting.paper.lab])}


def said(sitting: Sitting) -> str:
    outputs = [o for cell in sitting.paper.notebook["cells"] for o in cell.get("outputs", [])]
    return "\n".join("\n".join(o["traceback"]) for o in outputs if o["output_type"] == "error")


@pytest.mark.parametrize("name", every_lab())
def test_reference_empty_and_wrong_ones_get_the_points_that_were_meant(name):
    """One test a lab, so that its submissions run once however the tests are shared out."""
    full, ran = points_by_test(LABS[name]), sittings(name)
    got = {student: points(sitting) for student, sitting in ran.items()}
    assert got["reference"] == full, said(ran["reference"])
    assert ran["reference"].paper.happened == []
    assert ran["reference"].cpu < 40
    assert set(got["empty"].values()) == {0}
    assert len(WRONG[name]) >= 6
    lost = {who: sorted(test for test, value in each.items() if value < full[test]) for who, each in got.items()}
    meant = {wrong["name"]: sorted(wrong["loses"]) for wrong in WRONG[name]}
    assert lost == meant | {"reference": [], "empty": sorted(full)}
    assert "Changed by you, and replaced by the instructor's: test-" in ran["tests edited"].paper.happened[0]


@pytest.mark.parametrize("name", LABS)
def test_a_lab_has_twenty_points_a_reflection_and_hidden_tests(name):
    lab = LABS[name]
    assert lab.points == 20
    by_hand = [cell for cell in lab.cells.values() if cell["cell_type"] == "markdown"]
    assert len(by_hand) == 1
    sources = [lab.cells[test]["source"] for test in points_by_test(lab)]
    assert sum("### BEGIN HIDDEN TESTS" in source for source in sources) >= len(sources) - 1
    assert all(", " in source.split("### BEGIN")[0] for source in sources), "a test that fails says what to look at"
