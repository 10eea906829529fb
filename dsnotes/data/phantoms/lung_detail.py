"""What makes a lung look like one: vessels out to the pleura, bronchi beside them, fissures, lobules, breathing."""

from __future__ import annotations

import numpy as np

from dsnotes.data.phantoms.grid import Filled
from dsnotes.data.phantoms.implicit_shapes import ImplicitShape
from dsnotes.data.phantoms.scanner import AIR, LUNG, Canvas, bell, correlated
from dsnotes.data.phantoms.vessels import Segments, drawn, grown

LEAVES, THINNEST = 1000, 0.45  # vessels that end in the lungs, and their radius there in mm
FISSURE = 0.9  # mm with the fluid in it
BEFORE_FISSURE = 5.0  # mm on both sides without vessels
BRONCHI = ((1, 0.1, 0.5), (0.7, -0.8, 0.5), (0.3, 0.8, 0.8), (-0.1, -0.8, 0.9), (-1, 0.3, 0.5), (-0.8, -0.5, 0.7))


def paint_detail(
    canvas: Canvas, inner: Filled, lungs: ImplicitShape, trunk: Segments, blood: float, rng: np.random.Generator
) -> None:
    """Everything but the large vessels `trunk`, which are drawn already."""
    z, y, x = canvas.grid.axes(inner.window)
    lobules = 12 * correlated(rng, inner.share.shape, tuple(7 / e if e else 0 for e in canvas.grid.extent))
    canvas.image[inner.window] += inner.share * lobules
    fissures = _fissures(rng)
    cell = max(canvas.grid.thinnest, FISSURE)
    sheet = np.clip(1 - np.abs(fissures(z, y, x)) / cell, 0, 1) * FISSURE / cell
    canvas.mix(inner._replace(share=sheet * (inner.distance < -1)), LUNG + 420)
    ends = rng.uniform(lungs.low, lungs.high, (6 * LEAVES, 3))
    clear = (lungs.distance(*ends.T) < -2.5) & (np.abs(fissures(*ends.T)) > BEFORE_FISSURE)
    canvas.blend(drawn(supplied(rng, trunk, ends[clear][:LEAVES]), canvas.grid), min(blood, 140.0) * 0.8)
    _paint_bronchi(canvas, lungs, rng)
    _breathe(canvas, rng)


def _fissures(rng: np.random.Generator):
    """Distance in mm from the nearest fissure: oblique on both sides, horizontal in front of it on the right."""
    height, bend, phase = rng.normal((4, -2, 10), 5), rng.uniform(4, 9, 3), rng.uniform(0, 6, 3)

    def distance(z, y, x):
        left = x > 0
        ripple = [b * np.sin(x / 34 + z / 60 + p) for b, p in zip(bend, phase, strict=True)]
        oblique = 0.77 * (z - np.where(left, height[0], height[1])) - 0.64 * y + np.where(left, ripple[0], ripple[1])
        level = z - height[2] + 0.25 * y + ripple[2]
        horizontal = np.where((oblique > 0) & ~left, level, 1e3)
        return np.where(np.abs(horizontal) < np.abs(oblique), horizontal, oblique)

    return distance


def supplied(rng: np.random.Generator, trunk: Segments, ends: np.ndarray, *, rounds: int = 8) -> Segments:
    """A branch from the nearest vessel to each of `ends`, near ones first; its radius obeys Murray's law."""
    from scipy.spatial import cKDTree

    nodes = trunk.end
    first = len(nodes)
    order = np.argsort(cKDTree(nodes).query(ends)[0])
    parents = np.full(first, -1)
    for some in np.array_split(ends[order], rounds):
        _, near = cKDTree(nodes).query(some)
        middle = (nodes[near] + some) / 2 + rng.normal(0, 0.09, some.shape) * np.linalg.norm(
            some - nodes[near], axis=1, keepdims=True
        )
        joints = len(nodes) + np.arange(len(some))
        nodes, parents = np.concatenate([nodes, middle, some]), np.concatenate([parents, near, joints])
    cubes = np.full(len(nodes), 0.0)
    leaves = np.setdiff1d(np.arange(first, len(nodes)), parents)
    cubes[leaves] = THINNEST**3
    for node in range(len(nodes) - 1, first - 1, -1):
        cubes[parents[node]] += cubes[node]
    radii, new = np.cbrt(cubes), np.arange(first, len(nodes))
    return Segments(nodes[parents[new]], nodes[new], np.minimum(radii[new] * 1.06, 3.0), np.minimum(radii[new], 3.0))


def _paint_bronchi(canvas: Canvas, lungs: ImplicitShape, rng: np.random.Generator) -> None:
    """Air in a wall about a fifth of its width, from the ends of the main bronchi."""

    def inside(z, y, x):
        return lungs.distance(z, y, x) + 12

    ways = np.concatenate([np.array(BRONCHI) * (1, 1, side) for side in (-1, 1)])
    roots = np.array([(-10, 9, 45 * side) for side in (-1, 1) for _ in BRONCHI]) + rng.normal(0, 2.5, ways.shape)
    tree = grown(
        rng, roots, ways, rng.uniform(2.3, 3.1, len(ways)), inside=inside, generations=6, free=1, length=(4.0, 6.5)
    )
    walls = Segments(tree.start, tree.end, 1.25 * tree.first + 0.5, 1.25 * tree.last + 0.5)
    canvas.blend(drawn(walls, canvas.grid), 0.0)
    canvas.blend(drawn(tree, canvas.grid), AIR + 20)


def _breathe(canvas: Canvas, rng: np.random.Generator) -> None:
    """Blur along z that grows towards the diaphragm, up to 3 mm (SD): breath held well, or not so well."""
    from scipy.ndimage import correlate1d

    moved, dz = rng.uniform(0.3, 3.0), canvas.grid.extent[0]
    blurred = correlate1d(canvas.image, bell(moved / dz), 0, mode="nearest")
    weight = np.clip(np.exp(-(canvas.grid.axes()[0] + 60) / 45), 0, 1)
    canvas.image += weight * (blurred - canvas.image)
