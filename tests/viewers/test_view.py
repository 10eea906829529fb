"""A view can be moved, saved and let go."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from dsnotes.viewers import notebook_display, view
from dsnotes.viewers.scene import compose
from dsnotes.viewers.show import show


def controls_of(opened: view.View) -> dict:
    parts = [part for row in view._controls(opened).children for part in row.children]
    return {part.description: part for part in parts if part.description}


def test_a_script_gets_a_figure_and_may_save_it(volume, tmp_path):
    shown = show(volume, prediction=volume.label)
    assert len(shown.figure.axes) == 4  # three planes and the body
    assert shown.save(tmp_path / "case.png").read_bytes().startswith(b"\x89PNG")
    assert "box: axial 8, coronal 14, sagittal 28; drawn over it: truth, prediction" in repr(shown)


def test_a_slider_moves_its_plane(volume):
    opened = view.still(compose(volume))
    controls_of(opened)["axial"].value = 3
    assert opened.shown["at"][0] == 3
    assert opened.figure.axes[0].get_title(loc="left") == "axial 3 / 19"


def test_a_box_switches_its_layer_off_and_on(slice_):
    opened = view.still(compose(slice_, prediction=slice_.label))
    box = controls_of(opened)["prediction"]
    box.value = False
    assert opened.shown["layers"] == ("truth",)
    box.value = True
    assert opened.shown["layers"] == ("truth", "prediction")


def test_a_preset_sets_the_window(volume):
    opened = view.still(compose(volume))
    controls = controls_of(opened)
    controls["preset"].value = (-160.0, 240.0)
    assert opened.shown["window"] == (-160.0, 240.0)
    assert "window −160 … 240" in opened.figure.get_suptitle()
    assert controls["window"].max >= 240


def test_a_slice_has_no_plane_to_choose(slice_):
    assert set(controls_of(view.still(compose(slice_)))) == {"window", "preset", "truth"}


def test_a_constant_image_has_sliders_too(slice_):
    flat = replace(slice_, image=np.full(slice_.space, 7.0, np.float32))
    assert controls_of(view.still(compose(flat)))["window"].value[0] == 7.0


def test_a_cell_that_runs_again_frees_the_volume_it_held(volume, monkeypatch):
    """ipywidgets keeps every widget that was ever made, and a widget's callbacks keep the volume."""
    parent = {"header": {"username": "", "msg_id": "first"}, "metadata": {"cellId": "a-cell"}}
    shell = SimpleNamespace(kernel=object(), get_parent=lambda: parent, user_ns={})
    monkeypatch.setattr(notebook_display, "shell", lambda: shell)
    monkeypatch.setattr(notebook_display.DisplayArea, "put", lambda self, thing: None)
    scene = compose(volume)
    held = weakref.ref(scene)
    first = view.sliders(scene)
    second = view.sliders(compose(volume))  # the same run of the cell: both stay
    assert first.scene is not None
    parent["header"]["msg_id"] = "again"
    view.sliders(compose(volume))
    assert first.scene is None
    assert second.scene is None
    del scene, first
    gc.collect()
    assert held() is None


@pytest.mark.parametrize("viewer", ["still", "slices"])
def test_every_viewer_refuses_the_same(volume, viewer):
    with pytest.raises(ValueError, match="is not a voxel of"):
        show(volume, at=(99, 0, 0), viewer=viewer)
