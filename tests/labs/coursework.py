"""Submissions made from a lab's source: its reference, an empty one, and every wrong one of wrong/<lab>.toml."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from dsnotes.labs.source import UNANSWERED, Lab, emptied, id_of, is_locked, open_labs, points_of, visible
from dsnotes.labs.wall import possible

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "notebooks" / "labs"
LABS = {lab.name: lab for lab in open_labs(SOURCE)}
IN_CI = ("lab1_dice", "lab2_depths")  # the others by `make labs`
WRONG = {
    path.stem: tomllib.loads(path.read_text("utf-8"))["wrong"]
    for path in sorted((Path(__file__).parent / "wrong").glob("*.toml"))
}

needs_linux = pytest.mark.skipif(not possible(), reason="the wall that submissions are graded behind is Linux's")


def every_lab() -> list:
    return [pytest.param(name, marks=() if name in IN_CI else pytest.mark.slow) for name in LABS]


def handed_in(lab: Lab, changes: dict[str, str] | None = None, *, tests: str = "", empty: bool = False) -> bytes:
    """A file as a student would hand it in: the hidden tests were never in it."""
    notebook = json.loads(json.dumps(lab.notebook))
    for cell in notebook["cells"]:
        name = id_of(cell)
        if name and is_locked(cell):
            cell["source"] = tests if tests and points_of(cell) else visible(cell["source"])
        elif name and empty:
            cell["source"] = emptied(cell["source"]) if cell["cell_type"] == "code" else UNANSWERED
        cell["source"] = (changes or {}).get(name, cell["source"]) if name else cell["source"]
    return json.dumps(notebook).encode()


def wrong_one(lab: Lab, wrong: dict) -> bytes:
    source = lab.cells[wrong["cell"]]["source"]
    assert wrong["old"] in source, f"{wrong['name']}: {wrong['old']!r} is no longer in the reference"
    changed = source.replace(wrong["old"], wrong["new"])
    return handed_in(lab, {wrong["cell"]: changed}, tests=wrong.get("tests", ""))


def points_by_test(lab: Lab) -> dict[str, float]:
    return {name: points_of(cell) for name, cell in lab.cells.items() if points_of(cell) and is_locked(cell)}
