"""Forest plot: the effect of each change with its interval, and the difference of every seed."""

from __future__ import annotations

from collections.abc import Mapping

from dsnotes.metrics.effects import Effect
from dsnotes.viewers import notebook_display, style


def forest_plot(effects: Mapping[str, Effect], *, reference: str, title: str = "") -> notebook_display.Picture:
    """One row per effect: a point per seed, a square for their mean, and its interval over cases and seeds.

    `reference` names what the others are compared with; `title` begins the text alternative.
    """
    with style.look():
        figure = style.sheet(6.4, 1.1 + 0.4 * max(len(effects), 1))
        axes = figure.subplots()
        points, means = style.ON_BACKGROUND[:2]
        for row, found in enumerate(effects.values()):
            interval = [[found.mean - found.low], [found.high - found.mean]]
            axes.errorbar(found.mean, row, xerr=interval, fmt="s", mfc="none", color=means, capsize=4, markersize=9)
            axes.plot(found.by_seed, [row] * len(found.by_seed), "o", color=points, markersize=4)
        axes.axvline(0, color="gray", linewidth=1, linestyle=":")
        axes.set_yticks(range(len(effects)), list(effects))
        axes.set_ylim(max(len(effects), 1) - 0.5, -0.5)
        axes.set_xlabel(f"Dice, difference from {reference!r}")
        axes.grid(axis="x")
    in_words = "; ".join(f"{row} {found.verdict()}" for row, found in effects.items()) or "no effects"
    return notebook_display.Picture(figure, alt=f"{title} {in_words}".strip())
