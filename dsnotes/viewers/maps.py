"""Small maps side by side at their own resolution: targets at every depth, side outputs, feature maps."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dsnotes.viewers import notebook_display, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"grey": "gray", "heat": "viridis"}  # viridis increases in lightness, so it is readable in grey
WRITTEN = 12  # values are written into maps of at most so many columns
LETTERS = 13  # of a title, per inch


def maps(
    rows: Mapping,
    *,
    window: tuple[float, float] | str | None = None,
    colours: str = "grey",
    names: Mapping[str, tuple[Sequence[str], Sequence[str]]] | None = None,
    title: str = "",
) -> notebook_display.Picture:
    """Draw `{name: map}` as one row, or `{row name: {name: map}}` as several.

    A map is a 2-D array or tensor. A coarse map is drawn as large as a fine one, and its values are written into it
    (empty is 0), so that what a pixel of stride 8 holds can be read. Sizes are named where they differ. All maps share
    one `window`, by default from their lowest to their highest value; window="each" gives every map its own. NaN is
    left white. `names` of a map are those of its lines and of its columns, where it is a matrix of things with names.
    """
    figure = draw(rows, window=window, colours=colours, names=names, title=title)
    said = "; ".join(f"{row} {name}".strip() for row, of_row in _nested(rows).items() for name in of_row)
    return notebook_display.Picture(figure, alt=f"{title or 'Maps'}: {said}")


def _nested(rows: Mapping) -> Mapping:
    return rows if all(isinstance(row, Mapping) for row in rows.values()) else {"": rows}


def draw(
    rows: Mapping,
    *,
    window: tuple[float, float] | str | None = None,
    colours: str = "grey",
    names: Mapping[str, tuple[Sequence[str], Sequence[str]]] | None = None,
    title: str = "",
) -> Figure:
    """The figure itself, without showing it."""
    if colours not in COLOURS:
        raise ValueError(f"colours={colours!r} is unknown. Choose one of {sorted(COLOURS)}.")
    drawn = {row: {name: _flat(name, values) for name, values in maps.items()} for row, maps in _nested(rows).items()}
    everything = [values for maps in drawn.values() for values in maps.values()]
    if not everything:
        raise ValueError("no map to draw. Pass {name: 2-D array}, or {row: {name: 2-D array}}.")
    if isinstance(window, str) and window != "each":
        raise ValueError(f"window={window!r} is unknown here: pass (lowest, highest), 'each' or nothing.")
    shared = window if isinstance(window, tuple) else _range(everything)
    columns, sizes = max(len(maps) for maps in drawn.values()), len({values.shape for values in everything})
    side = min(4.0 if names else 2.4, 9.6 / columns)
    with style.look():
        across = side * columns + 0.3 * any(drawn)
        said = textwrap.wrap(title, int(LETTERS * across))
        long = any(len(name) > LETTERS * 1.2 * side - 10 for maps in drawn.values() for name in maps)
        high = (side + 0.25 + 0.15 * long) * len(drawn) + 0.15 * len(said) + 0.09 * bool(said) - 0.08
        figure = style.sheet(across, high)
        grid = figure.subplots(len(drawn), columns, squeeze=False)
        for line, (row, maps_of_row) in zip(grid, drawn.items(), strict=True):
            for axes in line[len(maps_of_row) :]:
                axes.set_visible(False)
            for axes, (name, values) in zip(line, maps_of_row.items(), strict=False):
                low, high = _range([values]) if window == "each" else shared
                axes.imshow(values, cmap=COLOURS[colours], vmin=low, vmax=high, interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set(visible=True, color=style.FAINT)
                _label(axes, name, values.shape, *(names or {}).get(name, ()))
                told = sizes > 1 and name not in (names or {})  # lines and columns with names tell their number
                size = f"({' × '.join(map(str, values.shape))})" if told else ""
                axes.set_title(_title(name, size, max(12, int(LETTERS * 1.2 * side))), fontsize=8.5)
                if values.shape[1] <= WRITTEN:
                    letters = min(9.0, 0.38 * 72 * side / values.shape[1])  # a third of a pixel's width
                    _write(axes, values, (low + high) / 2, size=letters, zeros=name in (names or {}))
            line[0].set_ylabel(row, fontsize=9.5)
        if said:
            figure.suptitle("\n".join(said), x=0.01, ha="left", fontsize=9.5)
    return figure


def _title(name: str, size: str, letters: int) -> str:
    """Name and size of a map in one line, or in several that fit its width."""
    whole = f"{name}  {size}".strip()
    return whole if len(whole) <= letters else f"{textwrap.fill(name, letters)}\n{size}".strip()


def _flat(name: str, values: object) -> np.ndarray:
    """The map as a 2-D array; axes of length one in front of it are dropped."""
    detached = values.detach().cpu() if hasattr(values, "detach") else values
    array = np.asarray(detached, dtype=np.float32)
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2:
        raise ValueError(
            f"the map {name!r} has shape {array.shape}; a map is 2-D. Choose a slice and a channel first: x[0, 3]."
        )
    return array


def _range(arrays: list[np.ndarray]) -> tuple[float, float]:
    known = [values for a in arrays if (values := a[~np.isnan(a)]).size]
    low, high = min((float(a.min()) for a in known), default=0.0), max((float(a.max()) for a in known), default=0.0)
    return low, high if high > low else low + 1.0


def _label(axes, of: str, shape: tuple, lines: Sequence[str] = (), columns: Sequence[str] = ()) -> None:
    if (given := (len(lines), len(columns))) not in ((0, 0), shape):
        raise ValueError(
            f"names of {of!r}: {given[0]} for lines and {given[1]} for columns, but the map has {shape[0]} × "
            f"{shape[1]}. Pass one for each."
        )
    axes.set_yticks(range(len(lines)), lines, fontsize=8)
    axes.set_xticks(range(len(columns)), columns, fontsize=8, rotation=30, ha="right", rotation_mode="anchor")


def _write(axes, values: np.ndarray, middle: float, *, size: float, zeros: bool) -> None:
    """`zeros`: a cell of 0 is told too, where cells have names and an empty one means that there is none."""
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value) or (abs(value) < 0.005 and not zeros):
            continue
        text = f"{value:.2f}".removeprefix("0") if round(value, 2) % 1 else f"{value:.0f}"
        colour = "black" if value > middle else "white"
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
