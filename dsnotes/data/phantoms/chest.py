"""The chest around the tumours: lungs, rib cage, mediastinum, abdomen below the diaphragm, bones, vessels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dsnotes.data.phantoms.grid import Filled, filled
from dsnotes.data.phantoms.implicit_shapes import (
    EVERYWHERE,
    ImplicitShape,
    capsule,
    chain,
    ellipsoid,
    rippled,
    smooth_minimum,
    union,
    within,
)
from dsnotes.data.phantoms.lung_detail import paint_detail
from dsnotes.data.phantoms.scanner import AIR, FAT, LUNG, MARROW, MUSCLE, Canvas, correlated
from dsnotes.data.phantoms.torso import (
    barrel,
    paint_hollow_organ,
    paint_ribs,
    paint_spine,
    paint_table,
    paint_wall,
    ribs,
)
from dsnotes.data.phantoms.vessels import Segments, drawn, grown

SPINE = 42.0  # y of the vertebral bodies' centre


class Chest(NamedTuple):
    cage: ImplicitShape  # the inside of the ribs
    lungs: ImplicitShape  # the cage without mediastinum and what lies below the diaphragm
    wide: float  # half axes of the cage at its widest
    deep: float


def chest(rng: np.random.Generator) -> Chest:
    wide, deep, top = 106 * rng.uniform(0.96, 1.05), 78 * rng.uniform(0.94, 1.06), 110 + rng.uniform(-4, 6)

    def cage(z, y, x):  # upright below z = -30, a dome above
        above, below = np.maximum(z + 30, 0), np.minimum(z + 30, 0)
        flat = ((x / (wide * (1 + 5e-4 * below))) ** 2 + ((y - 2) / (deep * (1 + 3e-4 * below))) ** 2) ** 1.2
        level = (flat + (above / (top + 30)) ** 2.4) ** (1 / 2.4) + 1e-9
        return np.sqrt(x * x + (y - 2) ** 2 + above * above) * (1 - 1 / level)

    parts = [
        ellipsoid(
            (-46 + rng.normal(0, 4), -22 + rng.normal(0, 2), 17 + rng.normal(0, 4)), (48, 38, 52), (0.5, 0.15, 0.2)
        ),
        ellipsoid((45, -6, 1), (85, 36, 27 + rng.normal(0, 2))),
        ellipsoid((15, -58, 2), (110, 32, 9)),
        ellipsoid((0, SPINE, 3), (400, 24, 24)),
        ellipsoid((5, 4, -32), (24, 15, 15)),
        ellipsoid((10, 6, 34), (22, 15, 14)),
    ]  # heart, great vessels, retrosternal strip, spine with aorta, the two hila
    middle = rippled(union(parts, melt=14), rng, height=1.5, wave=60)
    right, left, bulge = -44 + rng.normal(0, 4), -54 + rng.normal(0, 4), rng.uniform(0.010, 0.014)

    def domes(z, y, x):
        side = np.where(x < 0, x + 52, x - 52)
        return (np.where(x < 0, right, left) - bulge * (side * side + 0.7 * (y + 5) ** 2) - z) / 1.25

    def lungs(z, y, x):
        beside = -smooth_minimum(-cage(z, y, x), middle.distance(z, y, x), 8)
        return -smooth_minimum(-beside, -domes(z, y, x), 5)

    low, high = (-128.0, -deep - 4, -wide - 4), (top + 6.0, deep + 8, wide + 4)
    return Chest(ImplicitShape(cage, *EVERYWHERE), ImplicitShape(lungs, low, high), wide, deep)


def paint_chest(
    canvas: Canvas, body: Chest, rng: np.random.Generator, lattice: np.random.Generator, detail: np.random.Generator
) -> Filled:
    """Paint everything but the tumours; returns the voxels filled by the lungs."""
    cage, lungs, wide, deep = body
    blood = rng.uniform(120, 210) if rng.random() < 0.6 else 42.0  # with or without contrast
    paint_table(canvas, deep + 25)
    outline = rippled(barrel(2.0, wide + 21, deep + 17), rng, height=1.0, wave=120)
    paint_wall(canvas, outline, barrel(3.0, wide + 14.5, deep + 11.5), rng)
    _paint_shoulders(canvas, body, outline, rng)
    canvas.paint(cage, FAT + 10)
    _paint_belly(canvas, cage, rng)
    _paint_middle(canvas, blood, rng)
    paint_spine(canvas, rng, y=SPINE, radii=(13, 16), pitch=24)
    rods = ribs(cage, pitch=27, shift=rng.uniform(0, 27), thick=6.5, tall=13, slope=0.55, clear=2.0, droop=0.04)
    paint_ribs(canvas, rods, front=-deep * 0.72)
    canvas.paint_hollow(ellipsoid((20, -deep - 1.5, 0), (80, 6, 15)), 420.0, 2.2, MARROW - 60)

    inner = filled(lungs, canvas.grid)
    z, y, x = canvas.grid.axes(inner.window)
    air = LUNG + rng.normal(0, 15) + 0.35 * y - 0.1 * z
    air = air + 100 * np.exp(np.minimum(inner.distance, 0) / 4.5) * np.clip((y - 25) / 45, 0, 1)  # denser at the back
    air = air + 24 * correlated(lattice, air.shape, 0.9) + 16 * correlated(lattice, air.shape, 2.5)
    canvas.mix(inner, air)
    paint_detail(canvas, inner, lungs, _paint_tree(canvas, lungs, blood, rng), blood, detail)
    return inner


def _paint_shoulders(canvas: Canvas, body: Chest, outline: ImplicitShape, rng: np.random.Generator) -> None:
    """Paint fat between the muscles around the armpits, shoulder blades, collar bones."""
    for side in (-1, 1):
        for _ in range(7):
            pad = (rng.uniform(30, 130), rng.uniform(-60, 60), rng.uniform(60, 118) * side)
            shape = ellipsoid(pad, (rng.uniform(20, 40), rng.uniform(3, 6), rng.uniform(12, 26)), rng.normal(0, 0.7, 3))
            canvas.paint(within(shape, outline, reach=-5), FAT + 10)
        reach = ellipsoid((62, 50, 80 * side), (44, 36, 36), (0, 0.1 * side, 0))
        sheet = ImplicitShape(lambda z, y, x: np.abs(body.cage.distance(z, y, x) - 15) - 2.2, *EVERYWHERE)
        canvas.paint(within(reach, sheet), 430.0)
        canvas.paint(capsule((92, -body.deep * 0.62, 14 * side), (106, -12, 92 * side), 5.5), 480.0)


def _paint_belly(canvas: Canvas, cage: ImplicitShape, rng: np.random.Generator) -> None:
    """Paint liver, spleen and stomach with gas; the lungs are painted later and cut the domes of the diaphragm."""
    liver, spleen = rng.normal(130, 12), rng.normal(95, 7)
    lobe = rippled(ellipsoid((-100, -4, -42), (66, 76, 84)), rng, height=2, wave=70)
    canvas.paint(within(lobe, cage, reach=-3), liver)
    canvas.paint(within(ellipsoid((-112, 38, 76), (48, 34, 26), (0.5, 0, 0)), cage, reach=-3), spleen)
    stomach = within(ellipsoid((-105, -18, 52), (42, 36, 34), (0.3, 0, 0.2)), cage, reach=-3)
    paint_hollow_organ(canvas, stomach, MUSCLE, 35.0, thick=4, gas=0.42)


def _paint_middle(canvas: Canvas, blood: float, rng: np.random.Generator) -> None:
    """Paint heart, great vessels, trachea and oesophagus in mediastinal fat."""
    heart = rippled(ellipsoid((-46, -22, 17), (45, 35, 49), (0.5, 0.15, 0.2)), rng, height=1.5, wave=50)
    canvas.paint(heart, min(blood, 95.0))
    for centre, radii in (((-48, -14, 36), (30, 17, 21)), ((-50, -30, -6), (32, 17, 22)), ((-22, 4, 6), (20, 13, 25))):
        canvas.paint(ellipsoid(centre, radii, (0.5, 0, 0)), blood)
    aorta = [(-20, -12, 4), (30, -20, -8), (50, -8, 2), (54, 12, 14), (36, 30, 23), (-10, 28, 20), (-140, 22, 14)]
    canvas.paint(chain(aorta, [13, 13.5, 12.5, 12, 11.5, 11, 10], melt=8), blood)
    canvas.paint(chain([(75, -16, -18), (-20, -10, -24)], [7, 8.5]), blood * 0.95)  # superior vena cava
    canvas.paint(chain([(-5, -32, 10), (16, -14, 20), (14, 2, 36)], [12, 11, 8], melt=6), blood)  # pulmonary arteries
    canvas.paint(chain([(16, -12, 18), (10, -2, -10), (6, 2, -34)], [9, 8.5, 7], melt=6), blood)
    canvas.paint(chain([(140, 22, 3), (-60, 22, 6), (-140, 4, 18)], [6, 6, 8]), MUSCLE - 12)  # oesophagus
    fork = (28, 11, 1)
    tubes = (
        ([(150, 6, 0), fork], [8.5, 8.0]),
        ([fork, (6, 8, -34), (-12, 8, -44)], [6.5, 5.5, 3.5]),
        ([fork, (10, 10, 34), (-12, 10, 46)], [6, 5, 3.2]),
    )
    for points, radii in tubes:
        canvas.paint(chain(points, [r + 1.6 for r in radii]), MUSCLE)
    for points, radii in tubes:
        canvas.paint(chain(points, radii), AIR + 10)


# Directions in which the lungs' vessels leave a hilum, from upwards to downwards (z, y, outwards).
WAYS = ((1, -0.2, 0.5), (1, 0.6, 0.5), (0.6, -0.9, 0.5), (0.4, -0.8, 0.7), (0.4, 0.9, 0.7), (0.1, 0.2, 1),
        (0, -0.9, 0.6), (-0.3, 0.9, 0.5), (-1, 0.7, 0.5), (-1, 0, 0.7), (-0.8, -0.5, 0.6), (-0.7, 0.3, 1))  # fmt: skip


def _paint_tree(canvas: Canvas, lungs: ImplicitShape, blood: float, rng: np.random.Generator) -> Segments:
    def inside(z, y, x):
        return lungs.distance(z, y, x) + 2.5

    ways = np.concatenate([np.array(WAYS) * (1, 1, side) for side in (-1, 1)])
    roots = np.array((4, 6, 33)) * np.sign(ways * (0, 0, 1)) + (4, 6, 0) + rng.normal(0, (9, 5, 3), ways.shape)
    radii = rng.uniform(3.8, 5.4, len(ways))
    tree = grown(rng, roots, ways, radii, inside=inside, generations=9, free=2, length=(2.4, 4.6))
    canvas.blend(drawn(tree, canvas.grid), min(blood, 140.0) * 0.8)
    return tree
