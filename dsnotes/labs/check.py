"""Lets students check their own notebook: runs every visible test in a fresh kernel and shows its hint."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dsnotes.labs.intake import lab_named
from dsnotes.labs.source import Lab, id_of, is_locked, points_of
from dsnotes.labs.submission import answered_cells, is_empty, read_cells
from dsnotes.runs.source import RefusedError


@dataclass(frozen=True)
class Checked:
    name: str
    points: float
    state: str  # "passed", "failed", "by hand", "empty"
    hint: str = ""


def check(file: Path, labs: list[Lab], cell_seconds: int = 600) -> tuple[Lab, list[Checked], list[str]]:
    """The lab, the state of each test and answer, and further notes. Hidden tests are not run."""
    import nbformat
    from nbclient import NotebookClient

    lab = lab_named(file.stem, labs)
    if lab is None:
        raise RefusedError(
            f"{file.name} does not match any of the labs {', '.join(each.name for each in labs)}; keep the file's name"
        )
    if not file.is_file():
        raise RefusedError(f"there is no file {file}; name your notebook, such as {lab.name}.ipynb")
    notes: list[str] = []
    try:
        cells = answered_cells(lab, read_cells(file.read_bytes()), notes)
    except ValueError as error:
        raise RefusedError(f"cannot read the notebook {file} ({error}); open and save it in Jupyter") from None
    seen = {id_of(cell): cell["source"] for cell in lab.student["cells"] if id_of(cell) and is_locked(cell)}
    for at, cell in enumerate(cells):
        cells[at] = cell | {"source": seen.get(id_of(cell), cell["source"]), "id": f"cell-{at}"}
        cells[at] |= {"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {}
    notebook = nbformat.from_dict({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells})
    client = NotebookClient(notebook, timeout=cell_seconds, kernel_name="python3", allow_errors=True)
    client.create_kernel_manager()
    if hasattr(client.km, "transport_encryption"):  # otherwise ipykernel warns the student in every run
        client.km.transport_encryption = "auto"
    client.execute()
    return lab, list(_checked(notebook["cells"])), notes


def _checked(cells: list[dict]) -> Iterator[Checked]:
    for cell in cells:
        name, points = id_of(cell), points_of(cell)
        errors = [output for output in cell.get("outputs", []) if output["output_type"] == "error"]
        hint = _hint(errors[0]) if errors else ""
        if points and not is_locked(cell):
            yield Checked(name, points, "empty" if is_empty(cell) else "by hand")
        elif points or errors:
            yield Checked(name or "a cell of yours", points, "failed" if errors else "passed", hint)


def _hint(error: dict) -> str:
    """The message, and the line of the student's code that raised it."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error["traceback"])).splitlines()
    arrows = [line.strip() for line in lines if line.startswith("-")]
    said = f"{error['ename']}: {error['evalue']}"
    return said if error["ename"] == "AssertionError" or not arrows[1:] else f"{arrows[-1]}\n{said}"
