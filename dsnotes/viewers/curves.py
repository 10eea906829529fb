"""Training curves: the loss with its terms and the validation scores, drawn once or live while `fit` runs.

history = dsnotes.fit(system, train, val, …, on_epoch=curves.live())
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

from dsnotes.viewers import notebook_display, style
from dsnotes.viewers.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Records = Iterable[Mapping]  # one per epoch: epoch, loss, its terms, lr, val_dice, seconds
NOT_TERMS = {"epoch", "loss", "lr", "seconds", "grad_norm", "samples_per_second"}
FEW, BESIDE = 3, 1.4  # up to this many names fit inside the axes; inches added for a legend beside them
MANY, ACROSS = 5, 4  # more curves than this get a small panel each, so many in a row
BALANCE = {"alpha": "weights α", "pull": "pull G at the shared layer", "rate": "rate L / L(0)"}  # per GradNorm task


def plot(history: Records, *, title: str = "") -> notebook_display.Picture:
    """The loss with its terms, the validation scores with the best one marked, and GradNorm's weights if used."""
    records = list(history)
    return notebook_display.Picture(draw(records, title=title), alt=_in_words(records))


def live(*, title: str = "", seconds: float = 1.0) -> LivePlot:
    """A plot and a table to pass as `on_epoch`, redrawn during training at most every `seconds`."""
    return LivePlot(title=title, seconds=seconds)


def lines(
    series: Mapping[str, Mapping], *, x: str = "", y: str = "", log: bool = False, title: str = ""
) -> notebook_display.Picture:
    """Compare `{name: {x: y}}`, such as runs over epochs or layers by name; each line has its own dash and marker."""
    if not any(series.values()):
        raise ValueError("nothing to draw. Pass {name: {x: y, …}, …} with at least one point.")
    if len(series) > MANY:
        return notebook_display.Picture(_panels(series, x, y, log, title), alt=f"{title or y}: {', '.join(series)}")
    with style.look():
        figure = style.sheet(6.4 + BESIDE * (len(series) > FEW), 3.0)
        axes = figure.subplots()
        for index, (name, points) in enumerate(series.items()):
            axes.plot(
                list(points.keys()),
                list(points.values()),
                **style.stroke(index),
                marker="osD^vPX"[index % 7] if len(points) <= 12 else None,
                markersize=5,
                label=name,
            )
        axes.set(xlabel=x, ylabel=y)
        if log:
            style.log_scale(axes)
        axes.set_title(title, loc="left")
        axes.grid(axis="y")
        if all(isinstance(at, Integral) for points in series.values() for at in points):
            _whole(axes)
        _name(axes)
    return notebook_display.Picture(figure, alt=f"{title or y}: {', '.join(series)}")


def _panels(series: Mapping[str, Mapping], x: str, y: str, log: bool, title: str) -> Figure:
    """One small panel per curve, on the same axes, with the others in grey behind it."""
    rows = -(-len(series) // ACROSS)
    with style.look():
        figure = style.sheet(2.4 * ACROSS, 1.8 * rows + 0.3)
        grid = figure.subplots(rows, ACROSS, sharex=True, sharey=True, squeeze=False)
        for spare in grid.ravel()[len(series) :]:
            spare.set_visible(False)
        for axes, (name, points) in zip(grid.ravel(), series.items(), strict=False):
            for other in series.values():
                axes.plot(list(other.keys()), list(other.values()), color=style.GRID, linewidth=0.9)
            few = "o" if len(points) <= 12 else None
            axes.plot(list(points.keys()), list(points.values()), color=style.BLUE, marker=few, markersize=3.5)
            axes.set_title(name, loc="left", fontsize=8.5)
            if log:
                style.log_scale(axes)
        figure.supxlabel(x, fontsize=9)
        figure.supylabel(y, fontsize=9)
        figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    return figure


class LivePlot:
    """Called with the history so far; after the cell, the notebook holds only the last picture and table."""

    def __init__(self, *, title: str = "", seconds: float = 1.0) -> None:
        self.title, self.seconds = title, seconds
        self.history: Records = ()
        self._picture, self._table = notebook_display.DisplayArea(), notebook_display.DisplayArea()
        self._drawn, self._pending = -float("inf"), False

    def __call__(self, history: Records) -> None:
        """Draw if `seconds` have passed; where nobody looks, only at first and at the cell's end."""
        self.history = history
        if notebook_display.shell() is None:
            return
        if not self._pending:  # the last epoch may be skipped by `seconds`: the end of the cell draws it
            notebook_display.shell().events.register("post_execute", self._finish)
            self._pending = True
        if time.monotonic() - self._drawn >= self.seconds:
            self.redraw(picture=notebook_display.here() == "browser" or math.isinf(self._drawn))

    def redraw(self, *, picture: bool = True) -> None:
        records = list(self.history)
        if picture:
            self._picture.put_figure(draw(records, title=self.title), _in_words(records))
        self._table.put(_latest(records))
        self._drawn = time.monotonic()

    def _finish(self) -> None:
        notebook_display.shell().events.unregister("post_execute", self._finish)
        self._pending = False
        self.redraw()


def draw(records: list, *, title: str = "") -> Figure:
    """The figure itself, without showing it."""
    if not records:
        raise ValueError("the history is empty: pass what dsnotes.fit returned after at least one epoch.")
    scores = [key for key in _keys(records) if key.startswith("val_dice")]
    terms = _terms(records)
    if len(terms) == 1:
        terms = []  # a single term is the loss
    losses = ["loss", *terms, *(key for key in ("val_loss",) if key in _keys(records))]
    watched = {what: keys for what in BALANCE if (keys := [k for k in _keys(records) if k.startswith(f"{what} ")])}
    small = [key for key in losses if key not in ("loss", "val_loss")] if len(losses) > MANY else []
    losses = [key for key in losses if key not in small]
    with style.look():
        panels = 1 + bool(scores) + len(watched)
        across = panels if panels < 3 else 2 + panels % 2
        beside = BESIDE * (max(len(losses), len(scores), *map(len, watched.values()), 0) > FEW)
        tall, rows = 2.9 * -(-panels // across), -(-len(small) // ACROSS)
        whole = style.sheet(4.6 * across + beside, tall + 1.6 * rows)
        figure, below = whole.subfigures(2, 1, height_ratios=(tall, 1.6 * rows)) if small else (whole, None)
        axes = figure.subplots(-(-panels // across), across, squeeze=False).ravel()
        for spare in axes[panels:]:
            spare.set_visible(False)
        for index, key in enumerate(losses):
            label = "validation loss" if key == "val_loss" else key
            _line(axes[0], records, key, index, thick=key == "loss", label=label)
        values = [y for line in axes[0].lines for y in line.get_ydata()]
        if min(values) > 0 and max(values) > 30 * min(values):
            style.log_scale(axes[0])
        _finish_axes(axes[0], "loss and its terms" if terms and not small else "loss", legend=len(losses) > 1)
        if scores:
            for index, key in enumerate(scores):
                _line(axes[1], records, key, index, thick=index == 0, label=key.removeprefix("val_"))
            _mark_best(axes[1], records, scores[0])
            _finish_axes(axes[1], "Dice in validation", legend=len(scores) > 1)
            axes[1].set_ylim(0, 1)
        for panel, (what, keys) in zip(axes[1 + bool(scores) :], watched.items(), strict=False):
            for index, key in enumerate(keys):
                _line(panel, records, key, index, thick=False, label=key.removeprefix(f"{what} "))
            _finish_axes(panel, BALANCE[what], legend=True)
        if below is not None:
            _draw_terms(below, records, small)
        if title:
            whole.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    return whole


def _draw_terms(figure: Any, records: list, terms: list[str]) -> None:
    """One small panel per term of the loss, each on its own scale."""
    grid = figure.subplots(-(-len(terms) // ACROSS), ACROSS, squeeze=False).ravel()
    for spare in grid[len(terms) :]:
        spare.set_visible(False)
    for axes, key in zip(grid, terms, strict=False):
        _line(axes, records, key, 0, thick=False, label=key)
        axes.set_title(key, loc="left", fontsize=8.5)
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
        _whole(axes, most=4)  # a narrow panel has no room for more


def _keys(records: list) -> list[str]:
    return list(dict.fromkeys(key for record in records for key, value in record.items() if _is_number(value)))


def _terms(records: list) -> list[str]:
    others = ("val_", *(f"{what} " for what in BALANCE))
    return [key for key in _keys(records) if key not in NOT_TERMS and not key.startswith(others)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _line(axes: Axes, records: list, key: str, index: int, *, thick: bool, label: str) -> None:
    known = [(record["epoch"], record[key]) for record in records if _is_number(record.get(key))]
    axes.plot(
        *zip(*known, strict=True),
        **style.stroke(index),
        linewidth=2.0 if thick else 1.4,
        marker="o" if len(known) < 2 else None,
        label=label,
    )


def _mark_best(axes: Axes, records: list, key: str) -> None:
    known = [(record[key], record["epoch"]) for record in records if _is_number(record.get(key))]
    best, epoch = max(known, key=lambda pair: pair[0])
    axes.plot(epoch, best, marker="o", markersize=6, markerfacecolor=style.BACKGROUND, markeredgecolor=style.FOREGROUND)
    axes.set_title(f"best {best:.3f} in epoch {epoch:g}", loc="right", color=style.FAINT)


def _whole(axes: Axes, *, most: int = 8) -> None:
    """Whole numbers only on the axis of epochs, `most` + 1 of them."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=most, min_n_ticks=1))


def _finish_axes(axes: Axes, name: str, *, legend: bool) -> None:
    axes.set_title(name, loc="left")
    axes.set_xlabel("epoch")
    _whole(axes)
    axes.grid(axis="y")
    if legend:
        _name(axes)


def _name(axes: Axes) -> None:
    """Put a short legend inside the axes, a longer one beside them."""
    beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if len(axes.lines) > FEW else {}
    axes.legend(handlelength=3, **beside)


def _latest(records: list) -> Table:
    """A table of the last five epochs and the best one, with the curves' columns; `history` has all columns."""
    scored = [record for record in records if _is_number(record.get("val_dice"))]
    best = max(scored, key=lambda record: record["val_dice"], default=None)
    columns = ["epoch", "loss", *_terms(records), "val_dice", "lr", "seconds"]
    rows = [
        {**{name: record[name] for name in columns if name in record}, "": "best" if record is best else None}
        for record in records
        if record is best or any(record is late for late in records[-5:])
    ]
    spent = sum(record.get("seconds", 0) for record in records)
    return Table(rows, caption=f"{len(records)} epochs in {spent:.0f} s")


def _in_words(records: list) -> str:
    last = records[-1] if records else {}
    said = ", ".join(f"{key} {value:.4g}" for key, value in last.items() if _is_number(value))
    return f"Training curves over {len(records)} epochs; the last: {said}"
