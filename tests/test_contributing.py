"""`dsnotes new-paper` and the worked example of CONTRIBUTING.md, done for real in a copy of the repository.

The blocks are taken from the page: what it shows is what runs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MADE_HERE = {"build", "dist", "runs", "data", "course", "_site"}  # beside the hidden ones, as in .gitignore
EXAMPLE = PAGE.partition("## A sixth paper")[2].partition("\n## ")[0]
STEM, NOTEBOOK = "own_teacher", "63_own_teacher"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The repository as a stranger's clone holds it, with the files that step 1 writes."""
    folder = tmp_path / "dsnotes"

    def left_out(room: str, names: list[str]) -> set[str]:
        made = MADE_HERE if Path(room) == ROOT else {"runs"} if "notebooks" in Path(room).parts else set()
        made = made | {"__pycache__"}
        return {name for name in names if name in made or (name[0] == "." and name not in (".ci", ".devcontainer"))}

    shutil.copytree(ROOT, folder, ignore=left_out)
    (command,) = re.findall(r"^\.venv/bin/dsnotes (new-paper \w+)$", EXAMPLE, flags=re.M)
    said = python(folder, "-m", "dsnotes", *command.split())
    for name in (f"networks/{STEM}.py", f"papers/{STEM}.py", f"papers/test_{STEM}.py", f"{NOTEBOOK}.ipynb"):
        assert name in said
    return folder


def python(folder: Path, *arguments: str, fails: bool = False) -> str:
    """What a Python prints that imports the copy; an error where its exit status is not the expected one."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert (ran.returncode != 0) == fails, ran.stdout + ran.stderr
    return ran.stdout


def tried(folder: Path, *arguments: str, fails: bool = False) -> str:
    return python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments, fails=fails)


def styled(folder: Path) -> None:
    python(folder, "-m", "ruff", "check", "dsnotes", "tests", "notebooks")
    python(folder, "-m", "ruff", "format", "--check", "dsnotes", "tests", "notebooks")


def applied(folder: Path, language: str, *, upto: str = "**7.") -> list[str]:
    """Do what the page's blocks of one language say before the step `upto`; return the files that were touched.

    A block belongs to the file that was named last before it. A diff changes the lines it shows; Python is the whole
    of a file that is not there yet, and takes the place of the function of its name in one that is.
    """
    touched = []
    for block in re.finditer(r"^```(\w+)\n(.*?)^```$", EXAMPLE.partition(upto)[0], flags=re.M | re.S):
        if block[1] != language:
            continue
        path = folder / re.findall(r"`((?:dsnotes|tests|notebooks)/[\w/]+\.py)`", EXAMPLE[: block.start()])[-1]
        if language == "diff":
            lines = block[2].splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] in "- ")
            new = "".join(line[1:] for line in lines if line[0] in "+ ")
        elif path.exists():
            (name,) = re.findall(r"^def (\w+)", block[2], flags=re.M)
            old = re.search(rf"^def {name}\(.*?\n(?=\n\n)", path.read_text(encoding="utf-8"), flags=re.M | re.S)[0]
            new = block[2]
        else:
            path.write_text(block[2], encoding="utf-8")
            touched.append(path.name)
            continue
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{path.name} does not hold, once, what the page changes in it:\n{old}"
        path.write_text(text.replace(old, new), encoding="utf-8")
        touched.append(path.name)
    return touched


def test_a_start_passes_what_the_house_asks_and_the_example_grows_from_it(copy):
    styled(copy)
    notebooks = "tests/notebooks/test_notebooks.py"
    of_notebooks = re.findall(r"^@every_notebook\ndef (test_\w+)", (copy / notebooks).read_text(encoding="utf-8"), re.M)
    own_interpreters = ("loads_nothing", "torch_and_numpy", "bare_machine")  # what an import costs
    said = tried(
        copy,
        f"tests/papers/test_{STEM}.py",
        "tests/papers/test_registry.py::test_a_system_trains_a_step_predicts_and_survives_a_save[own-teacher]",
        *(f"{notebooks}::{name}[{NOTEBOOK}]" for name in of_notebooks if name != "test_it_runs_from_top_to_bottom"),
        f"{notebooks}::test_every_notebook_has_its_twin",
        *("tests/test_repository.py", "tests/test_architecture.py"),
        *("-k", " and ".join(f"not {word}" for word in own_interpreters)),
    )
    assert " 3 xfailed" in said

    assert applied(copy, "python") == [f"test_{STEM}.py", "self_distillation.py", "test_self_distillation.py"]
    assert applied(copy, "diff") == [*[f"{STEM}.py"] * 3, *[f"{NOTEBOOK}.py"] * 2]
    styled(copy)
    assert " 3 xfailed" in tried(copy, f"tests/papers/test_{STEM}.py", "tests/supervision/test_self_distillation.py")


@pytest.mark.slow
def test_the_example_goes_as_it_is_told(copy):
    """Red after step 2, green after 4; the notebook runs; a mark that outlives what it asks for is red."""
    papers_test = copy / "tests" / "papers" / f"test_{STEM}.py"
    executed = python(copy, "-m", "dsnotes", "run", f"notebooks/{NOTEBOOK}.py", "-p", "smoke=True")
    assert executed.startswith("done in")
    applied(copy, "python", upto="**3.")
    assert "FAILED" in tried(copy, papers_test.as_posix(), fails=True)
    applied(copy, "python")
    applied(copy, "diff")
    for values in ("smoke=True", "smoke=False"):
        assert python(copy, "-m", "dsnotes", "run", f"notebooks/{NOTEBOOK}.py", "-p", values).startswith("done in")
    text = papers_test.read_text(encoding="utf-8")
    (count,) = re.findall(r"own-teacher +([\d,]+)", python(copy, "-m", "dsnotes", "systems"))
    papers_test.write_text(
        text.replace("= None  # TO FILL", f"= {int(count.replace(',', ''))}  # was"), encoding="utf-8"
    )
    assert "[XPASS(strict)] TO FILL: once it passes" in tried(copy, papers_test.as_posix(), fails=True)
