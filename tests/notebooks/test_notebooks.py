"""Every notebook is a pair without outputs, names its parameters, and runs from top to bottom without a display.

Found by looking, never listed: a new notebook is tested from the moment it is saved.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import jupytext.cli
import papermill
import pytest
from solutions import FOLDED, solutions, unfolded

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
EXECUTED = ROOT / "build" / "notebooks"
CELL_SECONDS, NOTEBOOK_SECONDS = 180, 420  # a smoke run is a minute; a loaded machine is given more
SILENT_SECONDS = 30  # ten seconds for a reader; a machine with other things to do takes up to three times as long


def written(suffix: str) -> list[str]:
    """Every notebook's name with its folder and without its suffix.

    A lab has no twin, no parameters and gaps where students write: tests/labs runs those. What the notebooks
    themselves ran lies below runs/.
    """
    found = [p.relative_to(NOTEBOOKS) for p in NOTEBOOKS.rglob(f"*{suffix}") if p.parent.name != "labs"]
    hidden = (any(part.startswith(".") or part == "runs" for part in p.parts) for p in found)
    return sorted(p.with_suffix("").as_posix() for p, out in zip(found, hidden, strict=True) if not out)


SOURCES = written(".py")
every_notebook = pytest.mark.parametrize("name", SOURCES)


def test_every_notebook_has_its_twin():
    assert "00_start_here" in SOURCES
    assert written(".ipynb") == SOURCES, "`make pairs` writes the missing ones"


@every_notebook
def test_the_pair_is_one_notebook(name, monkeypatch, capsys):
    """The .ipynb as py:percent is the .py, whatever the files' times say."""
    monkeypatch.chdir(NOTEBOOKS)
    assert not jupytext.cli.jupytext(["--quiet", "--to", "py:percent", "-o", "-", f"{name}.ipynb"])
    source = (NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8")
    converted = capsys.readouterr().out
    assert converted == source, f"{name}.py and {name}.ipynb differ: `make pairs` takes over the newer"


@every_notebook
def test_nothing_is_stored_but_the_source(name):
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert set(notebook["metadata"]) <= {"kernelspec", "jupytext"}
    for cell in notebook["cells"]:
        assert not cell.get("outputs"), "`make pairs` strips outputs"
        assert not cell.get("execution_count")
        assert set(cell["metadata"]) <= {"tags", "nbgrader", "lines_to_next_cell"}  # the last: where ruff wants two


@every_notebook
def test_every_parameter_has_a_type_and_a_word_of_help(name):
    tagged = [c for c in jupytext.read(NOTEBOOKS / f"{name}.py").cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    parameters = papermill.inspect_notebook(str(NOTEBOOKS / f"{name}.ipynb"))
    assert (parameters["smoke"]["inferred_type_name"], parameters["smoke"]["default"]) == ("bool", "False")
    assigned = {t.id for node in ast.parse(tagged[0].source).body for t in getattr(node, "targets", [node.target])}
    assert set(parameters) == assigned
    for each in parameters.values():
        assert each["inferred_type_name"] not in ("None", ""), f"{each['name']} has no type: `{each['name']}: int = …`"
        assert each["help"], f"{each['name']} has no help: `{each['name']}: … = …  # what it is`"


@every_notebook
def test_what_is_built_by_hand_fits_on_a_screen(name):
    """A notebook builds a paper's new part once, in some 20 to 40 lines; what is longer belongs in the library."""
    tree = ast.parse((NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            assert node.end_lineno - node.lineno < 40, f"line {node.lineno}: move {node.name} to the library"


def test_a_folded_solution_becomes_a_cell():
    text = "1. Why?\n\n<details><summary>A hint</summary>\n\nThink.\n\n</details>\n\n"
    text += "<details><summary>A solution</summary>\n\n```python\nx = 1\n```\n\nSo.\n\n</details>"
    assert solutions(text) == ["x = 1\n"]
    notebook = jupytext.reads(f"# %% [markdown]\n# {text}".replace("\n", "\n# "), "py:percent")
    copied = unfolded(notebook).cells
    assert [cell.cell_type for cell in copied] == ["markdown", "code"]


@every_notebook
def test_every_block_in_a_folded_part_stands_on_lines_of_its_own(name):
    """Otherwise it is neither run nor shown as code."""
    for cell in jupytext.read(NOTEBOOKS / f"{name}.py").cells:
        for folded in FOLDED.findall(cell.source if cell.cell_type == "markdown" else ""):
            blocks = re.findall(r"^```\w*\n.*?^```$", folded, flags=re.DOTALL | re.MULTILINE)
            assert folded.count("```") == 2 * len(blocks), folded


TRAININGS = {"fit", "train_teacher"}


def called(node: ast.AST) -> set[str]:
    """The names of all functions called below a node."""
    calls = (one.func for one in ast.walk(node) if isinstance(one, ast.Call))
    return {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in calls}


def silent_trainings(node: ast.AST, trainings: set[str]) -> list[ast.Call]:
    """Trainings below a node that show nothing: no curves, no bar, not in a loop over `progress`, several epochs."""
    found: list[ast.Call] = []
    if isinstance(node, ast.For) and "progress" in called(node.iter):
        return found
    if any("progress" in called(one.iter) for one in getattr(node, "generators", ())):
        return found
    if isinstance(node, ast.Call):
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        short = isinstance(given.get("epochs"), ast.Constant) and given["epochs"].value == 1
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        bar = isinstance(given.get("progress"), ast.Constant) and given["progress"].value
        if name in trainings and not ("on_epoch" in given or short or bar):
            found.append(node)
    return found + [call for child in ast.iter_child_nodes(node) for call in silent_trainings(child, trainings)]


@every_notebook
def test_a_training_shows_that_it_is_alive(name):
    """At full size too, where trainings take minutes: live curves, or a loop over `progress` with its line."""
    tree = ast.parse((NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    trainings = set(TRAININGS)
    while more := {f.name for f in functions if f.name not in trainings and silent_trainings(f, trainings)}:
        trainings |= more
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            lines = [call.lineno for call in silent_trainings(node, trainings)]
            assert not lines, f"lines {lines}: pass on_epoch=curves.live(), or loop over dsnotes.viewers.progress(…)"


def cells(executed: Path) -> list[dict]:
    return json.loads(executed.read_text(encoding="utf-8"))["cells"] if executed.is_file() else []


def failure(executed: Path) -> str:
    """The cell that failed and its traceback; empty where no cell did."""
    for number, cell in enumerate(cells(executed)):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                traceback = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output["traceback"]))
                return f"cell {number}:\n{''.join(cell['source'])}\n\n{traceback}"
    return ""


# On import it leaves a note and refuses: head-less, itkwidgets makes every later cell wait for a browser.
REFUSING = """
import os, pathlib
pathlib.Path(os.environ["DSNOTES_ITKWIDGETS_NOTE"]).touch()
raise ImportError("itkwidgets was imported without a browser")
"""


@pytest.mark.notebook
@every_notebook
def test_it_runs_from_top_to_bottom(name, tmp_path):
    executed = EXECUTED / f"{name}.ipynb"
    executed.parent.mkdir(parents=True, exist_ok=True)
    executed.unlink(missing_ok=True)
    (tmp_path / "itkwidgets.py").write_text(REFUSING, encoding="utf-8")
    note = tmp_path / "imported"
    nowhere = "http://127.0.0.1:9"  # a smoke run needs no network
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        "DSNOTES_ITKWIDGETS_NOTE": str(note),
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nowhere),
    }
    environment.pop("MPLBACKEND", None)  # a notebook draws with its kernel's own
    command = [
        *(sys.executable, str(Path(__file__).with_name("alive.py")), str(NOTEBOOKS / f"{name}.ipynb"), str(executed)),
        *("-p", "smoke", "true", "--timeout", str(CELL_SECONDS), "--cwd", str((NOTEBOOKS / name).parent)),
    ]
    try:
        ran = subprocess.run(
            command, env=environment, timeout=NOTEBOOK_SECONDS, capture_output=True, text=True, encoding="utf-8"
        )
    except subprocess.TimeoutExpired:
        pytest.fail(f"{name} was not done after {NOTEBOOK_SECONDS} s: a smoke run is a minute")
    if ran.returncode:
        pytest.fail(f"{name}: {failure(executed) or ran.stderr}\n(kept as {executed})", pytrace=False)
    silent = json.loads(executed.with_suffix(".silence.json").read_text(encoding="utf-8"))
    worst = max(silent, key=lambda one: one["silent"])
    assert worst["silent"] < SILENT_SECONDS, (
        f"{name}, cell {worst['cell']} ({worst['first']}) says nothing for {worst['silent']:.0f} s: loop over "
        f"dsnotes.viewers.progress(…), or pass on_epoch=curves.live() to fit"
    )
    assert not note.exists(), f"{name} imports itkwidgets where there is no browser"
    kinds = {kind for cell in cells(executed) for output in cell.get("outputs", []) for kind in output.get("data", {})}
    assert "image/png" in kinds, f"{name} leaves no picture in the saved file"
