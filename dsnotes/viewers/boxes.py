"""Box plots with every case drawn as a point, so that the number of cases is visible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dsnotes.viewers import notebook_display, style


def boxes(
    groups: Mapping[str, Mapping[str, Sequence | np.ndarray]],
    *,
    y: str = "",
    title: str = "",
    limits: tuple[float, float] | None = None,
) -> notebook_display.Picture:
    """`{group: {series: values}}`: one box per group and series, side by side in a group, with a marker per series.

    The box spans the quartiles with a line at the median; the whiskers reach the farthest case within 1.5 box lengths.
    """
    series = list(dict.fromkeys(name for group in groups.values() for name in group))
    if not series or not all(len(values) for group in groups.values() for values in group.values()):
        raise ValueError("nothing to draw. Pass {group: {series: values}}, with at least one value each.")
    width = 0.8 / len(series)
    spread = np.random.default_rng(0)  # jitter, so that equal points do not overlap
    with style.look():
        figure = style.sheet(max(4.5, 1.1 + 0.55 * len(series) * len(groups)), 3.2)
        axes = figure.subplots()
        for index, name in enumerate(series):
            colour, marker = style.ON_BACKGROUND[index % len(style.ON_BACKGROUND)], "osD^vPX"[index % 7]
            for at, group in enumerate(groups.values()):
                if name not in group:
                    continue
                values = np.asarray(group[name], float)
                centre = at + (index - (len(series) - 1) / 2) * width
                axes.boxplot(
                    values,
                    positions=[centre],
                    widths=0.75 * width,
                    showfliers=False,
                    medianprops={"color": colour, "linewidth": 2},
                    boxprops={"color": colour},
                    whiskerprops={"color": colour},
                    capprops={"color": colour},
                )
                x = centre + spread.uniform(-0.2, 0.2, len(values)) * width
                axes.plot(x, values, marker, color=colour, markersize=3.5, alpha=0.6, linestyle="none")
            axes.plot([], [], marker, color=colour, label=name, linestyle="none")
        axes.set_xticks(range(len(groups)), list(groups))
        axes.set(ylabel=y, xlim=(-0.6, len(groups) - 0.4))
        if limits is not None:
            axes.set_ylim(*limits)
        axes.grid(axis="y")
        axes.set_title(title, loc="left")
        if len(series) > 1:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    medians = "; ".join(
        f"{group} {name}: median {np.median(values):.3g}" for group, of in groups.items() for name, values in of.items()
    )
    return notebook_display.Picture(figure, alt=f"{title or y or 'Box plots'}. {medians}")
