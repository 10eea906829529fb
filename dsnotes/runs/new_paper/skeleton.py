"""Writes a new paper's four files, which run, train and pass their tests.

The templates beside this module are copied with `__stem__` replaced; TO FILL marks what must come from the paper.
"""

from __future__ import annotations

import keyword
import re
import subprocess
import sys
from pathlib import Path

from dsnotes.papers import recipes
from dsnotes.papers.recipe import short
from dsnotes.runs.source import RefusedError

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1]
LONGEST = 24  # characters of a stem, so that generated lines stay within 120
ATTIC = ("utils", "util", "helpers", "helper", "common", "misc")


def checkout() -> Path:
    """The clone that this dsnotes is imported from; an error unless the current directory is in it."""
    root = PACKAGE.parent
    if not all((root / part).exists() for part in ("pyproject.toml", "notebooks", "tests", "dsnotes/papers")):
        raise RefusedError(
            f"this dsnotes is an installed package ({root}), but a paper needs a clone of the repository; "
            f"in the clone type: make lab, then .venv/bin/dsnotes new-paper STEM"
        )
    here = Path.cwd()
    if not here.is_relative_to(root):
        raise RefusedError(f"this dsnotes is the clone in {root}, but you are in {here}; type: cd {root}")
    return root


def new_paper(stem: str) -> list[Path]:
    """Write the files and return their paths; writes nothing if a file or the system's name already exists."""
    _require_stem(stem)
    root = checkout()
    files = {
        root / "dsnotes" / "networks" / f"{stem}.py": "network",
        root / "dsnotes" / "papers" / f"{stem}.py": "paper",
        root / "tests" / "papers" / f"test_{stem}.py": "test",
        root / "notebooks" / f"{next_number(root / 'notebooks')}_{stem}.py": "notebook",
    }
    _require_free(stem, root, files)
    names = {"__stem__": stem, "__Class__": class_name(stem), "__system__": system_name(stem), "__short__": short(stem)}
    for path, template in files.items():
        text = (HERE / f"{template}.txt").read_text(encoding="utf-8")
        for placeholder, name in names.items():
            text = text.replace(placeholder, name)
        path.write_text(text, encoding="utf-8", newline="\n")
    *_, notebook = files
    pair = [sys.executable, "-m", "jupytext", "--quiet", "--to", "ipynb", notebook.name]
    subprocess.run(pair, cwd=notebook.parent, check=True)
    return [*files, notebook.with_suffix(".ipynb")]


def class_name(stem: str) -> str:
    """ "my_net" -> "MyNet"."""
    return "".join(part.capitalize() for part in stem.split("_"))


def system_name(stem: str) -> str:
    """ "my_net" -> "my-net"."""
    return stem.replace("_", "-")


def next_number(notebooks: Path) -> str:
    """The first free number after the last paper's notebook, so that the papers' notebooks stay together."""
    papers = {path.stem for path in (PACKAGE / "papers").glob("*.py")}
    named = (re.fullmatch(r"(\d\d)_(\w+)", path.stem) for path in notebooks.glob("*.py"))
    numbers = {int(found[1]): found[2] for found in named if found}
    last = max(number for number, stem in numbers.items() if stem in papers)
    free = [number for number in range(last + 1, 100) if number not in numbers]
    if not free:
        raise RefusedError(f"no number from {last + 1} to 99 is free in {notebooks}; renumber one of those notebooks")
    return f"{free[0]:02}"


def _require_stem(stem: str) -> None:
    needed = "a stem is a Python name in lower case, such as my_net"
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", stem) or keyword.iskeyword(stem):
        near = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_").lstrip("0123456789_")
        hint = f"; try: dsnotes new-paper {near}" if near and near != stem and not keyword.iskeyword(near) else ""
        raise RefusedError(f"{stem!r} cannot name files and modules; {needed}{hint}")
    if len(stem) > LONGEST:
        raise RefusedError(f"{stem!r} has {len(stem)} characters; {needed}, of {LONGEST} at most: shorten it")
    if stem in ATTIC:
        raise RefusedError(f"{stem!r} does not describe a paper; use the name of its network or idea, such as mu_net")


def _require_free(stem: str, root: Path, files: dict[Path, str]) -> None:
    taken = [path for path in files if path.exists()]
    for floor in ("networks", "networks/baselines", "papers"):
        taken += [path for path in (root / "dsnotes" / floor).glob(f"{stem}*") if path.stem == stem]
    taken += list((root / "notebooks").glob(f"[0-9][0-9]_{stem}.*"))
    if taken:
        first = sorted(path.relative_to(root).as_posix() for path in taken)[0]
        raise RefusedError(f"the stem {stem!r} is taken by {first}; nothing was written: choose another")
    if system_name(stem) in recipes():
        raise RefusedError(
            f"a system is called {system_name(stem)!r} already; nothing was written: choose another stem"
        )
