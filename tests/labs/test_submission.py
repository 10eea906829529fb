"""What is made of a file that was handed in, whatever it holds."""

from __future__ import annotations

import json

import nbformat
import pytest
from coursework import LABS, handed_in

from dsnotes.labs.source import STUB, id_of, open_labs
from dsnotes.labs.submission import submission_of
from dsnotes.runs.source import RefusedError

LAB = LABS["lab1_dice"]


def source_of(cells: list[dict], name: str) -> str:
    (cell,) = (cell for cell in cells if id_of(cell) == name)
    return cell["source"]


@pytest.mark.parametrize(
    "file",
    [
        *(b"", b"no notebook", b"[]", b"{}", b'{"cells": 3}', b'{"cells": [{}]}', b"\xff\xfe", b"[" * 100_000),
        *(b'{"worksheets": 3}', b'{"worksheets": [{"cells": [{"cell_type": "code"}]}]}'),
        b'{"cells": ' + b" " * 20_000_001,
    ],
)
def test_what_is_not_a_notebook_costs_its_points_and_says_so(file):
    submission = submission_of("ada", LAB, file)
    assert not submission.read
    assert "could not be read as a notebook" in submission.notes[0]
    assert STUB.splitlines()[1] in source_of(submission.cells, "dice")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_a_byte_order_mark_costs_nothing(encoding):
    file = handed_in(LAB).decode().encode(encoding)
    assert submission_of("ada", LAB, file).cells == submission_of("ada", LAB, handed_in(LAB)).cells


@pytest.mark.filterwarnings("ignore")
def test_an_old_nbformat_is_read():
    old = nbformat.convert(nbformat.reads(handed_in(LAB).decode(), as_version=4), 3)
    submission = submission_of("ada", LAB, nbformat.writes(old, version=nbformat.NO_CONVERT).encode())
    assert submission.read
    assert source_of(submission.cells, "dice") == LAB.cells["dice"]["source"]
    assert submission.notes == []


def test_a_test_that_was_deleted_or_doubled_stands_once_in_its_place():
    notebook = json.loads(handed_in(LAB))
    dropped = [cell for cell in notebook["cells"] if id_of(cell) != "test-loss"]
    doubled = next(cell for cell in dropped if id_of(cell) == "loss")
    again = {**doubled, "source": "def dice_loss(p, t, squared=True):\n    return 0"}
    submission = submission_of("ada", LAB, json.dumps({**notebook, "cells": [*dropped, again]}).encode())
    assert source_of(submission.cells, "test-loss") == LAB.cells["test-loss"]["source"]
    assert source_of(submission.cells, "loss") == LAB.cells["loss"]["source"]
    assert submission.notes == ["These cells were missing from your file and were restored: test-loss."]


def test_no_cell_of_the_student_s_own_is_taken_for_a_test():
    """The grading process runs tests by their id: only the instructor's may have one."""
    notebook = json.loads(handed_in(LAB))
    for name in ("test-dice", "given-02", "setup", "unknown"):
        marks = {"nbgrader": {"grade_id": name, "points": 3, "locked": True, "sandbox": True}}
        notebook["cells"] += [{"cell_type": "code", "source": "1 / 0", "metadata": marks, "outputs": []}] * 2
    cells = submission_of("eve", LAB, json.dumps(notebook).encode()).cells
    assert [cell["metadata"] for cell in cells if cell["source"] == "1 / 0"] == [{}] * 8
    names = [id_of(cell) for cell in cells if id_of(cell)]
    assert sorted(names) == sorted(LAB.cells)


def test_cells_of_the_student_s_own_stay_where_they_stood():
    notebook = json.loads(handed_in(LAB))
    at = next(i for i, cell in enumerate(notebook["cells"]) if id_of(cell) == "dice")
    notebook["cells"].insert(at, {"cell_type": "code", "source": "factor = 2", "metadata": {}, "outputs": []})
    cells = submission_of("ada", LAB, json.dumps(notebook).encode()).cells
    mine = next(i for i, cell in enumerate(cells) if cell["source"] == "factor = 2")
    assert mine < next(i for i, cell in enumerate(cells) if id_of(cell) == "dice")


def test_solutions_and_hidden_tests_are_not_in_what_students_get():
    for lab in LABS.values():
        text = json.dumps(lab.student)
        assert not any(word in text for word in ("SOLUTION", "HIDDEN", "SEED", "reference."))
        marks = {name for cell in lab.student["cells"] for name in cell["metadata"].get("nbgrader", {})}
        assert marks == {"schema_version", "grade_id", "solution", "grade", "task", "locked", "points"}
        nbformat.validate(nbformat.from_dict(lab.student | {"nbformat": 4, "nbformat_minor": 5}))


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ('# %% nbgrader={"solution": true}\n1', "has no unique grade_id"),
        ('# %% nbgrader={"grade_id": "a", "solution": true}\n1', "a is a solution without ### BEGIN SOLUTION"),
        (
            '# %% nbgrader={"grade_id": "a"}\n### BEGIN HIDDEN TESTS\n1\n### END HIDDEN TESTS',
            "hidden tests but no points",
        ),
        ('# %% nbgrader={"grade_id": "a", "need": ["losses"]}\n1', r"a has unknown metadata \['need'\]"),
    ],
)
def test_a_source_with_a_slip_is_refused(tmp_path, cell, said):
    header = LAB.path.read_text("utf-8").split("# %%")[0]
    (tmp_path / "lab9.py").write_text(f"{header}{cell}\n", encoding="utf-8")
    with pytest.raises(RefusedError, match=said):
        open_labs(tmp_path)


def test_a_lab_is_named_by_its_beginning_or_refused():
    assert open_labs(LAB.path.parent, ["lab1"])[0].name == "lab1_dice"
    with pytest.raises(RefusedError, match=r"'lap2_depth' matches none of the labs .*; did you mean lab2_depths\?"):
        open_labs(LAB.path.parent, ["lap2_depth"])
