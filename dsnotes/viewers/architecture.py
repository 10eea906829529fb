"""The picture of a paper's network: the U with its channel counts, and what each prediction is compared with.

with torch.device("meta"):
    network = dsnotes.build("mss-unet").network                        # the published size, without its memory
architecture(network, [Comparison("stride1", "1×1 conv", "mask", "0.4 (exp-log + CE)"), …], title="MSS U-Net")
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dsnotes.viewers import notebook_display, style

if TYPE_CHECKING or "torch" in sys.modules:  # other viewers are used without it
    from dsnotes.networks.base import Backbone, Network
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES = 0.44  # per row
BOX = (0.46, 0.3)  # half the width and half the height of a level's box
ENCODER, DECODER, SECOND, PREDICTION, TARGET = 0.0, 2.3, 3.6, 5.6, 10.6  # x of the columns
CORNER = "round,pad=0.02,rounding_size=0.08"


class Comparison(NamedTuple):
    """One term of the loss: the level it reads, what is predicted there, the target, and how the two are compared."""

    level: str  # "stride4", or "second" for the output of the second decoder
    prediction: str
    target: str
    loss: str


class SecondDecoder(NamedTuple):
    """A decoder beside the first: what it does, and its channels, finest first."""

    purpose: str
    channels: tuple[int, ...]


def architecture(
    network: Network | Backbone,
    comparisons: Sequence[Comparison],
    *,
    skips: str = "",
    second: SecondDecoder | None = None,
    front: Sequence[str] = (),
    title: str = "",
) -> notebook_display.Picture:
    """Draw it. Channels and strides are read from the network; `skips` is written on every skip connection, `front`
    names what an image passes through before the encoder."""
    figure = draw(network, comparisons, skips=skips, second=second, front=front, title=title)
    in_words = "; ".join(f"{one.level}: {one.prediction} with {one.target} by {one.loss}" for one in comparisons)
    channels = ", ".join(str(channels) for _, channels, _ in _levels(network))
    beside = f" A second decoder {second.purpose}." if second else ""
    beside += f" The image enters through {', then '.join(front)}." if front else ""
    return notebook_display.Picture(
        figure, alt=f"{title or 'The network'}: a U with {channels} channels.{beside} Compared are {in_words}."
    )


def draw(
    network: Network | Backbone,
    comparisons: Sequence[Comparison],
    *,
    skips: str = "",
    second: SecondDecoder | None = None,
    front: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """The figure itself, without showing it."""
    levels = _levels(network)
    known = [name for name, *_ in levels] + ["second"] * bool(second)
    if unknown := sorted({one.level for one in comparisons} - set(known)):
        raise ValueError(f"comparisons at {unknown} came, but this network has {known}. Use those names.")
    at, rows = _assign_rows(levels, comparisons, second)
    with style.look():
        figure = style.sheet(9.6, INCHES * (rows + 1.5 + bool(front)))
        axes = figure.subplots()
        _draw_u(axes, levels, at, {one.level for one in comparisons}, skips=skips)
        second_row = at[levels[0][0]] + sum(one.level == levels[0][0] for one in comparisons)  # of the second's output
        if second:
            _draw_second(axes, second, at, levels, second_row)
        if front:
            _draw_front(axes, front)
        _draw_comparisons(axes, comparisons, levels, at, second_row)
        axes.set(xlim=(-1.9, TARGET + 2.7), ylim=(rows - 0.4, -1.1 - bool(front)))
        axes.axis("off")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    return figure


def _levels(network: Network | Backbone) -> list[tuple[str, int, tuple[int, ...]]]:
    """(name, channels, stride), finest first, the bottleneck last."""
    backbone = getattr(network, "backbone", network)
    deepest = backbone.levels["bottleneck"]
    sides = [(name, level.channels, level.stride) for name, level in backbone.sides().items()]
    return [*sides, (f"stride{max(deepest.stride)}", deepest.channels, deepest.stride)]


def _assign_rows(levels: list, comparisons: Sequence[Comparison], second: SecondDecoder | None) -> tuple[dict, int]:
    """The first row of every level, and the number of rows: a level with three comparisons takes three."""
    at, row = {}, 0
    for place, (name, *_) in enumerate(levels):
        at[name] = row
        of_level = sum(one.level == name or (place == 0 and one.level == "second") for one in comparisons)
        row += max(1, of_level)
    return at, row


def _draw_u(axes: Axes, levels: list, at: dict[str, int], supervised: set[str], *, skips: str) -> None:
    depth = len(levels) - 1
    for x, name in ((ENCODER, "encoder"), (DECODER, "decoder")):
        axes.text(x, -0.5, name, ha="center", va="bottom", fontsize=8.5)
    for place, (name, channels, stride) in enumerate(levels):
        y = at[name]
        axes.text(ENCODER - 0.6, y, _size(stride), ha="right", va="center", fontsize=8)
        if place == depth:
            middle, above = (ENCODER + DECODER) / 2, at[levels[place - 1][0]]
            _box(axes, middle, y, str(channels), name in supervised)
            _arrow(axes, (ENCODER, above + BOX[1]), (middle - BOX[0], y))
            _arrow(axes, (middle + BOX[0], y), (DECODER, above + BOX[1]))
            continue
        _box(axes, ENCODER, y, str(channels), False)
        _box(axes, DECODER, y, str(channels), name in supervised)
        _arrow(axes, (ENCODER + BOX[0], y), (DECODER - BOX[0], y), colour=style.GRID)
        if skips:
            _draw_label(axes, (ENCODER + DECODER) / 2, y, skips)
        if place < depth - 1:
            below = at[levels[place + 1][0]]
            _arrow(axes, (ENCODER, y + BOX[1]), (ENCODER, below - BOX[1]))
            _arrow(axes, (DECODER, below - BOX[1]), (DECODER, y + BOX[1]))


def _draw_front(axes: Axes, front: Sequence[str]) -> None:
    """A row above the encoder, from the image to the encoder's first level."""
    x, y = ENCODER - BOX[0], -1.45
    for place, text in enumerate(front):
        box = {"facecolor": style.BACKGROUND, "edgecolor": style.GREEN, "boxstyle": "round,pad=0.3", "linewidth": 1.3}
        axes.text(x, y, text, ha="left", va="center", fontsize=8.5, bbox=box)
        wide = 0.095 * len(text) + 0.25
        if place < len(front) - 1:
            _arrow(axes, (x + wide - 0.05, y), (x + wide + 0.3, y), colour=style.GREEN)
            x += wide + 0.45
        else:
            end = ENCODER - BOX[0] + 0.03  # beside the column's name
            axes.plot([x + wide / 2, x + wide / 2, end], [y + 0.3, -0.85, -0.85], color=style.GREEN, lw=1.2)
            _arrow(axes, (end, -0.85), (end, -BOX[1]), colour=style.GREEN)


def _draw_second(axes: Axes, second: SecondDecoder, at: dict[str, int], levels: list, second_row: int) -> None:
    names = [name for name, *_ in levels]
    axes.text(SECOND, -0.5, second.purpose, ha="center", va="bottom", fontsize=8.5)
    rows = [second_row, *(at[name] for name in names[1:])]  # its output is below the first decoder's
    for place, channels in enumerate(second.channels):
        y, below = rows[place], rows[place + 1]
        _box(axes, SECOND, y, str(channels), True, colour=style.VERMILION)
        if place == len(second.channels) - 1:
            start = ((ENCODER + DECODER) / 2 + BOX[0], below + 0.12)
            _arrow(axes, start, (SECOND, y + BOX[1]), colour=style.VERMILION, bend=0.25)
        else:
            _arrow(axes, (SECOND, below - BOX[1]), (SECOND, y + BOX[1]), colour=style.VERMILION)


def _draw_comparisons(
    axes: Axes, comparisons: Sequence[Comparison], levels: list, at: dict[str, int], second_row: int
) -> None:
    """One row for each: prediction, a double arrow with the loss above it, target."""
    first, bottom = levels[0][0], levels[-1][0]
    taken: dict[str, int] = {}
    for x, name in ((PREDICTION, "prediction"), (TARGET, "target")):
        axes.text(x, -0.5, name, ha="left", va="bottom", fontsize=8.5)
    for one in sorted(comparisons, key=lambda one: one.level == "second"):
        level = first if one.level == "second" else one.level
        row = at[level] + taken.get(level, 0)
        taken[level] = taken.get(level, 0) + 1
        colour = style.VERMILION if one.level == "second" else style.BLUE
        x = {"second": SECOND, bottom: (ENCODER + DECODER) / 2}.get(one.level, DECODER)
        first_row = second_row if one.level == "second" else at[level]
        start = (x + BOX[0], first_row + (0.0 if row == first_row else BOX[1] / 2))
        _line(axes, start, (PREDICTION - 0.12, row), colour)
        axes.text(PREDICTION, row, one.prediction, ha="left", va="center", fontsize=8.5)
        _arrow(axes, (TARGET - 2.35, row + 0.2), (TARGET - 0.12, row + 0.2), colour=colour, ends="<|-|>")
        axes.text(TARGET - 1.23, row + 0.08, one.loss, ha="center", va="bottom", fontsize=8)
        axes.text(TARGET, row, one.target, ha="left", va="center", fontsize=8.5)


def _box(axes: Axes, x: float, y: float, text: str, filled: bool, *, colour: str = style.BLUE) -> None:
    from matplotlib.patches import FancyBboxPatch

    low, size = (x - BOX[0], y - BOX[1]), (2 * BOX[0], 2 * BOX[1])
    face = colour if filled else style.BACKGROUND
    axes.add_patch(FancyBboxPatch(low, *size, boxstyle=CORNER, facecolor=face, edgecolor=colour, linewidth=1.3))
    axes.text(
        x, y, text, ha="center", va="center", fontsize=8.5, color=style.BACKGROUND if filled else style.FOREGROUND
    )


def _arrow(axes: Axes, start, end, *, colour: str = style.FAINT, ends: str = "-|>", bend: float = 0.0) -> None:
    from matplotlib.patches import FancyArrowPatch

    curve = f"arc3,rad={bend}"
    how = {"arrowstyle": ends, "mutation_scale": 8, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(start, end, color=colour, connectionstyle=curve, **how))


def _line(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    turn = end[0] - 0.35  # along the level, then to the row of its comparison
    axes.plot([start[0], turn, end[0]], [start[1], start[1], end[1]], color=colour, linewidth=1.0, zorder=0)


def _draw_label(axes: Axes, x: float, y: float, text: str) -> None:
    box = {"facecolor": style.BACKGROUND, "edgecolor": style.FAINT, "pad": 1.6, "linewidth": 0.8}
    axes.text(x, y, text, ha="center", va="center", fontsize=7.5, bbox=box)


def _size(stride: tuple[int, ...]) -> str:
    """A level's size relative to the image's."""
    if len(set(stride)) > 1:
        return "stride " + "·".join(map(str, stride))
    return "full size" if stride[0] == 1 else f"1/{stride[0]}"
