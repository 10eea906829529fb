"""What is made of a file that was handed in, whatever it holds."""

from __future__ import annotations

import json

import pytest
from coursework import LABS, handed_in

from dsnotes.labs.source import STUB, emptied, id_of, open_labs, visible
from dsnotes.labs.submission import find, paper_of
from dsnotes.runs.source import RefusedError

LAB = LABS["lab1_dice"]


def source_of(notebook: dict, name: str) -> str:
    (cell,) = (cell for cell in notebook["cells"] if id_of(cell) == name)
    return cell["source"]


@pytest.mark.parametrize(
    "file",
    [b"", b"no notebook", b"[]", b"{}", b'{"cells": 3}', b'{"cells": [{}]}', b"\xff\xfe", b"[" * 100_000],
)
def test_what_is_no_notebook_costs_its_points_and_says_so(file):
    paper = paper_of("ada", LAB, file)
    assert not paper.read
    assert "could not be read as a notebook" in paper.happened[0]
    assert STUB.splitlines()[1] in source_of(paper.notebook, "dice")


def test_a_test_that_was_deleted_or_doubled_stands_once_in_its_place():
    notebook = json.loads(handed_in(LAB))
    dropped = [cell for cell in notebook["cells"] if id_of(cell) != "test-loss"]
    doubled = next(cell for cell in dropped if id_of(cell) == "loss")
    again = {**doubled, "source": "def dice_loss(p, t, squared=True):\n    return 0"}
    paper = paper_of("ada", LAB, json.dumps({**notebook, "cells": [*dropped, again]}).encode())
    assert source_of(paper.notebook, "test-loss") == LAB.cells["test-loss"]["source"]
    assert source_of(paper.notebook, "loss") == LAB.cells["loss"]["source"]
    assert paper.happened == ["Missing from your file, and put back: test-loss."]


def test_cells_of_the_student_s_own_stay_where_they_stood():
    notebook = json.loads(handed_in(LAB))
    at = next(i for i, cell in enumerate(notebook["cells"]) if id_of(cell) == "dice")
    notebook["cells"].insert(at, {"cell_type": "code", "source": "factor = 2", "metadata": {}, "outputs": []})
    cells = paper_of("ada", LAB, json.dumps(notebook).encode()).notebook["cells"]
    mine = next(i for i, cell in enumerate(cells) if cell["source"] == "factor = 2")
    assert mine < next(i for i, cell in enumerate(cells) if id_of(cell) == "dice")


def test_both_layouts_are_found_and_the_rest_is_named(tmp_path):
    for place in ("ada/lab1_dice.ipynb", "ben/lab1_dice/lab1_dice.ipynb", "lab1_dice.ipynb", "eve/other.ipynb"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("{}")
    found, others = find(tmp_path, [LAB])
    assert set(found) == {("ada", "lab1_dice"), ("ben", "lab1_dice")}
    assert others == ["eve/other.ipynb", "lab1_dice.ipynb"]


def test_a_link_is_not_followed(tmp_path):
    secret = tmp_path / "secret.ipynb"
    secret.write_bytes(handed_in(LAB))
    (tmp_path / "in" / "eve").mkdir(parents=True)
    (tmp_path / "in" / "eve" / "lab1_dice.ipynb").symlink_to(secret)
    found, _ = find(tmp_path / "in", [LAB])
    assert not paper_of("eve", LAB, found["eve", "lab1_dice"]).read


def test_solutions_and_hidden_tests_are_not_in_what_students_get():
    for lab in LABS.values():
        for cell in lab.cells.values():
            left = visible(emptied(cell["source"])) if cell["cell_type"] == "code" else ""
            assert "SOLUTION" not in left
            assert "HIDDEN" not in left


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ('# %% nbgrader={"solution": true}\n1', "has no grade_id of its own"),
        ('# %% nbgrader={"grade_id": "a", "solution": true}\n1', "a is a solution without ### BEGIN SOLUTION"),
        (
            '# %% nbgrader={"grade_id": "a"}\n### BEGIN HIDDEN TESTS\n1\n### END HIDDEN TESTS',
            "hidden tests but no points",
        ),
    ],
)
def test_a_source_with_a_slip_is_refused(tmp_path, cell, said):
    header = LAB.path.read_text("utf-8").split("# %%")[0]
    (tmp_path / "lab9.py").write_text(f"{header}{cell}\n", encoding="utf-8")
    with pytest.raises(RefusedError, match=said):
        open_labs(tmp_path)


def test_a_lab_is_named_by_its_beginning_or_refused(tmp_path):
    assert open_labs(LAB.path.parent, ["lab1"])[0].name == "lab1_dice"
    with pytest.raises(RefusedError, match=r"'lap2_depth' names none of the labs .*; did you mean lab2_depths\?"):
        open_labs(LAB.path.parent, ["lap2_depth"])
    with pytest.raises(RefusedError, match=r"there is no folder .*; put each student's file into"):
        find(tmp_path / "nowhere", [LAB])
    with pytest.raises(RefusedError, match="holds no submission"):
        find(tmp_path, [LAB])
