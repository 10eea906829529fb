"""Puts a student's answers, and the cells that they added, into the instructor's notebook.

So tests that were edited, moved or deleted are back in place; a file that is not a notebook gets no points.
"""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass, field

from dsnotes.labs.source import STUB, UNANSWERED, Lab, id_of, is_locked, visible

LARGEST = 20_000_000  # bytes
LONGEST = 200_000  # characters of a cell


@dataclass
class Submission:
    """One student's submission for one lab, with the instructor's cells restored."""

    student: str
    lab: str
    cells: list[dict]
    notes: list[str] = field(default_factory=list)  # messages for the student
    read: bool = True  # False: nothing in it could be run


def submission_of(student: str, lab: Lab, file: bytes) -> Submission:
    notes: list[str] = []
    try:
        cells = read_cells(file)
    except ValueError as error:
        why = f"The file could not be read as a notebook ({error}), so nothing of it was graded. Save it in Jupyter."
        return Submission(student, lab.name, answered_cells(lab, [], []), [why], read=False)
    return Submission(student, lab.name, answered_cells(lab, cells, notes), notes)


def read_cells(file: bytes) -> list[dict]:
    """The cells of an .ipynb of any nbformat, with or without a byte order mark, as plain values of the right types."""
    import nbformat

    try:
        if len(file) > LARGEST:
            raise ValueError(f"{len(file)} bytes are too many for a notebook")
        wide = file.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        notebook = json.loads(file.decode("utf-16" if wide else "utf-8-sig"))
        if "worksheets" in notebook:  # nbformat 3 and before
            notebook = nbformat.convert(nbformat.from_dict(notebook), 4)
        return [
            {
                "cell_type": "code" if cell["cell_type"] == "code" else "markdown",
                "source": _text(cell["source"]),
                "metadata": {"nbgrader": {"grade_id": id_of(cell)}} if id_of(cell) else {},
            }
            for cell in notebook["cells"]
        ]
    except Exception as error:  # any error of a converter on a hostile file concerns only this file
        raise ValueError(f"{type(error).__name__}: {error}".splitlines()[0][:200]) from None


def _text(source: str | list[str]) -> str:
    text = source if isinstance(source, str) else "".join(source)
    if len(text) > LONGEST:
        raise ValueError(f"a cell of {len(text)} characters")
    return re.sub(r"[\ud800-\udfff]", "?", text)


def answered_cells(lab: Lab, cells: list[dict], notes: list[str]) -> list[dict]:
    """The lab's cells with the student's answers; cells that they added stay after the same cell."""
    known = lab.cells
    answers: dict[str, str] = {}
    own: dict[str, list[dict]] = {"": []}
    last, edited = "", []
    for cell in cells:
        name = id_of(cell)
        if name in known and name not in answers:
            answers[name] = cell["source"]
            last = name
            if is_locked(known[name]) and _plain(cell["source"]) != _plain(visible(known[name]["source"])):
                edited.append(name)
        elif cell["cell_type"] == "code" and cell["source"].strip():
            own.setdefault(last, []).append(cell | {"metadata": {}})  # with an id it would count as a test
    if edited:
        notes.append(f"You changed these cells; they were replaced by the instructor's: {', '.join(edited)}.")
    if missing := [name for name in known if name not in answers]:
        notes.append(f"These cells were missing from your file and were restored: {', '.join(missing)}.")
    together = list(own[""])
    for cell, empty in zip(lab.notebook["cells"], lab.student["cells"], strict=True):
        name = id_of(cell)
        given = cell if not name or is_locked(cell) else cell | {"source": answers.get(name, empty["source"])}
        together += [given, *(own.get(name, []) if name else [])]
    return together


def _plain(source: str) -> str:
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def is_empty(cell: dict) -> bool:
    return STUB.splitlines()[-1] in cell["source"] or cell["source"].strip() in ("", UNANSWERED)
