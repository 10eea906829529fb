"""A contact sheet: many cases side by side, which a person accepts or rejects; each decision is saved at once."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsnotes.safety.markup import escape
from dsnotes.safety.nearest import nearest
from dsnotes.viewers import notebook_display, style
from dsnotes.viewers.focus import focus
from dsnotes.viewers.layers import DRAW, Cut, handles
from dsnotes.viewers.review_log import WORDS, Cases, named, read_decisions, require_same_set, rows, write
from dsnotes.viewers.scene import Scene, compose

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGNS = {"accept": ("✓", style.GREEN), "reject": ("✗", style.VERMILION)}  # the sign is clear without colour
COLUMNS, ROWS = 4, 3


def contact_sheet(
    cases: Cases,
    decisions: str | os.PathLike = "decisions.csv",
    *,
    page: int | None = None,
    window: str | tuple[float, float] | None = "label",
    zoom: float | None = None,
    buttons: bool | None = None,
) -> ContactSheet:
    """Show twelve cases per page, bare and with outline and soft mask (`extras["soft"]`), to accept or reject each.

    In a browser there are buttons; each click is saved to the file `decisions` (name, decision, time) at once, and the
    same call resumes with that file at the first page with an open case. A headless run shows only that page's picture
    and never waits; use sheet.decide(name, "accept") there. For a volume the slice through the lesion is shown; `zoom`
    is the mm shown on every side of it. `buttons` turns the buttons on or off anywhere. `window` is that of `show`.
    """
    return ContactSheet(cases, decisions, page=page, window=window, zoom=zoom, buttons=buttons)


class ContactSheet(notebook_display.Picture):
    """`decisions` holds the decisions so far; `decide` and `turn` do the same as the buttons."""

    def __init__(
        self,
        cases: Cases,
        decisions: str | os.PathLike,
        *,
        page: int | None,
        window: str | tuple[float, float] | None,
        zoom: float | None,
        buttons: bool | None,
    ) -> None:
        self.names = named(cases)
        self.path = Path(decisions)
        self.decisions = read_decisions(self.path)
        require_same_set(self.names, self.decisions, self.path)
        self._cases, self._window, self._zoom = cases, window, zoom
        self.figure: Figure
        self.controls: Any = None
        if notebook_display.here() == "browser" if buttons is None else buttons:
            write(self.path, rows(self.path))  # fail now if the file cannot be written, not after a click
            self.controls = _controls(self)
            notebook_display.DisplayArea().put(self.controls)
        self._display_area = notebook_display.DisplayArea()
        open_ones = [at for at, name in enumerate(self.names) if name not in self.decisions]
        self.turn(page if page is not None else open_ones[0] // (COLUMNS * ROWS) + 1 if open_ones else 1)

    @property
    def pages(self) -> int:
        return -(-len(self.names) // (COLUMNS * ROWS))

    def turn(self, page: int) -> None:
        """Show a page; the first is 1."""
        if not 1 <= page <= self.pages:
            raise ValueError(
                f"page={page}, but {len(self.names)} cases fill pages 1 to {self.pages}. Pass one of these."
            )
        first = (page - 1) * COLUMNS * ROWS
        self.page = page
        self._shown = {
            case.name: compose(case, soft=case.extras.get("soft"), window=self._window)
            for case in (self._cases[at] for at in range(first, min(first + COLUMNS * ROWS, len(self.names))))
        }
        if self.controls is not None:
            pager, note, grid = self.controls.children
            pager.value = page
            self.controls.children = (pager, note, _grid(self, note))
            notebook_display.close(grid)
        self.figure = _sheet(self._shown, legend=True, zoom=self._zoom)
        self._update_titles()

    def decide(self, name: str, decision: str) -> None:
        """Save a decision, "accept" or "reject", to the file and show it in the picture."""
        if name not in self.names:
            near = nearest(name, self.names) or self.names[:3]
            raise KeyError(f"the sheet has no case {name!r}; the nearest names: {', '.join(near)}.")
        if decision not in WORDS:
            raise ValueError(f"{decision!r} is not a decision. Pass {' or '.join(map(repr, WORDS))}.")
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        write(self.path, [*rows(self.path), [name, decision, now]])
        self.decisions = read_decisions(self.path)
        if name in self._shown:
            self._update_button(name)
            self._update_titles()

    def _update_button(self, name: str) -> None:
        """Update the button after `decide`."""
        if self.controls is not None:
            tile = self.controls.children[2].children[list(self._shown).index(name)]
            tile.children[1].value = self.decisions[name]

    def _update_titles(self) -> None:
        """Write the decisions into the picture without redrawing images and lines."""
        first, title = (self.page - 1) * COLUMNS * ROWS + 1, self._in_words()
        with style.look():
            self.figure.suptitle(title, x=0.01, ha="left", fontsize=9)
            for number, (name, axes) in enumerate(zip(self._shown, self.figure.axes[::2], strict=True), start=first):
                sign, colour = SIGNS.get(self.decisions.get(name, ""), ("?", style.FOREGROUND))
                how = {"loc": "left", "y": 1, "pad": 3}  # without y, every drawing searches for a place
                axes.set_title(f"{sign} {number}  {name}", **how, fontsize=7.5, color=colour)
        self._display_area.put_figure(self.figure, alt=title)

    def _in_words(self) -> str:
        known = [self.decisions[name] for name in self.names if name in self.decisions]
        counts = ", ".join(f"{known.count(word)} {word}ed" for word in WORDS)
        still = len(self.names) - len(known)
        return f"page {self.page} of {self.pages}: of {len(self.names)} cases {counts}, {still} open"

    def __repr__(self) -> str:
        return f"ContactSheet({self._in_words()}; {self.path})"


def _controls(sheet: ContactSheet) -> Any:
    """The page selector, a line for errors, and the cases."""
    import ipywidgets

    pager = ipywidgets.BoundedIntText(value=1, min=1, max=sheet.pages, description="page")

    def turn(change: Any) -> None:
        if change["new"] != sheet.page:
            sheet.turn(change["new"])

    pager.observe(turn, "value")
    return ipywidgets.VBox([pager, ipywidgets.HTML(), ipywidgets.GridBox()])


def _grid(sheet: ContactSheet, note: Any) -> Any:
    """Each case's picture with its two buttons directly below."""
    import ipywidgets

    tiles = []
    for name, scene in sheet._shown.items():
        figure = _sheet({name: scene}, zoom=sheet._zoom)
        figure.axes[0].set_title(name, loc="left", pad=3, fontsize=7.5, color=style.FOREGROUND)
        choice = ipywidgets.ToggleButtons(
            options=[(f"{sign} {word}", word) for word, (sign, _) in SIGNS.items()],
            value=sheet.decisions.get(name),
            style={"button_width": "80px"},
        )
        choice.observe(partial(_clicked, sheet, note, name), "value")
        picture = ipywidgets.Image(value=style.png(figure), format="png", layout={"width": "220px"})
        tiles.append(ipywidgets.VBox([picture, choice]))
    return ipywidgets.GridBox(tiles, layout={"grid_template_columns": f"repeat({COLUMNS}, 230px)"})


def _clicked(sheet: ContactSheet, note: Any, name: str, change: Any) -> None:
    """Show errors beside the pictures: Jupyter would send an error in a click handler to a hidden log."""
    if change["new"] == sheet.decisions.get(name):
        return
    try:
        sheet.decide(name, change["new"])
    except (OSError, ValueError) as error:
        note.value = f"<b>not saved:</b> {escape(error)}"
        change["owner"].value = sheet.decisions.get(name)
    else:
        note.value = ""


def _sheet(scenes: dict[str, Scene], *, zoom: float | None, legend: bool = False) -> Figure:
    """Each case twice, bare and with its layers: two axes per case, in order. Of several labels a tile has the value
    alone, since names would cover it; the legend has both.
    """
    columns = min(COLUMNS, len(scenes))
    lines = -(-len(scenes) // columns)
    with style.look():
        above, below = 0.5 if legend else 0.22, 0.45 if legend else 0.03  # inches
        height = 1.55 * lines + above + below
        figure = style.sheet(2.6 * columns, height)
        figure.set_layout_engine(None)  # every tile has its place: searching for one takes as long as drawing
        rim = {"left": 0.005, "right": 0.995, "top": 1 - above / height, "bottom": below / height}
        grid = figure.add_gridspec(lines, 2 * columns, **rim, wspace=0.06, hspace=0.22)
        for number, scene in enumerate(scenes.values()):
            line, column = divmod(number, columns)
            numbered = replace(scene, names={value: str(value) for value in scene.values})
            for beside, layers in enumerate(((), scene.layers)):
                _tile(figure.add_subplot(grid[line, 2 * column + beside]), numbered, layers, zoom)
        if legend:
            listed = {}
            for scene in scenes.values():
                both = {value: f"{value} {scene.name(value)}" for value in scene.values}
                listed |= {one.get_label(): one for one in handles(replace(scene, names=both), scene.layers)}
            if "truth" in listed:
                listed["truth"].set_label("label")  # it is not yet accepted as truth
            figure.legend(handles=list(listed.values()), loc="lower center", ncols=4)
    return figure


def _tile(axes: Axes, scene: Scene, layers: tuple[str, ...], zoom: float | None) -> None:
    """The slice through the lesion, whole or `zoom` mm around it, within the image."""
    at = focus(scene)
    cut = Cut(0, at[0], scene.spacing[1:]) if scene.image.ndim == 3 else Cut(None, 0, scene.spacing)
    (left, right, bottom, top), (low, high) = cut.extent(scene.image), scene.window
    axes.imshow(
        cut.of(scene.image),
        cmap="gray",
        vmin=low,
        vmax=high,
        extent=(left, right, bottom, top),
        interpolation="nearest",
    )
    for layer in layers:
        DRAW[layer](axes, scene, cut)
    if zoom is not None:
        y, x = ((i + 0.5) * mm for i, mm in zip(at[-2:], cut.spacing, strict=True))
        left, right = max(left, x - zoom), min(right, x + zoom)
        top, bottom = max(top, y - zoom), min(bottom, y + zoom)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.set_axis_off()
