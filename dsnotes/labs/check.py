"""A student's look at their own notebook: every visible test, run from a fresh start, with its hint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dsnotes.labs.examine import Paper, run
from dsnotes.labs.source import Lab, id_of, is_locked, points_of, visible
from dsnotes.labs.submission import is_empty, laid, read_cells
from dsnotes.labs.wall import Limits
from dsnotes.runs.source import RefusedError


@dataclass(frozen=True)
class Checked:
    name: str
    points: float
    state: str  # "passed", "failed", "by hand", "empty"
    hint: str = ""


def check(file: Path, lab: Lab, limits: Limits) -> tuple[list[Checked], list[str]]:
    """Each test and each answer, and what else there is to know. The hidden tests take no part."""
    if not file.is_file():
        raise RefusedError(f"there is no file {file}; name your notebook, such as {lab.name}.ipynb")
    try:
        cells = read_cells(file.read_bytes())
    except ValueError as error:
        raise RefusedError(f"{file} is no notebook ({error}); open and save it in Jupyter") from None
    happened: list[str] = []
    notebook = laid(lab, cells, happened)
    for cell in notebook["cells"]:
        if is_locked(cell):
            cell["source"] = visible(cell["source"])
    run(Paper("you", lab.name, notebook, happened), limits, walled=False)
    return list(_checked(notebook)), happened


def _checked(notebook: dict) -> Iterator[Checked]:
    for cell in notebook["cells"]:
        name, points = id_of(cell), points_of(cell)
        errors = [output for output in cell.get("outputs", []) if output["output_type"] == "error"]
        if points and not is_locked(cell):
            yield Checked(name, points, "empty" if is_empty(cell) else "by hand")
        elif points:
            yield Checked(
                name, points, "failed" if errors else "passed", "\n".join(errors[0]["traceback"]) if errors else ""
            )
        elif errors:
            yield Checked(name or "a cell of yours", 0, "failed", "\n".join(errors[0]["traceback"]))


def lab_of(file: Path, labs: list[Lab]) -> Lab:
    """By the file's name; the beginning such as lab2 is enough, so `lab2_depths (1).ipynb` is found too."""
    for lab in labs:
        if file.stem.startswith((lab.name, lab.name.split("_")[0] + "_")) or file.stem == lab.name.split("_")[0]:
            return lab
    raise RefusedError(f"{file.name} is none of the labs {', '.join(lab.name for lab in labs)}; keep the file's name")
