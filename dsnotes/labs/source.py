"""A lab as the instructor writes it: one py:percent file with nbgrader metadata in its cells.

    # %% nbgrader={"grade_id": "setup", "needs": ["networks"]}    what of dsnotes the students' code may import
    # %% nbgrader={"grade_id": "dice", "solution": true}          the student's, between BEGIN and END SOLUTION
    # %% nbgrader={"grade_id": "test-dice", "points": 2}          a test; hidden between BEGIN and END HIDDEN TESTS
    # %% nbgrader={"grade_id": "steps", "sandbox": true}          given, but run only in the sandbox
    # %% [markdown] nbgrader={"grade_id": "why", "solution": true, "points": 3}     marked by hand

Cells without metadata are given: text for the students, code for them and for the tests. The student's version is made
from this file, with complete nbgrader metadata, so nbgrader's own tools can read it.
"""

from __future__ import annotations

import ast
import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dsnotes.runs.source import RefusedError
from dsnotes.safety.nearest import nearest

HIDDEN = re.compile(r"^[ \t]*### BEGIN HIDDEN TESTS.*?^[ \t]*### END HIDDEN TESTS[^\n]*\n?", re.S | re.M)
SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION.*?^[ \t]*### END SOLUTION[^\n]*$", re.S | re.M)
STUB = "# YOUR CODE HERE\nraise NotImplementedError('nothing is written here yet')"
UNANSWERED = "*Your answer, in your own words.*"


@dataclass(frozen=True)
class Lab:
    name: str
    path: Path
    notebook: dict  # with solutions and hidden tests

    @property
    def title(self) -> str:
        return next(line[2:] for line in self.notebook["cells"][0]["source"].splitlines() if line.startswith("# "))

    @property
    def cells(self) -> dict[str, dict]:
        """Cells by their id."""
        return {id_of(cell): cell for cell in self.notebook["cells"] if id_of(cell)}

    @property
    def points(self) -> float:
        return sum(points_of(cell) for cell in self.notebook["cells"])

    @property
    def needs(self) -> list[str]:
        """The parts of dsnotes that student code may import while it is graded."""
        return [name for cell in self.cells.values() for name in cell["metadata"]["nbgrader"].get("needs", [])]

    @property
    def tests(self) -> dict[str, float]:
        """The points of each test."""
        return {name: points_of(cell) for name, cell in self.cells.items() if points_of(cell) and is_locked(cell)}

    @cached_property
    def student(self) -> dict:
        """The notebook as students get it: no solutions, no hidden tests."""
        notebook = json.loads(json.dumps(self.notebook))
        for cell in notebook["cells"]:
            for ours in ("sandbox", "needs"):  # nbgrader rejects metadata that it does not know
                cell["metadata"].get("nbgrader", {}).pop(ours, None)
            if id_of(cell) and is_locked(cell):
                cell["source"] = visible(cell["source"])
            elif id_of(cell):
                cell["source"] = emptied(cell["source"]) if cell["cell_type"] == "code" else UNANSWERED
        return notebook


def id_of(cell: dict) -> str:
    marks = cell.get("metadata", {}).get("nbgrader")
    return str(marks.get("grade_id", "")) if isinstance(marks, dict) else ""


def is_locked(cell: dict) -> bool:
    """Whether the cell is the instructor's, which is restored before grading."""
    marks = cell["metadata"].get("nbgrader", {})
    return bool(marks) and not marks.get("solution")


def points_of(cell: dict) -> float:
    return float(cell["metadata"].get("nbgrader", {}).get("points", 0))


def in_sandbox(cell: dict) -> bool:
    """Whether the cell is given code that uses the students' objects: it runs in the sandbox, as their functions do."""
    return bool(cell["metadata"].get("nbgrader", {}).get("sandbox"))


def names_in(source: str) -> tuple[list[str], list[str]]:
    """The functions that a reference cell defines, and the values that it assigns."""
    body = ast.parse(source).body
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    values = [t.id for n in body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)]
    return functions, values


def visible(source: str) -> str:
    """A test as the student sees it."""
    return HIDDEN.sub("", source).rstrip("\n")


def emptied(source: str) -> str:
    """A solution cell as the student gets it."""
    return SOLUTION.sub(lambda found: "\n".join(found[1] + line for line in STUB.split("\n")), source)


def folder_of_labs(asked: str | os.PathLike | None = None) -> Path:
    """The given folder; else notebooks/labs here, else that of the repository that contains this package."""
    here = Path(asked) if asked is not None else Path("notebooks/labs")
    beside = Path(__file__).resolve().parents[2] / "notebooks" / "labs"
    for folder in (here,) if asked is not None else (here, beside):
        if any(folder.glob("*.py")):
            return folder
    raise RefusedError(
        f"there are no labs in {here}; go to a clone of the repository, or name the folder of the lab*.py files: "
        f"--source notebooks/labs"
    )


def open_labs(folder: Path, names: list[str] | None = None) -> list[Lab]:
    """All labs of a folder, or the named ones; a prefix such as lab2 is enough."""
    paths = {path.stem: path for path in sorted(folder.glob("*.py"))}
    if not names:
        return [open_lab(path) for path in paths.values()]
    return [open_lab(paths[full_name(name, list(paths))]) for name in names]


def full_name(name: str, known: list[str]) -> str:
    found = [each for each in known if each == name] or [each for each in known if each.startswith(name)]
    if len(found) == 1:
        return found[0]
    near = nearest(name, known, 1)
    hint = f"; did you mean {near[0]}?" if near and not found else ""
    raise RefusedError(f"{name!r} matches {len(found) or 'none'} of the labs {', '.join(known)}{hint}")


def open_lab(path: Path) -> Lab:
    import jupytext

    notebook = json.loads(jupytext.writes(jupytext.read(path), fmt="ipynb"))
    seen: set[str] = set()
    for at, cell in enumerate(notebook["cells"]):
        cell["source"] = "".join(cell["source"])
        cell["id"] = f"cell-{at:02}"  # else they would be random each time
        given = cell["metadata"].get("nbgrader")
        if given is None and cell["cell_type"] == "code":  # code everybody needs, also restored before grading
            given = {"grade_id": f"given-{at:02}"}
        if given is None:
            continue
        if not given.get("grade_id") or given["grade_id"] in seen:
            raise RefusedError(f"{path}: cell {at} has no unique grade_id ({given}); give it one")
        seen.add(given["grade_id"])
        cell["metadata"]["nbgrader"] = _complete(given, cell, path)
    if "kernelspec" not in notebook["metadata"]:
        raise RefusedError(
            f"{path} has no kernel in its header; copy the '# ---' header of another lab's .py, or save it in Jupyter"
        )
    notebook["metadata"] = {"kernelspec": notebook["metadata"]["kernelspec"]}
    return Lab(path.stem, path, notebook)


def _complete(given: dict, cell: dict, path: Path) -> dict:
    solution = bool(given.get("solution"))
    grade = "points" in given
    name = given["grade_id"]
    if unknown := given.keys() - {"grade_id", "solution", "points", "sandbox", "needs"}:
        raise RefusedError(f"{path}: {name} has unknown metadata {sorted(unknown)}; see dsnotes/labs/source.py")
    if solution and cell["cell_type"] == "code" and not SOLUTION.search(cell["source"]):
        raise RefusedError(f"{path}: {name} is a solution without ### BEGIN SOLUTION and ### END SOLUTION; write them")
    if HIDDEN.search(cell["source"]) and not (grade and not solution):
        raise RefusedError(f"{path}: {name} has hidden tests but no points; give it points, or show the tests")
    complete = {"schema_version": 3, "grade_id": name, "solution": solution, "grade": grade, "task": False}
    more = {"points": float(given["points"])} if grade else {}
    return complete | {"locked": not solution} | more | {k: given[k] for k in ("sandbox", "needs") if k in given}
