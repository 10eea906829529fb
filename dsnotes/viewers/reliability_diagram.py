"""Reliability diagrams: how often voxels are lesion, against the probability that the network gave them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from dsnotes.viewers import notebook_display, style

if TYPE_CHECKING or "torch" in sys.modules:  # `dsnotes adopt` draws without it
    from dsnotes.metrics.calibration import Reliability

SIDE = 3.4
COLUMNS = 3


def reliability_diagram(
    found: Reliability | Mapping[str, Reliability],
    *,
    x: str = "probability",
    y: str = "share of lesion",
    title: str = "",
) -> notebook_display.Picture:
    """One panel per `{name: metrics.reliability(…)}`: frequencies with intervals, and the voxels per bin.

    A point below the diagonal is a bin whose probabilities are too high.
    """
    curves = dict(found) if isinstance(found, Mapping) else {"": found}
    if not curves:
        raise ValueError("nothing to draw. Pass reliability(p, t), or {name: reliability(p, t), …}.")
    top = 10.0 ** np.ceil(np.log10(max(curve.count.max() for curve in curves.values()) + 1))
    with style.look():
        columns = min(len(curves), COLUMNS)
        rows = -(-len(curves) // columns)
        figure = style.sheet(max(SIDE * columns, 4.0), rows * (SIDE + 1.3))
        grid = figure.subplots(2 * rows, columns, squeeze=False, sharex=True, sharey="row", height_ratios=(4, 1) * rows)
        above, under = grid[::2].ravel(), grid[1::2].ravel()
        for unused in (*above[len(curves) :], *under[len(curves) :]):
            unused.remove()
        for index, ((name, curve), axes, below) in enumerate(zip(curves.items(), above, under, strict=False)):
            colour, marker = style.ON_BACKGROUND[index % len(style.ON_BACKGROUND)], "osD^vPX"[index % 7]
            axes.plot([0, 1], [0, 1], color=style.FAINT, linewidth=1, linestyle=style.DASHES[1])
            reach = np.abs(np.stack([curve.low, curve.high]) - curve.frequency)
            axes.errorbar(curve.confidence, curve.frequency, reach, color=colour, marker=marker, ms=4, capsize=2)
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
            axes.set_title(f"{name}  ECE {curve.error:.3f}".strip(), loc="left")
            axes.grid(True)
            low, high = curve.edges.T
            below.bar(
                low, curve.count, high - low, align="edge", color=colour, alpha=0.5, edgecolor=style.FOREGROUND, lw=0.5
            )
            below.set(xlabel=x, yscale="log", ylim=(0.8, top))
            below.tick_params(labelbottom=True)
        for row in range(rows):
            grid[2 * row, 0].set_ylabel(y)
            grid[2 * row + 1, 0].set_ylabel("voxels")
            style.log_scale(grid[2 * row + 1, 0])
            grid[2 * row + 1, 0].yaxis.set_minor_formatter("")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    errors = "; ".join(f"{name} expected calibration error {curve.error:.3f}".strip() for name, curve in curves.items())
    return notebook_display.Picture(figure, alt=f"{title or 'Reliability diagram'}: {errors}")
