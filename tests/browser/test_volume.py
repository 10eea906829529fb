"""NiiVue in JupyterLab: something is drawn, layers vanish and come back, and nothing is fetched from elsewhere."""

from __future__ import annotations

import numpy as np

MADE = """import numpy as np
import dsnotes
from dsnotes.data import phantoms
case = phantoms.kidneys(1, seed=3)[0]
prediction = np.roll(case.label, 6, 2)
names = {1: 'kidney', 2: 'tumour'}"""
SHOWN = "view = dsnotes.show(case, prediction=prediction, window='soft', names=names)"


def coloured(notebook, canvas) -> int:
    """Pixels that are no grey."""
    image = notebook.pixels(canvas)
    return int((image.max(-1) - image.min(-1) > 40).sum())


def settled(notebook, canvas, before: int | None = None, changes=lambda now, before: now != before) -> int:
    """The number of coloured pixels once it has changed as asked."""
    for _ in range(150):
        notebook.page.wait_for_timeout(500)
        now = coloured(notebook, canvas)
        if now > 0 if before is None else changes(now, before):
            return now
    raise AssertionError(
        f"after more than a minute there are {now} coloured pixels, before {before}: see {notebook.keep('stuck')}"
    )


def test_a_volume_is_drawn_and_every_layer_can_be_switched_off(lab, open_notebook):
    notebook = open_notebook(lab.put("volume.ipynb", MADE, SHOWN))
    notebook.run_all()
    canvas = notebook.page.locator(".jp-OutputArea canvas").first
    canvas.wait_for(timeout=60_000)
    both = settled(notebook, canvas)
    notebook.page.wait_for_timeout(1000)
    both = coloured(notebook, canvas)
    notebook.keep("volume")
    assert len(np.unique(notebook.pixels(canvas).reshape(-1, 3), axis=0)) > 200

    box = {name: notebook.page.get_by_role("checkbox", name=name) for name in ("truth", "prediction")}
    box["truth"].uncheck()
    without = settled(notebook, canvas, both, lambda now, before: now < 0.95 * before)
    box["prediction"].uncheck()
    bare = settled(notebook, canvas, without, lambda now, before: now < 0.1 * before)
    box["prediction"].check()
    settled(notebook, canvas, bare, lambda now, before: now > 5 * before + 100)

    before = notebook.pixels(canvas)
    notebook.page.get_by_role("button", name="largest error").click()
    notebook.page.get_by_text("The largest error is at voxel").wait_for(timeout=20_000)
    notebook.page.wait_for_timeout(1500)
    assert (notebook.pixels(canvas) != before).any(-1).mean() > 0.01  # the planes have moved
    assert notebook.errors() == []
    assert notebook.went_out == []


def test_two_predictions_turn_together(lab, open_notebook):
    linked = (
        "from dsnotes.viewers import side_by_side\n"
        "views = side_by_side(case, {'shifted': prediction, 'right': case.label})"
    )
    notebook = open_notebook(lab.put("linked.ipynb", MADE, linked))
    notebook.run_all()
    canvases = notebook.page.locator(".jp-OutputArea canvas")
    canvases.nth(1).wait_for(timeout=60_000)
    left, right = canvases.nth(0), canvases.nth(1)
    settled(notebook, right)
    before = notebook.pixels(right)
    place = left.bounding_box()
    notebook.page.mouse.click(place["x"] + place["width"] * 0.12, place["y"] + place["height"] * 0.2)
    notebook.page.wait_for_timeout(2000)
    notebook.keep("linked")
    assert (notebook.pixels(right) != before).any(-1).mean() > 0.002  # a click on the left one moved the right one
    assert notebook.went_out == []


def test_itkwidgets_without_a_network_gives_niivue_and_one_line(lab, open_notebook):
    choose = (
        "import os\nos.environ['DSNOTES_VIEWER'] = 'itk'\nimport dsnotes.viewers.itk as itk\nitk.online = lambda: False"
    )
    notebook = open_notebook(lab.put("itk.ipynb", choose, MADE, SHOWN, "after = 1 + 1", "print(after)"))
    notebook.run_all(timeout=90)
    assert notebook.errors() == []
    assert len(set(notebook.prompts())) == 5
    assert notebook.page.get_by_text("NiiVue needs no network").count() == 1
    settled(notebook, notebook.page.locator(".jp-OutputArea canvas").first)
    assert notebook.page.locator(".jp-RenderedImage img").count() >= 1  # the still, which stays in the saved file
