"""A contact sheet: many cases side by side, each accepted or rejected by a person, each decision kept as it is made."""

from __future__ import annotations

import contextlib
import csv
import difflib
import io
import os
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsnotes.data.case import Case
from dsnotes.data.dataset import Dataset
from dsnotes.viewers import ink, place
from dsnotes.viewers.layers import DRAW, Cut, handles
from dsnotes.viewers.scene import Number, Scene, compose
from dsnotes.viewers.slices import focus

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADER = ["name", "decision", "time"]
WORDS = {"accept": ("✓", ink.GREEN), "reject": ("✗", ink.VERMILION)}  # the sign says it without colour
COLUMNS, ROWS = 4, 3
Cases = Sequence  # of Case; bare, for a type checker would open every case of a dataset


def contact_sheet(
    cases: Cases,
    decisions: str | os.PathLike = "decisions.csv",
    *,
    page: int | None = None,
    window: str | tuple[Number, Number] | None = None,
    zoom: Number | None = None,
    buttons: bool | None = None,
) -> ContactSheet:
    """Show twelve cases a page, bare and with outline and soft mask (`extras["soft"]`), to accept or reject each.

    In a browser there are buttons; each click is in the file `decisions` (name, decision, time) before the next one
    counts, and the same call takes the file up again, at the first page with something to decide. A head-less run
    gets that page's picture alone, never waits, and may decide in words: sheet.decide(name, "accept"). Of a volume the
    slice through the lesion is shown; `zoom` is the mm shown on every side of the lesion. `buttons` overrules the place.
    """
    return ContactSheet(cases, decisions, page=page, window=window, zoom=zoom, buttons=buttons)


def accepted(cases: Cases, decisions: str | os.PathLike = "decisions.csv") -> Cases:
    """The cases that the file accepts, in their own order: a dataset of a dataset, else a list."""
    path = Path(decisions)
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: decide first, with contact_sheet(cases, {str(decisions)!r}).")
    names = _names(cases)
    decided = read_decisions(path)
    _require_same_set(names, decided, path)
    chosen = [name for name in names if decided.get(name) == "accept"]
    if isinstance(cases, Dataset):
        return cases.subset(chosen)
    return [case for case in cases if case.name in set(chosen)]


def read_decisions(path: str | os.PathLike) -> dict[str, str]:
    """{name: "accept" or "reject"} of the file; where somebody changed their mind, the later row counts."""
    return {name: word for name, word, _ in _rows(Path(path))}


class ContactSheet(place.Picture):
    """`decisions` is what has been decided so far; `decide` and `turn` do in words what the buttons do."""

    def __init__(
        self,
        cases: Cases,
        decisions: str | os.PathLike,
        *,
        page: int | None,
        window: str | tuple[Number, Number] | None,
        zoom: Number | None,
        buttons: bool | None,
    ) -> None:
        self.names = _names(cases)
        self.path = Path(decisions)
        self.decisions = read_decisions(self.path)
        _require_same_set(self.names, self.decisions, self.path)
        self._cases, self._window, self._zoom = cases, window, zoom
        self.figure: Figure
        self.controls: Any = None
        if place.here() == "browser" if buttons is None else buttons:
            _write(self.path, _rows(self.path))  # a person shall not click in vain
            self.controls = _controls(self)
            place.Spot().put(self.controls)
        self._spot = place.Spot()
        open_ones = [at for at, name in enumerate(self.names) if name not in self.decisions]
        self.turn(page if page is not None else open_ones[0] // (COLUMNS * ROWS) + 1 if open_ones else 1)

    @property
    def pages(self) -> int:
        return -(-len(self.names) // (COLUMNS * ROWS))

    def turn(self, page: int) -> None:
        """Show a page; the first is 1."""
        if not 1 <= page <= self.pages:
            raise ValueError(
                f"page={page}, but {len(self.names)} cases make pages 1 to {self.pages}: pass one of them."
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
            _close(grid)
        self._redraw()

    def decide(self, name: str, decision: str) -> None:
        """Keep a decision, "accept" or "reject", in the file and then in the picture."""
        if name not in self.names:
            near = difflib.get_close_matches(name, self.names, n=3, cutoff=0.4) or self.names[:3]
            raise KeyError(f"the sheet has no case {name!r}; the nearest names: {', '.join(near)}.")
        if decision not in WORDS:
            raise ValueError(f"{decision!r} is no decision. Pass {' or '.join(map(repr, WORDS))}.")
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        _write(self.path, [*_rows(self.path), [name, decision, now]])
        self.decisions = read_decisions(self.path)
        if name in self._shown:
            self._redraw()

    def _redraw(self) -> None:
        first = (self.page - 1) * COLUMNS * ROWS
        heads = {}
        for number, name in enumerate(self._shown, start=first + 1):
            sign, colour = WORDS.get(self.decisions.get(name, ""), ("?", ink.INK))
            heads[name] = (f"{sign} {number}  {name}", colour)
        self.figure = _sheet(self._shown, heads, title=self._in_words(), zoom=self._zoom)
        self._spot.put_figure(self.figure, alt=self._in_words())

    def _in_words(self) -> str:
        known = [self.decisions[name] for name in self.names if name in self.decisions]
        counts = ", ".join(f"{known.count(word)} {word}ed" for word in WORDS)
        return f"page {self.page} of {self.pages}: of {len(self.names)} cases {counts}, {len(self.names) - len(known)} open"

    def __repr__(self) -> str:
        return f"ContactSheet({self._in_words()}; {self.path})"


def _controls(sheet: ContactSheet) -> Any:
    """The page to turn to, a line for what goes wrong, and the cases."""
    import ipywidgets

    pager = ipywidgets.BoundedIntText(value=1, min=1, max=sheet.pages, description="page")

    def turn(change: Any) -> None:
        if change["new"] != sheet.page:
            sheet.turn(change["new"])

    pager.observe(turn, "value")
    return ipywidgets.VBox([pager, ipywidgets.HTML(), ipywidgets.GridBox()])


def _grid(sheet: ContactSheet, note: Any) -> Any:
    """Each case's picture with the two buttons under it, so that nobody clicks its neighbour's."""
    import ipywidgets

    tiles = []
    for name, scene in sheet._shown.items():
        figure = _sheet({name: scene}, {name: (name, ink.INK)}, zoom=sheet._zoom)
        choice = ipywidgets.ToggleButtons(
            options=[(f"{sign} {word}", word) for word, (sign, _) in WORDS.items()],
            value=sheet.decisions.get(name),
            style={"button_width": "80px"},
        )
        choice.observe(partial(_clicked, sheet, note, name), "value")
        picture = ipywidgets.Image(value=ink.png(figure), format="png", layout={"width": "220px"})
        tiles.append(ipywidgets.VBox([picture, choice]))
    return ipywidgets.GridBox(tiles, layout={"grid_template_columns": f"repeat({COLUMNS}, 230px)"})


def _clicked(sheet: ContactSheet, note: Any, name: str, change: Any) -> None:
    """An error within a click goes to a log that nobody reads, so it is written beside the pictures instead."""
    if change["new"] == sheet.decisions.get(name):
        return
    try:
        sheet.decide(name, change["new"])
    except (OSError, ValueError) as error:
        note.value = f"<b>not kept:</b> {escape(str(error))}"
        change["owner"].value = sheet.decisions.get(name)
    else:
        note.value = ""


def _close(widget: Any) -> None:
    """With all it holds: ipywidgets keeps every widget that was not closed."""
    for child in getattr(widget, "children", ()):
        _close(child)
    widget.close()


def _sheet(
    scenes: dict[str, Scene], heads: dict[str, tuple[str, str]], *, title: str = "", zoom: Number | None
) -> Figure:
    """Each case twice, bare and with its layers; `heads` is what stands over it, and in which colour."""
    columns = min(COLUMNS, len(scenes))
    rows = -(-len(scenes) // columns)
    listed = {handle.get_label(): handle for scene in scenes.values() for handle in handles(scene, scene.layers)}
    with ink.look():
        figure = ink.sheet(2.6 * columns, 1.55 * rows + (0.5 if title else 0))
        grid = figure.subplots(rows, 2 * columns, squeeze=False)
        for axes in grid.ravel():
            axes.set_axis_off()
        for number, (name, scene) in enumerate(scenes.items()):
            row, column = divmod(number, columns)
            at = focus(scene)
            cut = Cut(0, at[0], scene.spacing[1:]) if scene.image.ndim == 3 else Cut(None, 0, scene.spacing)
            y, x = ((i + 0.5) * mm for i, mm in zip(at[-2:], cut.spacing, strict=True))
            left, right, bottom, top = cut.extent(scene.image)
            if zoom is not None:
                left, right = max(left, x - zoom), min(right, x + zoom)
                top, bottom = max(top, y - zoom), min(bottom, y + zoom)
            for axes, layers in zip(grid[row, 2 * column : 2 * column + 2], ((), scene.layers), strict=True):
                low, high = scene.window
                axes.imshow(
                    cut.of(scene.image),
                    cmap="gray",
                    vmin=low,
                    vmax=high,
                    extent=cut.extent(scene.image),
                    interpolation="nearest",
                )
                for layer in layers:
                    DRAW[layer](axes, scene, cut)
                axes.set(xlim=(left, right), ylim=(bottom, top))
            text, colour = heads[name]
            grid[row, 2 * column].set_title(text, loc="left", pad=3, fontsize=7.5, color=colour)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=9)
            figure.legend(handles=list(listed.values()), loc="outside lower center", ncols=4)
    return figure


def _names(cases: Cases) -> list[str]:
    names = list(cases.names) if isinstance(cases, Dataset) else [case.name for case in cases]
    if not names:
        raise ValueError("no case came, so there is nothing to decide. Pass a list of cases or a dataset with some.")
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"several cases are called {twice[0]!r}, but a decision is kept by name: give each its own.")
    return names


def _require_same_set(names: list[str], decided: dict[str, str], path: Path) -> None:
    if decided and not set(names) & set(decided):
        raise ValueError(
            f"{path} decides on {len(decided)} other cases, such as {next(iter(decided))!r}, and on none of these "
            f"{len(names)}, such as {names[0]!r}. Pass another file as decisions=; for a part of a set pass all of it "
            f"and page=."
        )


def _rows(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            header, *rows = [row for row in csv.reader(stream) if row] or [[]]
    except OSError as error:
        raise OSError(
            f"{path} cannot be read ({error.strerror}). Pass a file that is yours to read and write."
        ) from error
    if header != HEADER:
        raise ValueError(
            f"{path} begins with {','.join(header)!r}, decisions with {','.join(HEADER)!r}. Pass another file as "
            f"decisions=; if a spreadsheet changed this one, save it with commas between its three columns."
        )
    for line, row in enumerate(rows, start=2):
        if len(row) != len(HEADER) or row[1] not in WORDS:
            raise ValueError(
                f"{path}, line {line}: {','.join(row)!r} is no decision. Needed are a name, "
                f"{' or '.join(map(repr, WORDS))}, and a time; correct or delete the line."
            )
    return rows


def _write(path: Path, rows: list[list[str]]) -> None:
    """The whole file anew beside the old one, then put in its place: a crash leaves either, never half a line."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEADER, *rows])
    part = path.with_name(f"part-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", newline="", encoding="utf-8") as stream:
            stream.write(text.getvalue())
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise OSError(
            f"{path} cannot be written ({error.strerror}), so decisions would be lost. Pass decisions= in a folder "
            f"that is yours to write to and has space left."
        ) from error
