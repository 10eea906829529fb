"""The first notebook as a newcomer opens it: Run All, look, move, switch; and nothing leaves the machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import numpy as np

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def put_in_smoke_mode(lab) -> str:
    """The notebook with `smoke` set, as papermill would, and one view more, with sliders."""
    for file in NOTEBOOKS.glob("[0-9]*.ipynb"):
        shutil.copy(file, lab.folder)
    notebook = nbformat.read(lab.folder / "00_start_here.ipynb", as_version=4)
    [parameters] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source += "\nsmoke = True"
    notebook.cells.append(nbformat.v4.new_code_cell('dsnotes.show(patient, window="lung", viewer="slices")'))
    nbformat.write(notebook, lab.folder / "00_start_here.ipynb")
    return "00_start_here.ipynb"


def test_a_newcomer_runs_everything_and_looks_around(lab, open_notebook):
    notebook = open_notebook(put_in_smoke_mode(lab))
    page = notebook.page
    notebook.run_all(timeout=240)
    assert notebook.errors() == []

    canvas = page.locator(".jp-OutputArea canvas").first
    canvas.scroll_into_view_if_needed()
    for _ in range(60):
        page.wait_for_timeout(500)
        if len(np.unique(notebook.pixels(canvas).reshape(-1, 3), axis=0)) > 200:
            break
    page.wait_for_timeout(1500)
    notebook.keep("start_here")
    drawn = notebook.pixels(canvas)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 200

    page.get_by_role("checkbox", name="truth").first.uncheck()
    page.wait_for_timeout(2000)
    tint = [int((image.max(-1) - image.min(-1) > 40).sum()) for image in (drawn, notebook.pixels(canvas))]
    assert tint[1] < 0.2 * tint[0]  # the truth has vanished

    box = page.get_by_placeholder("your prediction").first
    box.scroll_into_view_if_needed()
    box.fill("1 %")
    box.press("Enter")
    page.wait_for_timeout(1500)
    assert page.get_by_text("You predicted").first.is_visible()

    slider = page.locator(".widget-slider", has_text="axial").locator(".noUi-handle").first
    slider.scroll_into_view_if_needed()
    picture = page.locator(".jp-RenderedImage img").last  # the one that the sliders redraw
    before = picture.get_attribute("src")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(3000)
    assert picture.get_attribute("src") != before
    assert notebook.went_out == []
