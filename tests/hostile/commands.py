"""Every command of `dsnotes` with damaged files: it answers in a line or two, and never with a traceback."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

KINDS = {
    "empty": b"",
    "brace": b"{",
    "list": b"[]",
    "types": b'{"training": 5, "cells": 3, "cases": 1, "parameters": [], "notebook": 4, "labels": 7, "started": 2}',
    "binary": bytes(range(256)) * 4,
    "bom": "\ufeff{}".encode(),
    "deep": b"[" * 100_000,
    "nul": b"a\0b: {",
}
PLACES = (*KINDS, "folder", "loop", "closed")


def damaged(path: Path, kind: str) -> None:
    """Put that kind of damage in the place of a file: content, a folder, a link to itself, or no right to read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    else:
        path.write_bytes(KINDS.get(kind, b"{}"))
        if kind == "closed":
            path.chmod(0)


NOTEBOOK = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% tags=["parameters"]
seed: int = 0  # a number
"""


def commands(root: Path) -> Iterator[tuple[str, Callable[[str], list[str]]]]:
    """(Command, a function that makes the damage of a kind in the current folder and returns what is typed)."""

    def with_file(name: str, *typed: str) -> Callable[[str], list[str]]:
        return lambda kind: (damaged(Path(name), kind), list(typed))[1]

    def with_notebook(kind: str) -> list[str]:
        Path("a.py").write_text(NOTEBOOK)
        damaged(Path("runs"), kind)
        return ["run", "a.py"]

    yield "run .py", with_file("a.py", "run", "a.py", "--help-parameters")
    yield "run .ipynb", with_file("a.ipynb", "run", "a.ipynb")
    yield "run --out", with_notebook
    yield "sweep", with_file("a.yml", "sweep", "a.yml", "--dry-run")
    yield "table result", with_file("runs/a-1/result.json", "table", "mss-2")
    yield "table failure", with_file("runs/a-1/failure.json", "table", "mss-2")
    yield "table begun", with_file("runs/a-1/begun.json", "table", "mss-2")
    yield "table --runs", with_file("runs", "table", "mss-2")
    yield "data", with_file("data/a/dataset.json", "data")
    yield "data folder", with_file("data", "data")
    yield "adopt", with_file("scans/dataset.json", "adopt", "scans", "--output", "out")
    yield "adopt image", with_file("scans/case1.nii.gz", "adopt", "scans", "--dry-run")
    yield "adopt --output", with_file("out", "adopt", "scans", "--output", "out")
    yield "labs build", with_file("labs/lab1_dice.py", "labs", "build", "--source", "labs")
    yield (
        "labs build --out",
        with_file("build", "labs", "build", "--lab", "lab1", "--source", str(root / "notebooks/labs")),
    )
    yield "labs check", with_file("lab1_dice.ipynb", "labs", "check", "lab1_dice.ipynb")
    yield "systems", with_file("x", "systems", "--table", "x", "--names")
    yield "new-paper", with_file("x", "new-paper", "X!")


WRONG = (
    *(["run"], ["run", "nowhere.py"], ["rum"], ["run", "a.py", "-p", "seed"], ["run", "a.py", "-p", "sede=1"]),
    *(["run", "a.py", "-p", "seed=many"], ["run", "a.py", "--timeout", "nan"], ["run", "a.py", "--timeout", "-1"]),
    *(["sweep"], ["sweep", "nowhere.yml"], ["sweep", "a.py"], ["sweep", "a.yml", "--workers", "x"]),
    *(["table"], ["table", "nope"], ["table", "mss-2", "--runs", "nowhere"], ["table", "mss-2", "--filter", "x"]),
    *(["systems", "--table", "nope"], ["data", "nowhere"], ["adopt", "nowhere", "--output", "x"], ["adopt"]),
    *(
        ["labs"],
        ["labs", "grade", "x", "--seconds", "nan"],
        ["labs", "grade", "x", "--seconds", "-1"],
        ["labs", "check"],
    ),
    *(["labs", "grade", "nowhere"], ["labs", "build", "--lab", "nope"], ["labs", "grade", "x", "--memory", "-1"]),
    *(["new-paper"], ["new-paper", "../x"], ["new-paper", "class"], [], ["--nope"], ["labs", "nope"]),
)


def answer(folder: Path, typed: Callable[[], list[str]]) -> str:
    """ "" where the command ends with 1 or 2 and says why; else what it did instead. Runs within `folder`."""
    from dsnotes.cli import main

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    said, before = io.StringIO(), Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(typed())
    except SystemExit as left:
        code = left.code
    except BaseException as error:
        return f"traceback of {type(error).__name__}: {str(error)[:100]}"
    finally:
        os.chdir(before)
        for path in folder.rglob("*"):
            if not path.is_symlink():
                path.chmod(0o700)
    if "Traceback" in said.getvalue():
        return f"prints a traceback: {said.getvalue()[-200:]}"
    return "" if said.getvalue().strip() else f"code {code}, and not a word"
