"""Drawing of each layer over a scan, and its legend.

Line style shows the source, colour and name show the label: truth solid, prediction dashed, readers thin with one dash
pattern per reader, a soft mask as a transparent overlay with level lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dsnotes.viewers import style
from dsnotes.viewers.scene import Scene
from dsnotes.viewers.solids import Body

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SOFT_LEVELS = {0.25: ":", 0.5: "-", 0.75: "--"}
READER_COLOURS = (style.PURPLE, style.GREEN, style.YELLOW, style.VERMILION)
PREDICTION_DASH = (0, (3, 2))
CROWDED = (0.09, 0.25)  # names closer than this share of the height and the width would overlap
NAMED = 8  # maximum number of labels with a name and a legend entry


class Cut(NamedTuple):
    """One slice: across `axis` of a volume at index `at`; the whole of a 2-D image where `axis` is None."""

    axis: int | None
    at: int
    spacing: tuple[float, ...]  # of rows and columns, mm

    def of(self, volume: np.ndarray) -> np.ndarray:
        return volume if self.axis is None else volume.take(self.at, self.axis)

    def extent(self, volume: np.ndarray) -> tuple[float, float, float, float]:
        rows, columns = self.of(volume).shape
        return (0.0, columns * self.spacing[1], rows * self.spacing[0], 0.0)


def draw_truth(axes: Axes, scene: Scene, cut: Cut) -> None:
    plane, written = cut.of(scene.truth), []
    for index, value in enumerate(scene.values):
        _contour(axes, plane == value, cut, colors=_colour(index), linewidths=2.0, linestyles="-")
        if len(scene.values) > 1 and index < NAMED:
            _write_name(axes, plane == value, scene.name(value), cut, index, written)


def draw_prediction(axes: Axes, scene: Scene, cut: Cut) -> None:
    plane = cut.of(scene.prediction)
    for index, value in enumerate(scene.values):
        colour = _prediction_colour(scene, index)
        _contour(axes, plane == value, cut, colors=[colour], linewidths=1.5, linestyles=[PREDICTION_DASH])


def draw_readers(axes: Axes, scene: Scene, cut: Cut) -> None:
    for number, label in enumerate(scene.readers.values()):
        colour, dash = _reader_style(number)
        _contour(axes, cut.of(label) > 0, cut, colors=colour, linewidths=1.0, linestyles=[dash])


def draw_soft(axes: Axes, scene: Scene, cut: Cut) -> None:
    from matplotlib.colors import to_rgb

    plane = cut.of(scene.soft)
    veil = np.concatenate([np.broadcast_to(to_rgb(style.PURPLE), (*plane.shape, 3)), 0.55 * plane[..., None]], -1)
    axes.imshow(veil, extent=cut.extent(scene.soft), interpolation="nearest")
    for level, dashes in SOFT_LEVELS.items():
        _contour(axes, plane, cut, level, colors="white", linewidths=0.8, linestyles=dashes)


DRAW = {"soft": draw_soft, "truth": draw_truth, "readers": draw_readers, "prediction": draw_prediction}


def bodies(scene: Scene, layers: tuple[str, ...]) -> list[Body]:
    """The bodies of the 3-D picture: the prediction inside a pale shell of the truth, or the one that exists.

    The last of several labels, usually the tumour, is solid, and the organ around it is translucent.
    """
    from matplotlib.colors import to_rgb

    drawn = []
    alone = not {"truth", "prediction"} <= set(layers)
    for name, volume in (("prediction", scene.prediction), ("truth", scene.truth)):
        if name not in layers:
            continue
        for index, value in enumerate(scene.values):
            if not (mask := volume == value).any():
                continue
            colour = to_rgb(colour_of(scene, name, index))
            solid = 1.0 if value == scene.values[-1] else 0.65
            drawn.append(Body(mask, colour, solid if alone or name == "prediction" else 0.4))
    if not drawn and "soft" in layers and (mask := scene.soft >= 0.5).any():
        drawn.append(Body(mask, to_rgb(style.PURPLE), 1.0))
    return drawn


def handles(scene: Scene, layers: tuple[str, ...]) -> list:
    """The legend's entries: source by line style, label by colour."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    one = len(scene.values) <= 1
    listed = []
    if "truth" in layers:
        listed.append(Line2D([], [], color=_colour(0) if one else style.FOREGROUND, lw=2, label="truth"))
    if "prediction" in layers:
        colour = style.SKY if one else style.FOREGROUND
        listed.append(Line2D([], [], color=colour, lw=1.5, ls=PREDICTION_DASH, label="prediction"))
    for number, name in enumerate(scene.readers if "readers" in layers else ()):
        colour, dash = _reader_style(number)
        listed.append(Line2D([], [], color=colour, lw=1.5, ls=dash, label=name))
    if "soft" in layers:
        listed.append(Patch(facecolor=style.PURPLE, alpha=0.55, label="soft mask, lines at ¼ ½ ¾"))
    if not one and {"truth", "prediction"} & set(layers):
        values = scene.values[:NAMED]
        listed += [Patch(facecolor=_colour(index), label=scene.name(value)) for index, value in enumerate(values)]
        if len(scene.values) > NAMED:
            listed.append(Patch(facecolor="none", label=f"… and {len(scene.values) - NAMED} more"))
    return listed


def _colour(index: int) -> str:
    return style.ON_GREY[index % len(style.ON_GREY)]


def colour_of(scene: Scene, layer: str, index: int) -> str | tuple[float, ...]:
    """Colour of the label with that index in the truth or the prediction."""
    return _prediction_colour(scene, index) if layer == "prediction" else _colour(index)


def _prediction_colour(scene: Scene, index: int) -> str | tuple[float, ...]:
    """A separate colour if there is one label, a paler version of each label's colour if there are several."""
    if len(scene.values) == 1:
        return style.SKY
    from matplotlib.colors import to_rgb

    return tuple(0.5 + 0.5 * part for part in to_rgb(_colour(index)))


def _reader_style(number: int) -> tuple:
    return READER_COLOURS[number % len(READER_COLOURS)], style.DASHES[1 + number % (len(style.DASHES) - 1)]


def _contour(axes: Axes, plane: np.ndarray, cut: Cut, level: float = 0.5, **line) -> None:
    """A contour in mm around `plane` > `level`; padded, so that it closes at the border of the image."""
    if not (plane > level).any():
        return
    from matplotlib.patheffects import withStroke

    padded = np.pad(plane.astype(np.float32), 1)
    rows, columns = ((np.arange(n) - 0.5) * mm for n, mm in zip(padded.shape, cut.spacing, strict=True))
    drawn = axes.contour(columns, rows, padded, levels=[level], **line)
    drawn.set(path_effects=[withStroke(linewidth=1.4 * line["linewidths"] + 0.4, foreground="black", alpha=0.6)])


def _write_name(axes: Axes, mask: np.ndarray, name: str, cut: Cut, index: int, written: list[np.ndarray]) -> None:
    """Right of the label's last column, for every other label left of its first: a tumour lies on its organ.

    Where an earlier name is written already, none: the legend has all names.
    """
    if not mask.any():
        return
    from matplotlib.patheffects import withStroke

    leftwards = bool(index % 2)
    inside = np.argwhere(mask)
    row, column = inside[inside[:, 1].argmin() if leftwards else inside[:, 1].argmax()]
    place = np.array((row, column)) / mask.shape
    if any((np.abs(place - other) < CROWDED).all() for other in written):
        return
    written.append(place)
    beyond = column < 0.2 * mask.shape[1] if leftwards else column > 0.8 * mask.shape[1]
    towards = leftwards != beyond  # a name beyond the rim would leave the picture: write it inwards
    axes.annotate(
        name,
        ((column + (not towards)) * cut.spacing[1], (row + 0.5) * cut.spacing[0]),
        xytext=(-4 if towards else 4, 0),
        textcoords="offset points",
        ha="right" if towards else "left",
        va="center",
        fontsize=8,
        color=_colour(index),
        path_effects=[withStroke(linewidth=2, foreground="black")],
        annotation_clip=True,
    )
