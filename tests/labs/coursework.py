"""Submissions made from a lab's source: its reference, an empty one, and every wrong one of wrong/<lab>.toml."""

from __future__ import annotations

import functools
import json
import tomllib
from pathlib import Path

import pytest

from dsnotes.labs.autograder import Attempt, autograde
from dsnotes.labs.sandbox import Limits, Sandbox, choose
from dsnotes.labs.source import Lab, id_of, is_locked, open_labs, points_of
from dsnotes.labs.submission import submission_of
from dsnotes.runs.source import RefusedError

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "notebooks" / "labs"
LABS = {lab.name: lab for lab in open_labs(SOURCE)}
IN_CI = ("lab1_dice", "lab2_depths")  # the others by `make labs`
WRONG = {
    path.stem: tomllib.loads(path.read_text("utf-8"))["wrong"]
    for path in sorted((Path(__file__).parent / "wrong").glob("*.toml"))
}


@functools.cache
def sandbox() -> Sandbox | str:
    """The one that starts here, or why none does."""
    try:
        return choose()
    except RefusedError as error:
        return str(error)


def real() -> Sandbox:
    if isinstance(found := sandbox(), str):
        pytest.skip(found)
    return found


def every_lab() -> list:
    return [pytest.param(name, marks=() if name in IN_CI else pytest.mark.slow) for name in LABS]


def handed_in(lab: Lab, changes: dict[str, str] | None = None, *, tests: str = "", empty: bool = False) -> bytes:
    """A file as a student would hand it in: the hidden tests were never in it."""
    notebook = json.loads(json.dumps(lab.student))
    for cell, full in zip(notebook["cells"], lab.notebook["cells"], strict=True):
        name = id_of(cell)
        if name and is_locked(cell):
            cell["source"] = tests if tests and points_of(cell) else cell["source"]
        elif name and not empty:
            cell["source"] = full["source"]
        cell["source"] = (changes or {}).get(name, cell["source"]) if name else cell["source"]
    return json.dumps(notebook).encode()


def wrong_one(lab: Lab, wrong: dict) -> bytes:
    source = lab.cells[wrong["cell"]]["source"]
    assert wrong["old"] in source, f"{wrong['name']}: {wrong['old']!r} is no longer in the reference"
    changed = source.replace(wrong["old"], wrong["new"])
    return handed_in(lab, {wrong["cell"]: changed}, tests=wrong.get("tests", ""))


def graded(lab: Lab, files: dict[str, bytes], *, seed: int = 7, limits: Limits | None = None) -> dict[str, Attempt]:
    jobs = [submission_of(student, lab, file) for student, file in files.items()]
    attempts = autograde(jobs, lab.path.parent, sandbox=real(), seed=seed, limits=limits, workers=2)
    return {attempt.student: attempt for attempt in attempts}
