"""A student's file, laid into the instructor's notebook: theirs are the answers, and cells of their own between them.

So a test that was edited, moved or deleted stands where it stood, and a notebook that is none costs its points only.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from dsnotes.labs.examine import Paper, fresh
from dsnotes.labs.source import STUB, UNANSWERED, Lab, emptied, id_of, is_locked, visible
from dsnotes.runs.source import RefusedError

LARGEST = 20_000_000  # bytes
LONGEST = 200_000  # characters of a cell


def find(folder: Path, labs: list[Lab]) -> tuple[dict[tuple[str, str], bytes], list[str]]:
    """`{(student, lab): file}` of <student>/<lab>.ipynb and of nbgrader's <student>/<lab>/<lab>.ipynb; and the rest.

    Everything is read here and now: nothing that a submission does later can change what another one was.
    """
    if not folder.is_dir():
        raise RefusedError(
            f"there is no folder {folder}; put each student's file into {folder}/<student>/{labs[0].name}.ipynb"
        )
    names, found, others = {lab.name for lab in labs}, {}, []
    for path in sorted(folder.rglob("*.ipynb")):
        inside = path.relative_to(folder).parts
        if any(part.startswith(".") for part in inside):
            continue
        lab = path.stem
        if len(inside) not in (2, 3) or lab not in names or (len(inside) == 3 and inside[1] != lab):
            others.append("/".join(inside))
        elif path.is_symlink() or path.stat().st_size > LARGEST:
            found[inside[0], lab] = b"a link, or larger than any notebook"
        else:
            found.setdefault((inside[0], lab), path.read_bytes())
    if not found:
        beside = f" ({', '.join(others[:3])} …)" if others else ""
        raise RefusedError(
            f"{folder} holds no submission{beside}; put each student's file into <student>/{labs[0].name}.ipynb"
        )
    return found, others


def paper_of(student: str, lab: Lab, file: bytes) -> Paper:
    """What is run and graded of it, and what there is to say already."""
    happened: list[str] = []
    try:
        cells = read_cells(file)
    except ValueError as error:
        why = f"The file could not be read as a notebook ({error}), so nothing of it was graded. Save it in Jupyter."
        return Paper(student, lab.name, laid(lab, [], []), [why], read=False)
    return Paper(student, lab.name, laid(lab, cells, happened), happened)


def read_cells(file: bytes) -> list[dict]:
    """The cells of an .ipynb as plain values of the types they should have."""
    try:
        cells = json.loads(file.decode("utf-8"))["cells"]
        return [
            {
                "cell_type": "code" if cell["cell_type"] == "code" else "markdown",
                "source": _text(cell["source"]),
                "metadata": {"nbgrader": {"grade_id": id_of(cell)}} if id_of(cell) else {},
            }
            for cell in cells
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(said[:200]) from None


def _text(source: str | list[str]) -> str:
    text = source if isinstance(source, str) else "".join(source)
    if len(text) > LONGEST:
        raise ValueError(f"a cell of {len(text)} characters")
    return re.sub(r"[\ud800-\udfff]", "?", text)


def laid(lab: Lab, cells: list[dict], happened: list[str]) -> dict:
    """The instructor's notebook with the student's answers, and their own cells behind the cell they stood behind."""
    known, notebook = lab.cells, fresh(lab.notebook)
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
            own.setdefault(last, []).append(cell)
    if edited:
        happened.append(f"Changed by you, and replaced by the instructor's: {', '.join(edited)}.")
    if missing := [name for name in known if name not in answers]:
        happened.append(f"Missing from your file, and put back: {', '.join(missing)}.")
    together = _own(own[""], "start")
    for cell in notebook["cells"]:
        name = id_of(cell)
        if name and not is_locked(cell):
            nothing = emptied(cell["source"]) if cell["cell_type"] == "code" else UNANSWERED
            cell["source"] = answers.get(name, nothing)
        together += [cell, *_own(own.get(name, []) if name else [], name)]
    return {**notebook, "cells": together}


def _own(cells: list[dict], behind: str) -> list[dict]:
    return [
        {"cell_type": "code", "id": f"own-{behind}-{at}"[:64], "metadata": {}, "source": cell["source"]}
        | {"outputs": [], "execution_count": None}
        for at, cell in enumerate(cells)
    ]


def _plain(source: str) -> str:
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def is_empty(cell: dict) -> bool:
    return STUB.splitlines()[-1] in cell["source"] or cell["source"].strip() in ("", UNANSWERED)
