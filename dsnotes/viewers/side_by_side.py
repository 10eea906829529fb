"""Two or more predictions of one case side by side, with linked controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsnotes.data.case import Case
from dsnotes.viewers import notebook_display
from dsnotes.viewers.focus import largest_error
from dsnotes.viewers.scene import Overlay, compose
from dsnotes.viewers.view import View, replace_views_of_this_cell
from dsnotes.viewers.volume import BESIDE, Canvas, controls, why_not


def side_by_side(
    case: Case,
    predictions: Mapping[str, Overlay],
    *,
    at: tuple[int, ...] | None = None,
    zoom: float | None = None,
    viewer: str | None = None,
    **shown: Any,
) -> Views:
    """`{name: prediction}` on the same case, through the same voxel: by default where the first is most wrong.

    In a browser the volumes turn together, and everywhere each leaves its still picture. `viewer` is chosen as in
    `show`, where all but "volume" give the stills alone; further arguments are those of `show`.
    """
    if len(predictions) < 2:
        raise ValueError(
            f"side_by_side needs two predictions or more, {len(predictions)} came: "
            f"pass {{'one': label, 'other': label}}, or use show for a single one."
        )
    choice = notebook_display.choose(viewer, dict.fromkeys(("volume", "slices", "itk", "still")), volume=True)
    scenes = {
        name: compose(case, prediction=prediction, **shown | {"title": f"{case.name}, {name}"})
        for name, prediction in predictions.items()
    }
    first = next(iter(scenes.values()))
    at = at or (largest_error(first) if first.truth is not None else None)
    views = {name: View(scene, at=at, zoom=zoom) for name, scene in scenes.items()}
    if choice == "volume" and notebook_display.shell() is not None and not why_not(first):
        canvases = [
            Canvas(scene, at=view.shown["at"], height=BESIDE)
            for scene, view in zip(scenes.values(), views.values(), strict=True)
        ]
        leader = next(iter(views.values()))
        for view in views.values():
            replace_views_of_this_cell(view)
        leader.controls = controls(canvases, list(views))
        notebook_display.DisplayArea().put(leader.controls)
        _synchronise_views([canvas.widget for canvas in canvases])
    for view in views.values():
        view.redraw()
    return Views(views)


class Views(dict):
    """The views by name, which are in the cell already."""

    def _ipython_display_(self) -> None:
        """Show nothing a second time."""


def _synchronise_views(widgets: list[Any]) -> None:
    """Once every canvas is on the page: one that is told of another before that may wait for it for ever."""
    waiting = set(range(len(widgets)))

    def on_attached(which: int) -> None:
        waiting.discard(which)
        if not waiting:
            for widget in widgets:
                others = [other for other in widgets if other is not widget]
                widget.broadcast_to(others, {"2d": True, "3d": True, "zoom_pan": True, "crosshair": True})

    for which, widget in enumerate(widgets):
        widget.on_canvas_attached(lambda *_, which=which: on_attached(which))
