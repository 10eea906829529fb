"""Three planes through the lesion and a 3-D view, or the one plane of a 2-D image, with a scale bar in mm."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dsnotes.viewers import style
from dsnotes.viewers.focus import PLANES, focus, require_inside
from dsnotes.viewers.layers import DRAW, Cut, handles
from dsnotes.viewers.scene import Scene
from dsnotes.viewers.solids import Rendered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ENDS = ("RLA", "RLS", "APS")  # of each plane, left, right and on top: right, left, anterior, posterior, superior


class Box(NamedTuple):
    """What a plane shows, in mm of its columns and rows."""

    left: float
    right: float
    top: float
    bottom: float


def picture(
    scene: Scene,
    *,
    at: tuple[int, ...] | None = None,
    zoom: float | None = None,
    window: tuple[float, float] | None = None,
    layers: tuple[str, ...] | None = None,
    solid: Rendered | None = None,
) -> Figure:
    """A still figure. `at` is a voxel (default: `focus`), `zoom` the mm shown on every side of it (default: all).

    `solid` is the 3-D picture that stands beside the planes.
    """
    at = require_inside(scene, focus(scene) if at is None else at)
    layers = scene.layers if layers is None else layers
    window = window or scene.window
    panels = [(axis, layers) for axis in (range(3) if scene.image.ndim == 3 else [None])]
    if scene.image.ndim == 2 and scene.layers:
        panels.insert(0, (None, ()))  # a single slice leaves room for the bare image
    boxes = [_box(scene, axis, at, zoom) for axis, _ in panels]
    widths = [box.right - box.left for box in boxes]
    if solid is not None:
        widths.append(max(box.bottom - box.top for box in boxes))
    across = 9.6 if len(panels) == 3 else 3.5 * len(panels)
    tall = min(across * max(box.bottom - box.top for box in boxes) / sum(widths), 8.0)
    with style.look():
        legend = handles(scene, layers)
        columns = int(across / 1.55)  # of the legend, by its longest entry
        figure = style.sheet(across, tall + 0.6 + 0.22 * -(-len(legend) // columns))
        grid = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
        for axes, (axis, shown), box in zip(grid, panels, boxes, strict=False):
            spacing = tuple(mm for i, mm in enumerate(scene.spacing) if i != axis)
            cut = Cut(axis, 0 if axis is None else at[axis], spacing)
            _draw_plane(axes, scene, cut, window=window, layers=shown, box=box)
        if solid is not None:
            _draw_solid(grid[-1], solid)
        figure.suptitle(_caption(scene, window, wide=len(panels) > 1), x=0.01, ha="left", fontsize=9)
        if legend:
            figure.legend(handles=legend, loc="outside lower center", ncols=min(columns, len(legend)))
    return figure


def _box(scene: Scene, axis: int | None, at: tuple[int, ...], zoom: float | None) -> Box:
    edges: list[float] = []
    for i in reversed([i for i in range(scene.image.ndim) if i != axis]):  # columns, then rows
        end = scene.image.shape[i] * scene.spacing[i]
        centre = (at[i] + 0.5) * scene.spacing[i]
        edges += [0.0, end] if zoom is None else [max(0.0, centre - zoom), min(end, centre + zoom)]
    return Box(*edges)


def _draw_plane(
    axes: Axes, scene: Scene, cut: Cut, *, window: tuple[float, float], layers: tuple[str, ...], box: Box
) -> None:
    import matplotlib

    grey = matplotlib.colormaps["gray"].with_extremes(bad=style.VERMILION)
    axes.imshow(
        np.ma.masked_invalid(cut.of(scene.image)),
        cmap=grey,
        vmin=window[0],
        vmax=window[1],
        extent=cut.extent(scene.image),
        interpolation="nearest",
    )
    for name in layers:
        DRAW[name](axes, scene, cut)
    axes.set(xlim=(box.left, box.right), ylim=(box.bottom, box.top), xticks=[], yticks=[])
    if cut.axis in (1, 2):
        axes.invert_yaxis()  # depth counts upwards: the head is on top
    axes.spines[:].set_visible(False)
    axes.set_anchor("NW")
    if cut.axis is not None:
        axes.set_title(f"{PLANES[cut.axis]} {cut.at} / {scene.image.shape[cut.axis] - 1}", loc="left", pad=3)
        _letters(axes, ENDS[cut.axis])
    _scale_bar(axes, box)


def _draw_solid(axes: Axes, solid: Rendered) -> None:
    axes.imshow(solid.picture, extent=(0, solid.width, solid.width, 0), interpolation="bilinear")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_anchor("NW")
    axes.set_title("in 3-D, from the front", loc="left", pad=3)
    _scale_bar(axes, Box(0, solid.width, 0, solid.width))


def _letters(axes: Axes, ends: str) -> None:
    """The patient's directions at the edges of a plane."""
    from matplotlib.patheffects import withStroke

    places = ((0.015, 0.5, "left", "center"), (0.985, 0.5, "right", "center"), (0.5, 0.985, "center", "top"))
    for letter, (x, y, ha, va) in zip(ends, places, strict=True):
        outline = [withStroke(linewidth=2.5, foreground="black")]
        how = {"transform": axes.transAxes, "path_effects": outline, "color": "white", "fontsize": 8}
        axes.text(x, y, letter, ha=ha, va=va, **how)


def _scale_bar(axes: Axes, box: Box) -> None:
    """A round number of millimetres, at most a third of the plane."""
    from matplotlib.patheffects import withStroke

    third = (box.right - box.left) / 3
    length = max((mm for mm in (1, 2, 5, 10, 20, 50, 100) if mm <= third), default=third)
    ends = [0.04, 0.04 + length / (box.right - box.left)]
    dark = {"transform": axes.transAxes, "path_effects": [withStroke(linewidth=3.5, foreground="black")]}
    axes.plot(ends, [0.05, 0.05], color="white", lw=1.8, solid_capstyle="butt", **dark)
    axes.text(ends[0], 0.065, f"{length:.3g} mm", color="white", fontsize=7.5, va="bottom", **dark)


def _caption(scene: Scene, window: tuple[float, float], *, wide: bool) -> str:
    size = " × ".join(map(str, scene.image.shape))
    mm = " × ".join(f"{step:.3g}" for step in scene.spacing)
    notes = list(scene.notes)
    if len(scene.values) > len(style.ON_GREY):
        notes.append(f"{len(scene.values)} labels: colours repeat")
    facts = [scene.title, f"{size} voxels of {mm} mm", f"window {_short(window[0])} … {_short(window[1])}"]
    lines = ["  ·  ".join(facts)] if wide else [scene.title, "  ·  ".join(facts[1:])]
    return "\n".join([*lines, *(["  ·  ".join(notes)] if notes else [])])


def _short(value: float) -> str:
    return (f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}").replace("-", "−")
