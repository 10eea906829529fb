"""Executes notebooks for the site, each with its own `dsnotes run`, and only once for the same code.

An executed copy is stored under a hash of the library's code and, within it, a hash of the notebook's code and
parameters. Prose, comments and docstrings do not count: after editing a sentence the same outputs are used.
"""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dsnotes.runs import FailedError
from dsnotes.runs.notebook import EXECUTED, RESULT, finished, folder_of
from dsnotes.runs.results_io import read_json
from dsnotes.runs.source import Source, open_source

NO_NOTEBOOK_USES = ("labs", "cli.py", "__main__.py")  # what stands above the notebooks in the house


@dataclass(frozen=True)
class Copy:
    """A notebook with its outputs, and what `dsnotes run` recorded. `fresh`: it was executed just now."""

    source: Source
    notebook: dict
    result: dict
    fresh: bool
    stale: bool  # executed by another state of the library


def library(package: Path) -> str:
    """A hash of the package's code without comments and docstrings."""
    found = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package)
        if inside.parts[0] not in NO_NOTEBOOK_USES:
            found.update(f"{inside.as_posix()}\n{code_of(path.read_text(encoding='utf-8'))}\n".encode())
    return found.hexdigest()[:12]


def code_of(text: str) -> str:
    """The syntax tree alone; a file that is not Python, such as a template, unchanged."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return text
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node, clean=False
        ):
            node.body[0] = ast.Pass()
    return ast.dump(tree)


def copy_of(
    notebook: Path,
    *,
    home: Path,
    smoke: bool = False,
    stale: bool = False,
    tell: Callable[[str], object] | None = None,
    threads: int | None = None,
) -> Copy:
    """The copy in `home`, or else a new one; `stale` accepts a copy from a neighbouring folder.

    A new one computes with `threads` threads, by default with all.
    """
    source = open_source(notebook)
    values = source.check({"smoke": True} if smoke and "smoke" in source.parameters else {})
    folder, fresh, old = folder_of(source, values, home), False, False
    if (result := finished(folder)) is None and stale:
        others = list(home.parent.glob(f"*/{folder.name}/{RESULT}"))
        if others:
            folder, old = max(others, key=lambda path: path.stat().st_mtime).parent, True
            result = finished(folder)
    if result is None:
        execute(notebook, folder, smoke="smoke" in source.parameters and smoke, tell=tell, threads=threads)
        result, fresh = finished(folder), True
    return Copy(source, read_json(folder / EXECUTED), result, fresh, old)


def execute(
    notebook: Path, folder: Path, *, smoke: bool, tell: Callable[[str], object] | None, threads: int | None
) -> None:
    """Execute in a separate process, which Ctrl-C also ends; `tell` receives its progress lines."""
    asked = ["-p", "smoke=True"] if smoke else []
    command = [sys.executable, "-m", "dsnotes", "run", notebook.absolute(), "--out", folder.parent, *asked]
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    said = []
    with subprocess.Popen(
        list(map(str, command)),
        cwd=notebook.absolute().parents[1],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as running:
        for line in running.stderr:
            said.append(line.rstrip())
            if tell is not None:
                tell(line.rstrip())
    if running.returncode:
        *traceback, last = said or [f"dsnotes run ended with {running.returncode}"]
        raise FailedError(f"{notebook.stem}: {last}", folder, "\n".join(traceback))
