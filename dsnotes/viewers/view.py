"""What `show` returns: a picture in the notebook that can be saved, redrawn and, in a browser, moved by sliders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dsnotes.viewers import notebook_display
from dsnotes.viewers.focus import PLANES, focus, largest_error, require_inside
from dsnotes.viewers.layers import bodies
from dsnotes.viewers.scene import WINDOWS, Scene
from dsnotes.viewers.slices import picture
from dsnotes.viewers.solids import Rendered, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OPEN: dict[str, tuple[str, list[View]]] = {}  # by cell: the execution that opened the views, and the views


class View(notebook_display.Picture):
    """`figure` is the picture as it stands; `redraw` changes what it shows, in the notebook too."""

    def __init__(self, scene: Scene, *, at: tuple[int, ...] | None = None, zoom: float | None = None) -> None:
        self.scene: Scene | None = scene
        self.shown: dict[str, Any] = {
            "at": require_inside(scene, focus(scene) if at is None else at),
            "zoom": zoom,
            "window": scene.window,
            "layers": scene.layers,
        }
        self.figure: Figure
        self.controls: Any = None
        self._solids: dict[tuple[str, ...], Rendered | None] = {}
        self._display_area = notebook_display.DisplayArea()

    def redraw(self, **shown: Any) -> None:
        """Any of `at`, `zoom`, `window` and `layers`; the rest stays as it is."""
        self.shown.update(shown)
        self.figure = picture(self.scene, **self.shown, solid=self._solid(self.shown["layers"]))
        self._display_area.put_figure(self.figure, alt=self._in_words())

    def _solid(self, layers: tuple[str, ...]) -> Rendered | None:
        """Rendered once for every choice of layers: it does not change with the planes."""
        if self.scene.image.ndim != 3:
            return None
        if layers not in self._solids:
            there = bodies(self.scene, layers)
            self._solids[layers] = render(there, spacing=self.scene.spacing) if there else None
        return self._solids[layers]

    def close(self) -> None:
        """Let go of the volume and of the sliders; the picture stays."""
        if self.controls is not None:
            notebook_display.close(self.controls)
        self.scene = self.controls = None

    def _in_words(self) -> str:
        where = ", ".join(f"{plane} {i}" for plane, i in zip(PLANES, self.shown["at"], strict=False))
        planes = where if len(self.shown["at"]) == 3 else "one slice"
        return f"{self.scene.title}: {planes}; drawn over it: {', '.join(self.shown['layers']) or 'nothing'}"

    def __repr__(self) -> str:
        return f"View({self._in_words()})" if self.scene else "View(closed)"


def still(scene: Scene, *, at: tuple[int, ...] | None = None, zoom: float | None = None) -> View:
    view = View(scene, at=at, zoom=zoom)
    view.redraw()
    return view


def sliders(scene: Scene, *, at: tuple[int, ...] | None = None, zoom: float | None = None) -> View:
    """The still picture with sliders above it. They redraw that very picture, so the saved file holds the last one."""
    view = View(scene, at=at, zoom=zoom)
    if notebook_display.shell() is not None:
        replace_views_of_this_cell(view)
        view.controls = _controls(view)
        notebook_display.DisplayArea().put(view.controls)
    view.redraw()
    return view


def _controls(view: View) -> Any:
    import ipywidgets

    scene, wide = view.scene, {"description_width": "70px"}
    moves = [
        ipywidgets.IntSlider(value=i, min=0, max=n - 1, description=plane, style=wide)
        for plane, i, n in zip(PLANES, view.shown["at"], scene.image.shape, strict=False)
        if scene.image.ndim == 3
    ]
    low, high = scene.window
    reach = max(high - low, 1e-6)
    levels = ipywidgets.FloatRangeSlider(
        value=(low, high),
        min=low - reach,
        max=high + reach,
        step=reach / 100,
        description="window",
        readout=False,  # its box is too narrow for two numbers
        style=wide,
    )
    readout = ipywidgets.Label(_written(levels.value))
    presets = ipywidgets.Dropdown(
        options={"as given": scene.window, **WINDOWS}, value=scene.window, description="preset", style=wide
    )
    boxes = {name: ipywidgets.Checkbox(value=True, description=name, indent=False) for name in scene.layers}

    def redraw(_change: Any = None) -> None:
        readout.value = _written(levels.value)
        at = tuple(move.value for move in moves) or view.shown["at"]
        view.redraw(at=at, window=levels.value, layers=tuple(name for name, box in boxes.items() if box.value))

    def take_preset(change: Any) -> None:
        low, high = change["new"]
        levels.min, levels.max = min(levels.min, low), max(levels.max, high)
        levels.value = (low, high)

    for control in [*moves, levels, *boxes.values()]:
        control.observe(redraw, "value")
    presets.observe(take_preset, "value")
    rows = [ipywidgets.HBox(moves), ipywidgets.HBox([levels, readout, presets]), ipywidgets.HBox(list(boxes.values()))]
    if scene.truth is not None and scene.prediction is not None and scene.image.ndim == 3:
        jump = ipywidgets.Button(description="largest error", icon="crosshairs")
        jump.on_click(lambda _: _go_to_largest_error(scene, moves))
        rows[1].children = (*rows[1].children, jump)
    return ipywidgets.VBox(rows)


def _written(window: tuple[float, float]) -> str:
    """Both ends of a window, in as many digits as tell them apart."""
    digits = 0 if window[1] - window[0] > 20 else 2
    return " … ".join(f"{edge:.{digits}f}" for edge in window)


def _go_to_largest_error(scene: Scene, moves: list[Any]) -> None:
    for move, index in zip(moves, largest_error(scene) or (), strict=False):
        move.value = index


def replace_views_of_this_cell(view: View) -> None:
    """A cell that runs again frees what it held before: ipywidgets keeps every slider, and with it the volume."""
    parent = notebook_display.shell().get_parent()
    cell, execution = parent.get("metadata", {}).get("cellId"), parent.get("header", {}).get("msg_id")
    if cell is None:
        return
    before, views = _OPEN.get(cell, (execution, []))
    if before != execution:
        for old in views:
            old.close()
        views = []
    _OPEN[cell] = (execution, [*views, view])
