"""itkwidgets in JupyterLab with a network, which the test simulates: its viewer opens, and later cells run."""

from __future__ import annotations

import importlib.util
import time

import numpy as np
import pytest

MADE = """import dsnotes
from dsnotes.data import phantoms
from dsnotes.viewers import itk
itk.online = lambda: True  # the test simulates the browser's network; the kernel has none
case = phantoms.kidneys(1, seed=3)[0]"""
SHOWN = "view = dsnotes.show(case, prediction=case.label, viewer='itk')"
# ImJoy also requests two plugins and its logo; the viewer works without them, and the registry does not have them.
UNNEEDED = ("Jupyter-Engine-Manager.imjoy.html", "WebPythonWorker.imjoy.html", "imjoy-logo-black.svg")


@pytest.mark.skipif(importlib.util.find_spec("itkwidgets") is None, reason="itkwidgets is not installed")
def test_the_viewer_opens_and_later_cells_run(lab, open_notebook):
    from tests.browser import npm

    if not npm.reachable():
        pytest.skip("the npm registry, which holds the viewer's files, cannot be reached")
    notebook = open_notebook(lab.put("itk.ipynb", MADE, SHOWN, "print(6 * 7)"), serve=npm.serve)
    notebook.heard("Kernel patch applied for ImJoy JupyterLab Extension")  # a person does not run a cell before that
    notebook.run_all(timeout=120)
    notebook.heard("itk-vtk-viewer loaded successfully.")
    canvas = notebook.page.frame_locator(".imjoy-inline-window iframe").locator("canvas").first
    canvas.wait_for(timeout=60_000)
    end, colours = time.monotonic() + 90, 0
    while colours < 200 and time.monotonic() < end:  # the volume comes some seconds after the canvas
        notebook.page.wait_for_timeout(1000)
        colours = len(np.unique(notebook.pixels_at(canvas.bounding_box()).reshape(-1, 3), axis=0))
    notebook.keep("itk")
    assert colours >= 200
    assert notebook.page.locator(".jp-OutputArea-output", has_text="42").count() == 1
    assert notebook.page.locator(".jp-RenderedImage img").count() >= 1  # the still, which stays in the saved file
    assert notebook.errors() == []
    assert [url for url in notebook.went_out if not any(name in url for name in UNNEEDED)] == []
