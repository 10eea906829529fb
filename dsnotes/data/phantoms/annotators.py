"""Simulated annotations of a nodule: four outlines that disagree, and the two RECIST diameters."""

from __future__ import annotations

import numpy as np

from dsnotes.data.phantoms.grid import Grid
from dsnotes.data.phantoms.implicit_shapes import ImplicitShape, rippled

# Bias of each reader in mm: how far outside (+) or inside (-) of the true surface they draw on average.
ANNOTATOR_BIAS = (0.30, 0.05, 0.10, -0.35)
PER_PIXEL = 8  # how finely the true outline is sampled for the diameters


def outlines(
    form: ImplicitShape,
    core: ImplicitShape,
    grid: Grid,
    rng: np.random.Generator,
    *,
    diameter: float,
    doubt: float = 1,
) -> np.ndarray:
    """Four masks (4, *grid): each reader shifts the surface by a fixed bias, a random offset and smooth waves, and
    follows spikes (where the form has more than its core) to the end or cuts them short. `doubt` scales the
    disagreement."""
    masks = np.zeros((len(ANNOTATOR_BIAS), *grid.size), np.uint8)
    for mask, bias in zip(masks, ANNOTATOR_BIAS, strict=True):
        offset = doubt * (bias + rng.normal(0, 0.16 + 0.022 * diameter))
        follows = rng.uniform(0, 1)
        seen = ImplicitShape(
            lambda *p, w=follows: w * form.distance(*p) + (1 - w) * core.distance(*p), form.low, form.high
        )
        drawn = rippled(seen, rng, height=doubt * (0.15 + 0.022 * diameter), wave=1.1 * diameter)
        reach = drawn.grown(offset + 1)
        window = grid.window(reach.low, reach.high)
        mask[window] = drawn.distance(*grid.axes(window)) < offset
    return masks


def diameters(form: ImplicitShape, grid: Grid, depth: int) -> dict:
    """RECIST 1.1 on the true outline in one slice: the longest diameter, and the longest chord perpendicular to it.

    End points are (row, column) in voxels; `long_mm` and `short_mm` their lengths.
    """
    from scipy.ndimage import label

    z = grid.axes()[0].ravel()[depth]
    _, rows, columns = grid.window(form.low, form.high)
    lines = []
    for cut, step, n in zip((rows, columns), grid.spacing[1:], grid.size[1:], strict=True):
        fine = np.arange(cut.start * PER_PIXEL, cut.stop * PER_PIXEL)
        lines.append(((fine + 0.5) / PER_PIXEL - 0.5 - (n - 1) / 2) * step)
    inside = form.distance(np.full((1, 1), z), lines[0][:, None], lines[1][None, :]) < 0
    parts, count = label(inside)
    if count > 1:
        inside = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    points = np.stack([line[i] for line, i in zip(lines, np.nonzero(inside), strict=True)], 1)  # mm
    turns = np.linspace(0, np.pi, 361)[:-1]
    ways = np.stack([np.sin(turns), np.cos(turns)])
    heights = points @ ways
    widest = int(np.argmax(np.ptp(heights, axis=0)))
    ends = points[heights[:, widest].argmax()], points[heights[:, widest].argmin()]
    long = ends[0] - ends[1]
    along = long / np.linalg.norm(long)
    across = np.array([-along[1], along[0]])
    step = min(grid.spacing[1:]) / PER_PIXEL
    u, v = (points - ends[1]) @ along, (points - ends[1]) @ across
    level = np.floor(u / step).astype(int) - int(np.floor(u.min() / step))
    high, low = np.full(level.max() + 1, -np.inf), np.full(level.max() + 1, np.inf)
    np.maximum.at(high, level, v)
    np.minimum.at(low, level, v)
    best = int(np.argmax(high - low))
    foot = ends[1] + along * ((best + 0.5 + np.floor(u.min() / step)) * step)
    short = foot + across * high[best], foot + across * low[best]

    def pixels(point):
        return tuple(float(p / s + (n - 1) / 2) for p, s, n in zip(point, grid.spacing[1:], grid.size[1:], strict=True))

    return {
        "long_axis": tuple(pixels(p) for p in ends),
        "short_axis": tuple(pixels(p) for p in short),
        "long_mm": float(np.linalg.norm(long)),
        "short_mm": float(high[best] - low[best]),
    }
