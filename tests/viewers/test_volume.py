"""What travels to NiiVue, and what its controls change; that it is drawn is shown in tests/browser."""

from __future__ import annotations

import gc
import importlib.util
import weakref
from dataclasses import replace
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from dsnotes.viewers import itk, notebook_display, side_by_side
from dsnotes.viewers import volume as module
from dsnotes.viewers.scene import compose
from dsnotes.viewers.show import show


def canvas_of(case, **layers) -> module.Canvas:
    scene = compose(case, **layers)
    return module.Canvas(scene, at=(0,) * scene.image.ndim)


def sent(canvas: module.Canvas) -> list[str]:
    return [layer.name for layer in canvas.widget.volumes]


def parts(panel, kind: str) -> dict:
    found, queue = {}, [panel]
    while queue:
        part = queue.pop()
        queue += getattr(part, "children", ())
        if type(part).__name__ == kind:
            found[part.description] = part
    return found


def test_the_file_in_memory_has_the_true_spacing_and_orientation():
    array = np.zeros((3, 4, 5), np.float32)
    array[2, 1, 4] = 700
    image = nibabel.Nifti1Image.from_bytes(module.nifti(array, (5.0, 0.8, 0.7)))
    assert image.header.get_zooms() == pytest.approx((0.7, 0.8, 5.0))
    assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
    assert image.get_fdata()[4, 1, 2] == 700
    assert image.get_data_dtype() == np.int16  # whole grey values take half the room


def test_grey_values_that_are_not_whole_stay_as_they_are():
    array = np.full((2, 2, 2), 0.25, np.float32)
    assert nibabel.Nifti1Image.from_bytes(module.nifti(array, (1.0, 1.0, 1.0))).get_fdata().max() == 0.25


def test_every_layer_is_a_volume_of_its_own(volume):
    canvas = canvas_of(
        volume,
        prediction=volume.label,
        soft=(volume.label > 0).astype(np.float32),
        readers={"A": volume.label, "B": volume.label},
    )
    assert sent(canvas) == ["scan.nii", "soft.nii", "truth.nii", "A.nii", "B.nii", "prediction.nii"]
    window = (canvas.widget.volumes[0].cal_min, canvas.widget.volumes[0].cal_max)
    assert window == pytest.approx(canvas.scene.window)


def test_labels_keep_their_names_and_get_a_colour_each(volume):
    label = volume.label.copy()
    label[:2, :2, :2] = 7
    canvas = canvas_of(replace(volume, label=label), names={1: "kidney", 7: "cyst"})
    ranks, table = canvas._layer("truth")
    assert table["labels"] == ["", "kidney", "cyst"]
    assert ranks[0, 0, 0] == 2
    assert table["A"] == [0, 255, 255]
    assert len({(r, g, b) for r, g, b in zip(table["R"], table["G"], table["B"], strict=True)}) == 3


def test_a_box_a_slider_and_a_preset_do_what_they_say(volume):
    canvas = canvas_of(volume, prediction=volume.label)
    panel = module.controls([canvas])
    boxes, slider = parts(panel, "Checkbox"), parts(panel, "FloatSlider")["opacity"]
    opacities = lambda: [layer.opacity for layer in canvas.widget.volumes[1:]]  # noqa: E731
    assert opacities() == [module.OPACITY] * 2
    boxes["prediction"].value = False
    assert opacities() == [module.OPACITY, 0]
    slider.value = 0.9
    assert opacities() == [0.9, 0]  # what was switched off stays off
    boxes["prediction"].value = True
    assert opacities() == [0.9, 0.9]
    parts(panel, "Dropdown")["window"].value = (-1350.0, 150.0)
    assert (canvas.widget.volumes[0].cal_min, canvas.widget.volumes[0].cal_max) == (-1350.0, 150.0)


def test_the_largest_error_is_one_click_away(volume):
    wrong = volume.label.copy()
    wrong[15:18, 4:7, 30:33] = 1
    canvas = canvas_of(volume, prediction=wrong)
    parts(module.controls([canvas]), "Button")["largest error"].click()
    depth, height, width = volume.space
    x, y, z = canvas.widget.scene.crosshair_pos
    assert (z * depth, (1 - y) * height, (1 - x) * width) == pytest.approx((16.5, 5.5, 31.5))


def test_a_perfect_prediction_has_no_error_to_go_to(volume):
    panel = module.controls([canvas_of(volume, prediction=volume.label)])
    parts(panel, "Button")["largest error"].click()
    assert panel.children[-1].value.endswith("Truth and prediction agree in every voxel.")


def test_a_large_volume_is_sent_coarser_and_says_so_until_all_is_asked_for(volume, monkeypatch):
    monkeypatch.setattr(module, "LARGE", volume.image.size // 8)
    canvas = canvas_of(volume)
    panel = module.controls([canvas])
    size = lambda: nibabel.Nifti1Image.from_bytes(bytes(canvas.widget.volumes[0].data)).shape  # noqa: E731
    assert size() == tuple(n // 2 for n in reversed(volume.space))
    assert "every 2. voxel of each axis" in panel.children[-1].value
    parts(panel, "Button")["full resolution"].click()
    assert size() == tuple(reversed(volume.space))
    assert "every" not in panel.children[-1].value


def test_forty_labels_nan_and_nothing_at_all(volume):
    many = np.arange(volume.image.size, dtype=np.int64).reshape(volume.space) % 41
    canvas = canvas_of(replace(volume, label=many))
    assert len(canvas._layer("truth")[1]["R"]) == 41
    assert "40 labels: colours repeat" in module._canvas_note(canvas)
    spoilt = replace(volume, image=volume.image.copy())
    spoilt.image[0] = np.nan  # after the case was checked
    shown = nibabel.Nifti1Image.from_bytes(bytes(canvas_of(spoilt).widget.volumes[0].data))
    assert np.isfinite(shown.get_fdata()).all()
    empty = canvas_of(replace(volume, label=np.zeros_like(volume.label)))
    assert "The label holds no foreground." in module._canvas_note(empty)
    assert sent(canvas_of(replace(volume, label=None))) == ["scan.nii"]


def test_linked_views_move_each_other_and_start_at_the_worst_place(volume):
    wrong = volume.label.copy()
    wrong[15:18, 4:7, 30:33] = 1
    views = side_by_side(volume, {"good": wrong, "better": volume.label})
    assert list(views) == ["good", "better"]
    assert all(view.shown["at"] == (16, 5, 31) for view in views.values())
    assert "better" in views["better"].figure.get_suptitle()
    with pytest.raises(ValueError, match="side_by_side needs two predictions or more, 1 came"):
        side_by_side(volume, {"alone": wrong})


def test_a_flat_image_gets_sliders_and_a_line_that_says_why(slice_, capsys):
    show(slice_, viewer="volume")
    assert capsys.readouterr().out == "sliders instead of a volume to turn: this image has two axes.\n"


def test_without_ipyniivue_there_are_sliders(volume, monkeypatch, capsys):
    find = module.importlib.util.find_spec
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name == "ipyniivue" else find(name))
    show(volume, viewer="volume")
    assert "ipyniivue is not installed; pip install ipyniivue brings it" in capsys.readouterr().out


def test_itkwidgets_is_never_imported_where_nobody_looks(volume, capsys):
    import sys

    show(volume, viewer="itk")
    said = capsys.readouterr().out
    assert said.startswith("itkwidgets is left out: ")
    assert "itkwidgets" not in sys.modules


def test_without_itkwidgets_the_picture_is_there_all_the_same(volume, monkeypatch, capsys):
    monkeypatch.setattr(itk.importlib.util, "find_spec", lambda name: None)
    assert len(show(volume, viewer="itk").figure.axes) == 4
    assert "it is not installed; type pip install 'dsnotes[itk]'" in capsys.readouterr().out


@pytest.mark.skipif(importlib.util.find_spec("itkwidgets") is None, reason="itkwidgets is not installed")
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"__vsc_ipynb_file__": "/home/ada/00.ipynb"}, "opens in JupyterLab, not in VS Code. NiiVue opens here"),
        ({}, "its viewer's page cannot be fetched from here. NiiVue needs no network"),
    ],
)
def test_where_itkwidgets_cannot_open_a_reader_gets_niivue_and_one_line(volume, monkeypatch, capsys, variables, said):
    parent = {"header": {"username": "", "msg_id": "1"}, "metadata": {}}
    shell = SimpleNamespace(kernel=object(), get_parent=lambda: parent, user_ns=variables)
    monkeypatch.setattr(notebook_display, "shell", lambda: shell)
    monkeypatch.setattr(itk, "online", lambda: False)
    drawn = []
    monkeypatch.setattr(itk, "volume", lambda scene, **how: drawn.append(scene) or itk.still(scene, **how))
    show(volume, viewer="itk")
    assert said in capsys.readouterr().out
    assert len(drawn) == 1


def test_a_cell_that_runs_again_lets_go_of_the_volume_and_its_canvas(volume, monkeypatch):
    parent = {"header": {"username": "", "msg_id": "first"}, "metadata": {"cellId": "a volume's cell"}}
    shell = SimpleNamespace(kernel=object(), get_parent=lambda: parent, user_ns={})
    monkeypatch.setattr(notebook_display, "shell", lambda: shell)
    monkeypatch.setattr(notebook_display.DisplayArea, "put", lambda self, thing: None)
    scene = compose(volume)
    held = weakref.ref(scene)
    first = module.volume(scene)
    first.figure = None  # what the notebook has drawn is not the view's
    panel = first.controls
    parent["header"]["msg_id"] = "again"
    module.volume(compose(volume))
    assert first.scene is None
    assert first.controls is None
    assert panel.comm is None  # closed: the browser forgets it too
    del scene, first, panel
    gc.collect()
    assert held() is None
