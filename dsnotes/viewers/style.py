"""The look that every figure shares: explicit colours that read on a light and a dark page, and without colour.

Colours are those of Okabe & Ito (2008), https://jfly.uni-koeln.de/color/, told apart by colour-blind readers; each
comes with a line style of its own, so that a grey print still tells two curves apart.
"""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BACKGROUND, FOREGROUND, FAINT, GRID = "#ffffff", "#1f2328", "#6e7781", "#d8dee4"
ORANGE, SKY, GREEN, YELLOW = "#e69f00", "#56b4e9", "#009e73", "#f0e442"
BLUE, VERMILION, PURPLE = "#0072b2", "#d55e00", "#cc79a7"

ON_GREY = (ORANGE, SKY, YELLOW, PURPLE, GREEN, VERMILION, BLUE)  # over a scan, with a dark edge
ON_BACKGROUND = (BLUE, VERMILION, GREEN, PURPLE, FOREGROUND, ORANGE, SKY)  # over white
DASHES = (
    "-",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (9, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (2, 3)),
)

DPI = 144  # twice a notebook's 72 points an inch: sharp on a dense screen, and still a small file

LOOK = {
    "figure.facecolor": BACKGROUND,
    "savefig.facecolor": BACKGROUND,
    "axes.facecolor": BACKGROUND,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": FOREGROUND,
    "axes.titlecolor": FOREGROUND,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": FOREGROUND,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": FOREGROUND,
    "ytick.labelcolor": FOREGROUND,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same letters on every machine
    "font.size": 9,
    "text.parse_math": False,  # a name with dollar signs is a name and no formula
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "hatch.linewidth": 0.8,
}


def stroke(number: int) -> dict[str, object]:
    """Colour and dash of the line of this number: seven colours go round with other dashes, so that no two agree."""
    turn, place = divmod(number, len(ON_BACKGROUND))
    return {"color": ON_BACKGROUND[place], "linestyle": DASHES[(place + turn) % len(DASHES)]}


def look() -> AbstractContextManager:
    """Draw inside this, whatever style the reader has set: dark letters on a white card."""
    import matplotlib

    return matplotlib.rc_context(LOOK)


def log_scale(axes: Axes) -> None:
    """A logarithmic ordinate with plain numbers: 0.01 for 1e−02."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, value: float, place: int | None = None) -> str:
            return f"{value:g}" if super().__call__(value, place) else ""  # not every tick has room for a number

    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(Plain())
    axes.yaxis.set_minor_formatter(Plain(labelOnlyBase=False))


def sheet(width: float, height: float) -> Figure:
    """An empty figure in inches. It is not known to pyplot, so nothing shows it twice and nothing keeps it alive."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def png(figure: Figure) -> bytes:
    """As `savefig` writes it, but drawn once: `savefig` draws everything a first time only to place the axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    before = figure.dpi
    with look():
        try:
            figure.dpi = DPI
            FigureCanvasAgg(figure).print_png(buffer)
        finally:
            figure.dpi = before
    return buffer.getvalue()
