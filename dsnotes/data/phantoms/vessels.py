"""Vessel trees that branch and taper, grown in mm and drawn in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dsnotes.data.phantoms.grid import Grid
from dsnotes.data.phantoms.implicit_shapes import Vector


@dataclass(frozen=True)
class Segments:
    """Straight tapering segments: ends (S, 3) in mm, radii (S,)."""

    start: np.ndarray
    end: np.ndarray
    first: np.ndarray
    last: np.ndarray

    def joined(self, *others: Segments) -> Segments:
        names = ("start", "end", "first", "last")
        return Segments(*(np.concatenate([getattr(s, name) for s in (self, *others)]) for name in names))

    def cut(self, voxel: float) -> Segments:
        """Halve long segments until each is about as long as wide, or a few voxels, to keep their windows small."""
        thick = np.maximum(np.maximum(self.first, self.last), voxel)
        long = np.linalg.norm(self.end - self.start, axis=1) > 4 * thick
        if not long.any():
            return self
        a, b, p, q = (v[long] for v in (self.start, self.end, self.first, self.last))
        middle, mean = (a + b) / 2, (p + q) / 2
        kept = Segments(*(v[~long] for v in (self.start, self.end, self.first, self.last)))
        return kept.joined(Segments(a, middle, p, mean).cut(voxel), Segments(middle, b, mean, q).cut(voxel))


def grown(
    rng: np.random.Generator,
    roots: Sequence[Vector] | np.ndarray,
    directions: Sequence[Vector] | np.ndarray,
    radii: Vector,
    *,
    inside: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    generations: int = 7,
    free: int = 0,
    length: tuple[float, float] = (3.5, 7.0),
    wander: float = 0.25,
) -> Segments:
    """Each branch splits in two; radii obey Murray's law r³ = r₁³ + r₂³, and the thinner branch turns more.

    `inside(z, y, x)` is a distance in mm, negative where vessels may run after the first `free` generations; `length`
    is in units of the branch's radius.
    """
    start, way, radius = (np.asarray(v, float) for v in (roots, directions, radii))
    way = way / np.linalg.norm(way, axis=1, keepdims=True)
    found = []
    for generation in range(generations):
        if not len(start):
            break
        n = len(start)
        way = way + wander * rng.standard_normal((n, 3))
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        end = start + way * (radius * rng.uniform(*length, n) + 2.0)[:, None]
        share = rng.uniform(0.55, 0.93, n)  # the thicker child's radius
        other = np.cbrt(1 - share**3)
        side = rng.standard_normal((n, 3))
        side -= (side * way).sum(1, keepdims=True) * way
        side /= np.linalg.norm(side, axis=1, keepdims=True)
        allowed = (inside(*end.T) < 0) | (generation < free)
        found.append(Segments(start, end, radius, radius * 0.93))
        children = []
        for part, sign in ((share, 1.0), (other, -1.0)):
            bend = np.radians(12 + 55 * (1 - part))[:, None]
            children.append((end, np.cos(bend) * way + sign * np.sin(bend) * side, radius * part))
        start, way, radius = (np.concatenate([c[i] for c in children])[np.tile(allowed, 2)] for i in range(3))
    return found[0].joined(*found[1:])


def drawn(segments: Segments, grid: Grid) -> np.ndarray:
    """The share of each voxel inside any tube (a tube thinner than a voxel fills πr² of it)."""
    extent = np.asarray(grid.extent)
    voxel = float(np.mean(extent[extent > 0]))
    segments = segments.cut(voxel)
    thick = np.maximum(segments.first, segments.last)
    keep = thick > 0.15 * voxel
    start, end, first, last = (v[keep] for v in (segments.start, segments.end, segments.first, segments.last))
    canvas = np.zeros(int(np.prod(grid.size)))
    origin = np.asarray([grid.voxel((0, 0, 0))])
    spacing = np.asarray(grid.spacing)
    reach = np.maximum(first, last)[:, None] + voxel
    low = np.floor((np.minimum(start, end) - reach) / spacing + origin).astype(int)
    high = np.ceil((np.maximum(start, end) + reach) / spacing + origin).astype(int)
    low, high = np.maximum(low, 0), np.minimum(high, np.asarray(grid.size) - 1)
    spans = high - low + 1
    seen = (spans > 0).all(1)
    volume = np.where(seen, spans.prod(1), 0)
    for some in np.array_split(np.argsort(volume), max(1, len(volume) // 48)):  # segments of similar size together
        some = some[seen[some]]
        if not len(some):
            continue
        steps = [low[some, axis, None] + np.arange(spans[some, axis].max()) for axis in range(3)]
        shapes = ((len(some), -1, 1, 1), (len(some), 1, -1, 1), (len(some), 1, 1, -1))
        index = [step.reshape(shape) for step, shape in zip(steps, shapes, strict=True)]
        inside = True
        for axis in range(3):
            inside = inside & (index[axis] < grid.size[axis])
            index[axis] = np.minimum(index[axis], grid.size[axis] - 1)
        each = (slice(None), None, None, None)
        p = [(index[i] - origin[0, i]) * spacing[i] - start[some, i][each] for i in range(3)]
        along = [(end - start)[some, i][each] for i in range(3)]
        square = np.maximum(sum(a * a for a in along), 1e-9)
        t = np.clip(sum(a * b for a, b in zip(p, along, strict=True)) / square, 0, 1)
        gap = np.sqrt(sum((a - t * b) ** 2 for a, b in zip(p, along, strict=True)))
        radius = first[some][each] + (last - first)[some][each] * t
        share = np.clip(0.5 + (radius - gap) / voxel, 0, 1) * np.minimum(1, np.pi * (radius / voxel) ** 2) * inside
        flat = (index[0] * grid.size[1] + index[1]) * grid.size[2] + index[2]
        np.maximum.at(canvas, np.broadcast_to(flat, share.shape).ravel(), share.ravel())
    return canvas.reshape(grid.size)
