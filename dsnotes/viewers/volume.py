"""An interactive volume: three planes and a 3-D view, drawn by NiiVue in the browser, without internet access."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from dsnotes.safety.markup import escape
from dsnotes.viewers import notebook_display, style
from dsnotes.viewers.focus import largest_error
from dsnotes.viewers.layers import READER_COLOURS, colour_of
from dsnotes.viewers.scene import WINDOWS, Scene
from dsnotes.viewers.view import View, replace_views_of_this_cell, sliders

LARGE = 6_000_000  # voxels; what is larger is sent coarser first, for every voxel travels to the browser
HEIGHT, WIDTH = 600, 640  # of a canvas alone, pixels: four square planes fill it
BESIDE = 460  # the height of one of several
MODES = {"planes and body": "MULTIPLANAR", "axial": "AXIAL", "coronal": "CORONAL", "sagittal": "SAGITTAL"}
MODES["body"] = "RENDER"
OPACITY = 0.55


def volume(scene: Scene, *, at: tuple[int, ...] | None = None, zoom: float | None = None) -> View:
    """The interactive canvas with its controls; below it the still picture, which stays in the saved file."""
    if reason := why_not(scene):
        print(f"sliders instead of a volume to turn: {reason}.")
        return sliders(scene, at=at, zoom=zoom)
    view = View(scene, at=at, zoom=zoom)
    if notebook_display.shell() is not None:
        replace_views_of_this_cell(view)
        canvas = Canvas(scene, at=view.shown["at"])
        view.controls = controls([canvas])
        notebook_display.DisplayArea().put(view.controls)
    view.redraw()
    return view


def why_not(scene: Scene) -> str:
    """Why the interactive volume cannot be used; empty if it can."""
    if scene.image.ndim != 3:
        return "this image has two axes"
    if importlib.util.find_spec("ipyniivue") is None:
        return "ipyniivue is not installed; pip install ipyniivue brings it"
    return ""


class Canvas:
    """One scene in one NiiVue widget. Every layer is a volume of its own, so that it can be switched off."""

    def __init__(self, scene: Scene, *, at: tuple[int, ...], height: int = HEIGHT) -> None:
        from ipyniivue import NiiVue, SliceType

        self.scene = scene
        self.every = max(1, int(np.ceil((scene.image.size / LARGE) ** (1 / 3))))
        self.widget = NiiVue(
            height=height,
            slice_type=SliceType.MULTIPLANAR,
            multiplanar_show_render=1,
            multiplanar_layout=2,  # two by two
            is_radiological_convention=True,  # the patient's right is on the left, as in the still
            sagittal_nose_left=True,  # and the front too
            back_color=(0.09, 0.10, 0.12, 1.0),
            is_nearest_interpolation=False,
            show_legend=False,
            crosshair_color=(1.0, 1.0, 1.0, 0.6),
            crosshair_width=0.4,
            is_orient_cube=False,
        )
        self.window = scene.window
        self.hidden: set[str] = set()
        self.opacity = OPACITY
        self.load()
        self.go(at)

    @property
    def layers(self) -> list[str]:
        """The names of what lies over the scan, readers one by one."""
        return [name for layer in self.scene.layers for name in (self.scene.readers if layer == "readers" else [layer])]

    def load(self) -> None:
        """Send scan and layers, every `every`-th voxel of them."""
        from ipyniivue import Volume

        scene, spacing = self.scene, tuple(self.every * mm for mm in self.scene.spacing)
        scan = np.nan_to_num(scene.image, nan=self.window[0], posinf=self.window[1], neginf=self.window[0])
        low, high = self.window
        volumes = [
            Volume(name="scan.nii", data=nifti(coarser(scan, self.every), spacing), cal_min=low, cal_max=high),
        ]
        for name in self.layers:
            values, colours = self._layer(name)
            data = nifti(coarser(values, self.every), spacing)
            if colours is None:
                layer = Volume(name=f"{name}.nii", data=data, colormap="plasma", cal_min=0.05, cal_max=1.0)
            else:
                layer = Volume(name=f"{name}.nii", data=data)
                layer.set_colormap_label(colours)
            layer.opacity = self._opacity(name)
            volumes.append(layer)
        self.widget.load_volumes(volumes)

    def _layer(self, name: str) -> tuple[np.ndarray, dict | None]:
        """The values of a layer and, for labels, their colours."""
        scene = self.scene
        if name == "soft":
            return scene.soft, None
        if name in scene.readers:
            colour = READER_COLOURS[list(scene.readers).index(name) % len(READER_COLOURS)]
            return (scene.readers[name] > 0).astype(np.uint8), _table({1: (name, colour)})
        labels = scene.truth if name == "truth" else scene.prediction
        ranks = np.searchsorted(np.asarray([0, *scene.values]), labels).astype(np.uint8)
        named = {
            rank: (scene.name(value), colour_of(scene, name, rank - 1)) for rank, value in enumerate(scene.values, 1)
        }
        return ranks, _table(named)

    def _opacity(self, name: str) -> float:
        return 0.0 if name in self.hidden else self.opacity

    def fade(self, opacity: float) -> None:
        self.opacity = opacity
        for number, name in enumerate(self.layers, start=1):
            self.widget.set_opacity(number, self._opacity(name))

    def switch(self, name: str, on: bool) -> None:
        (self.hidden.discard if on else self.hidden.add)(name)
        if name in self.layers:
            self.widget.set_opacity(self.layers.index(name) + 1, self._opacity(name))

    def level(self, window: tuple[float, float]) -> None:
        self.window = window
        self.widget.volumes[0].cal_min, self.widget.volumes[0].cal_max = window

    def mode(self, name: str) -> None:
        from ipyniivue import SliceType

        self.widget.set_slice_type(SliceType[MODES[name]])

    def go(self, at: tuple[int, ...]) -> None:
        """Move the crosshair; NiiVue counts from the patient's right, back and feet, as a share of the volume."""
        z, y, x = ((i + 0.5) / n for i, n in zip(at, self.scene.image.shape, strict=True))
        self.widget.scene.crosshair_pos = [1 - x, 1 - y, z]


def nifti(array: np.ndarray, spacing: tuple[float, ...]) -> bytes:
    """A NIfTI file in memory. Depth counts upwards, height to the patient's back, width to the patient's left."""
    import nibabel

    if array.dtype == np.float32 and not (array % 1).any() and np.abs(array).max(initial=0) < 32768:
        array = array.astype(np.int16)  # half the way to the browser
    z, y, x = spacing
    return nibabel.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), np.diag([-x, -y, z, 1.0])).to_bytes()


def coarser(array: np.ndarray, every: int) -> np.ndarray:
    """The middle voxel of every block: a label stays a label, and nothing is computed on what is large."""
    return array[(slice(every // 2, None, every),) * 3] if every > 1 else array


def _table(named: dict[int, tuple[str, Any]]) -> dict:
    """NiiVue's table of label colours; 0 is clear."""
    from matplotlib.colors import to_rgb

    colours = [[round(255 * part) for part in to_rgb(colour)] for _, colour in named.values()]
    red, green, blue = ([0, *channel] for channel in zip(*colours, strict=True)) if colours else ([0], [0], [0])
    return {
        "R": red,
        "G": green,
        "B": blue,
        "A": [0] + [255] * len(named),
        "I": [0, *named],
        "labels": ["", *(name for name, _ in named.values())],
    }


def controls(canvases: list[Canvas], titles: list[str] | None = None) -> Any:
    """One set of controls for one canvas, or for several that show the same scan."""
    import ipywidgets

    first = canvases[0]
    narrow = {"description_width": "60px"}
    boxes = [_box(name, canvases) for name in dict.fromkeys(name for canvas in canvases for name in canvas.layers)]
    presets = ipywidgets.Dropdown(
        options={"as given": first.window, **WINDOWS}, value=first.window, description="window", style=narrow
    )
    opacity = ipywidgets.FloatSlider(value=OPACITY, min=0, max=1, step=0.05, description="opacity", style=narrow)
    mode = ipywidgets.Dropdown(options=list(MODES), description="show", style=narrow)
    note = ipywidgets.HTML(_canvas_note(first))
    for control, act in (
        (presets, lambda canvas, value: canvas.level(value)),
        (opacity, lambda canvas, value: canvas.fade(value)),
        (mode, lambda canvas, value: canvas.mode(value)),
    ):
        control.observe(lambda change, act=act: [act(canvas, change["new"]) for canvas in canvases], "value")
    buttons = []
    if any(canvas.scene.truth is not None and canvas.scene.prediction is not None for canvas in canvases):
        buttons.append(ipywidgets.Button(description="largest error", icon="crosshairs"))
        buttons[-1].on_click(lambda _: _go_to_error(canvases, note))
    if first.every > 1:
        buttons.append(ipywidgets.Button(description="full resolution", icon="search-plus"))
        buttons[-1].on_click(lambda _: _refine(canvases, note))
    share = {"width": f"{100 / len(canvases):.0f}%"}
    shown = [
        ipywidgets.VBox([ipywidgets.HTML(f"<b>{escape(title)}</b>"), canvas.widget], layout=share)
        for title, canvas in zip(titles or [""], canvases, strict=True)
    ]
    row = ipywidgets.Layout(flex_flow="row wrap")
    alone = {"width": f"{WIDTH}px", "max_width": "100%"}
    panel = ipywidgets.VBox(
        [
            ipywidgets.HBox([presets, opacity, mode, *buttons], layout=row),
            ipywidgets.HBox(boxes, layout=row),
            ipywidgets.HBox(shown) if titles else ipywidgets.VBox([first.widget], layout=alone),
            note,
        ]
    )
    return panel


def _box(name: str, canvases: list[Canvas]) -> Any:
    import ipywidgets

    apart = {"width": "max-content", "margin": "2px 14px 2px 2px"}
    box = ipywidgets.Checkbox(value=True, description=name, indent=False, layout=apart)
    box.observe(lambda change: [canvas.switch(name, change["new"]) for canvas in canvases], "value")
    return box


def _go_to_error(canvases: list[Canvas], note: Any) -> None:
    """To the largest error of the first canvas that has one."""
    for canvas in canvases:
        if canvas.scene.prediction is not None and (worst := largest_error(canvas.scene)) is not None:
            for each in canvases:
                each.go(worst)
            note.value = f"{_canvas_note(canvas)} The largest error is at voxel {worst}."
            return
    note.value = f"{_canvas_note(canvases[0])} Truth and prediction agree in every voxel."


def _refine(canvases: list[Canvas], note: Any) -> None:
    for canvas in canvases:
        canvas.every = 1
        canvas.load()
    note.value = _canvas_note(canvases[0])


def _canvas_note(canvas: Canvas) -> str:
    """What a person must know about what they see, as HTML."""
    voxels = " × ".join(map(str, canvas.scene.image.shape))
    parts = [f"{canvas.scene.title}: {voxels} voxels."]
    if canvas.every > 1:
        parts.append(f"Shown is every {canvas.every}. voxel of each axis; 'full resolution' sends them all.")
    if len(canvas.scene.values) > len(style.ON_GREY):
        parts.append(f"{len(canvas.scene.values)} labels: colours repeat.")
    return escape(" ".join([*parts, *(f"{note[0].upper()}{note[1:]}." for note in canvas.scene.notes)]))
