"""Which viewer a place gets, and what a head-less kernel leaves in the saved notebook."""

from __future__ import annotations

import json
from types import SimpleNamespace

import nbformat
import pytest

from dsnotes.viewers import notebook_display
from dsnotes.viewers.show import VIEWERS, show


def pretend(monkeypatch, *, user: str, variables: dict | None = None) -> None:
    parent = {"header": {"username": user, "msg_id": "1"}, "metadata": {}}
    found = SimpleNamespace(kernel=object(), get_parent=lambda: parent, user_ns=variables or {})
    monkeypatch.setattr(notebook_display, "shell", lambda: found)


@pytest.mark.parametrize(
    ("user", "variables", "expected"),
    [
        ("", {}, "browser"),  # JupyterLab
        ("ada", {}, "kernel"),  # papermill on a machine with accounts
        ("username", {}, "kernel"),  # papermill in a container without
        ("5a0f", {"__vsc_ipynb_file__": "/home/ada/00.ipynb"}, "browser"),  # VS Code
    ],
)
def test_who_sent_the_request_tells_where_we_are(monkeypatch, user, variables, expected):
    pretend(monkeypatch, user=user, variables=variables)
    assert notebook_display.here() == expected
    assert notebook_display.choose(None, VIEWERS) == ("slices" if expected == "browser" else "still")


def test_a_script_is_no_kernel():
    assert notebook_display.shell() is None
    assert notebook_display.here() == "script"


def test_argument_before_environment_before_place(monkeypatch):
    pretend(monkeypatch, user="")
    monkeypatch.setenv("DSNOTES_VIEWER", "still")
    assert notebook_display.choose(None, VIEWERS) == "still"
    assert notebook_display.choose("slices", VIEWERS) == "slices"


def test_an_unknown_viewer_is_answered_with_those_there_are(monkeypatch, volume):
    with pytest.raises(ValueError, match=r"viewer='slice' is not a viewer .* did you mean 'slices'\?"):
        show(volume, viewer="slice")
    monkeypatch.setenv("DSNOTES_VIEWER", "k3d")
    with pytest.raises(
        ValueError,
        match=r"DSNOTES_VIEWER='k3d' is not a viewer of dsnotes\. Choose one of \['itk', 'slices', 'still', 'volume'\]",
    ):
        show(volume)


CELLS = {
    "still": "dsnotes_show(case, prediction=case.label)",
    "not the last line": "dsnotes_show(case)\nNone",
    "sliders": "dsnotes_show(case, viewer='slices')",
    "two in a loop": "for _ in range(2):\n    dsnotes_show(case)",
    "curves": "curves.plot(records)",
    "live": "live = curves.live(seconds=0)\nfor n in range(1, 6):\n    live(records[:n])",
    "live, too fast to draw": "live = curves.live(seconds=99)\nfor n in range(1, 6):\n    live(records[:n])",
    "live, interrupted": "live = curves.live(seconds=99)\nfor n in range(1, 4):\n    live(records[:n])\n1 / 0",
    "counted": "for name, seed in progress([('a', 0), ('b', 0), ('<c>', 1)]):\n    pass",
    "counted, interrupted": "for name in progress(['a', '<b>', 'c']):\n    if name == '<b>':\n        1 / 0",
    "maps": "maps({'a': case.image[0]})",
    "where": "print(notebook_display.here())",
}
PREPARE = """
import numpy as np
from dsnotes.data.case import Case
from dsnotes.viewers import curves, maps, notebook_display, progress, show as dsnotes_show
label = np.zeros((8, 16, 16), np.uint8)
label[2:5, 4:9, 4:9] = 1
case = Case("box", label.astype(np.float32), label, (1.0, 1.0, 1.0))
records = [{"epoch": n, "loss": 1 / n, "lr": 1e-3, "val_dice": n / 6, "seconds": 0.1} for n in range(1, 6)]
"""


@pytest.fixture(scope="module")
def executed() -> dict[str, list]:
    """The outputs of every cell of CELLS, run by a kernel without a browser."""
    from nbclient import NotebookClient

    cells = [nbformat.v4.new_code_cell(code) for code in (PREPARE, *CELLS.values())]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": ""}})
    NotebookClient(notebook, timeout=60, allow_errors=True).execute()
    assert notebook.cells[0].outputs == []
    return dict(zip(CELLS, (cell.outputs for cell in notebook.cells[1:]), strict=True))


def pictures(outputs: list) -> list:
    return [output for output in outputs if "image/png" in output.get("data", {})]


def test_a_run_without_a_browser_knows_it(executed):
    assert executed["where"][0].text == "kernel\n"


@pytest.mark.parametrize("cell", ["still", "not the last line", "curves", "maps"])
def test_a_call_leaves_one_picture_and_nothing_else(executed, cell):
    (output,) = executed[cell]
    assert set(output.data) == {"image/png", "text/plain"}
    assert output.metadata["image/png"]["alt"]
    assert len(json.dumps(output)) < 200_000


def test_every_call_leaves_its_own(executed):
    assert len(pictures(executed["two in a loop"])) == 2


def test_sliders_leave_one_picture_beside_themselves(executed):
    widget, picture = executed["sliders"]
    assert "application/vnd.jupyter.widget-view+json" in widget.data
    assert "image/png" in picture.data


@pytest.mark.parametrize("cell", ["live", "live, too fast to draw"])
def test_a_training_leaves_one_picture_and_one_table(executed, cell):
    picture, table = executed[cell]
    assert "image/png" in picture.data
    assert "5 epochs" in picture.metadata["image/png"]["alt"]
    assert "text/html" in table.data
    assert "5 epochs" in table.data["text/html"]


def test_an_interrupted_training_leaves_what_it_had(executed):
    outputs = executed["live, interrupted"]
    assert len(pictures(outputs)) == 1
    assert "3 epochs" in pictures(outputs)[0].metadata["image/png"]["alt"]
    assert [output.ename for output in outputs if output.output_type == "error"] == ["ZeroDivisionError"]


def test_many_trainings_leave_one_line(executed):
    (output,) = executed["counted"]
    assert output.data["text/plain"] == "3 trainings in 0 s"
    assert output.data["text/html"] == "<div>3 trainings in 0 s</div>"


def test_what_a_stopped_cell_was_at_stays(executed):
    line, error = executed["counted, interrupted"]
    assert error.ename == "ZeroDivisionError"
    assert line.data["text/plain"] == "2 of 3 trainings: <b>; 0 s so far, about 0 s to go"
    assert line.data["text/html"].startswith('<div><progress value="0.333" aria-label="done"></progress> 2 of 3')
    assert "&lt;b&gt;" in line.data["text/html"]
