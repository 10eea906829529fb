"""The abdomen round the organs of interest: wall, spine, great vessels, liver, spleen, bowel, and the kidneys.

Heights are relative to the centre of the kidneys, which is `level` mm above the centre of the field of view.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dsnotes.data.phantoms.grid import filled
from dsnotes.data.phantoms.implicit_shapes import (
    EVERYWHERE,
    ImplicitShape,
    Vector,
    chain,
    ellipsoid,
    rippled,
    within,
    without,
)
from dsnotes.data.phantoms.scanner import BOWEL, FAT, FLUID, MUSCLE, Canvas, correlated
from dsnotes.data.phantoms.torso import barrel, paint_hollow_organ, paint_ribs, paint_spine, paint_wall, ribs
from dsnotes.data.phantoms.vessels import drawn, grown

SPINE = 33.0  # y of the vertebral bodies' centre


class Kidney(NamedTuple):
    form: ImplicitShape  # parenchyma: the hull without the sinus
    hull: ImplicitShape
    centre: np.ndarray
    facing: np.ndarray  # direction of the hilum


def paint_belly(
    canvas: Canvas, rng: np.random.Generator, lattice: np.random.Generator, *, level: float, blood: float
) -> None:
    """Paint everything but kidneys and pancreas, which are painted afterwards, over it."""
    up = np.array((level, 0, 0))
    thick = rng.uniform(7, 15)
    paint_wall(canvas, barrel(0, 160, 99, 2.6), barrel(1, 160 - thick, 99 - thick, 2.6), rng)
    cavity = rippled(barrel(-12, 143 - thick, 84 - thick, 2.6), rng, height=1.5, wave=80)
    canvas.paint(cavity, FAT + rng.normal(0, 5))
    _paint_muscles(canvas, up, rng)
    paint_spine(canvas, rng, y=SPINE, radii=(16, 21), pitch=33)
    rods = ribs(cavity, pitch=34, shift=rng.uniform(0, 34), thick=7, tall=12, slope=0.5, clear=2.5, droop=0.65)
    last = ImplicitShape(
        lambda z, y, x: np.maximum(level + 8 - z, 5 - y) + 0 * x, (float(level), -5.0, -1e4), (1e4,) * 3
    )
    paint_ribs(canvas, within(last, rods))
    _paint_liver_and_spleen(canvas, cavity, up, blood, rng)
    _paint_bowel(canvas, cavity, up, rng, lattice)
    _paint_great_vessels(canvas, up, blood, rng)


def _paint_muscles(canvas: Canvas, up: np.ndarray, rng: np.random.Generator) -> None:
    lean = MUSCLE + rng.normal(0, 6)
    for side in (-1, 1):
        psoas = [
            np.add(up, (75, SPINE + 6, 19 * side)),
            np.add(up, (0, SPINE + 4, 31 * side)),
            np.add(up, (-110, SPINE - 8, 47 * side)),
        ]
        canvas.paint(chain(psoas, [7, 14, 21]), lean)
        canvas.paint(chain([(1e3, SPINE + 22, 46 * side), (-1e3, SPINE + 22, 50 * side)], [8, 8]), lean)
        back = ellipsoid((0, SPINE + 43, 29 * side), (4e3, 17.5, 25.5), (0.15 * side, 0, 0))
        what = canvas.paint(back, FAT + 20).peeled(1.5)
        z, y, x = canvas.grid.axes(what.window)
        strands = 14 * np.sin(x / 3.1 + 1.5 * np.sin(y / 5) + z / 40) * np.sin(y / 4.3 - side)
        canvas.mix(what, lean - 6 + strands)


def _paint_liver_and_spleen(
    canvas: Canvas, cavity: ImplicitShape, up: np.ndarray, blood: float, rng: np.random.Generator
) -> None:
    hu = rng.normal(136, 10)
    lobe = rippled(ellipsoid(np.add(up, (60, -14, -94)), (82, 64, 62), (0.3, 0.2, 0)), rng, height=2, wave=70)
    liver = within(lobe, cavity, reach=-2)
    canvas.paint(liver, hu)
    ways = [(0.4, 0.3, -1), (0.7, -0.6, -0.7), (-0.4, 0.2, -1), (0.9, 0.5, -0.4)]
    tree = grown(
        rng,
        [np.add(up, (55, -10, -48))] * 4,
        ways,
        [5.5, 5, 5, 4.5],
        inside=lambda z, y, x: liver.distance(z, y, x) + 4,
        generations=6,
        free=2,
        length=(3, 5),
    )
    canvas.blend(drawn(tree, canvas.grid), max(min(blood, 185.0), 155.0))
    spleen = ellipsoid(np.add(up, (60, 24, 96)), (45, 30, 22), (0.7, 0, 0))
    canvas.paint(within(spleen, cavity, reach=-2), rng.normal(95, 7))


def _paint_bowel(
    canvas: Canvas, cavity: ImplicitShape, up: np.ndarray, rng: np.random.Generator, lattice: np.random.Generator
) -> None:
    """Paint the colon on both sides with its mottled contents, and loops of small bowel in front."""
    mottle = 10 + 60 * correlated(lattice, canvas.grid.size, 1.2)
    wall = rng.uniform(65, 90)
    for side, y in ((-1, -22), (1, 0)):
        bends = [np.add(up, (h, y + rng.normal(0, 6), (90 + rng.normal(0, 4)) * side)) for h in (-130, -60, -25, 15)]
        colon = within(chain(bends, rng.uniform(12, 17, 4)), cavity, reach=-2)
        paint_hollow_organ(canvas, colon, wall - 20, mottle, gas=0.45 if rng.random() < 0.7 else 0.0)
    for _ in range(18):
        middle = np.add(up, (rng.uniform(-75, 45), rng.uniform(-72, -26), rng.uniform(-70, 75)))
        loop = within(bent(middle, (9, 8, 18), rng.uniform(8, 13.5, 3), rng), cavity, reach=-2)
        inside, gas = BOWEL + rng.uniform(-30, 25), 0.45 if rng.random() < 0.15 else 0.0
        paint_hollow_organ(canvas, loop, wall, inside, gas=gas)


def bent(middle: np.ndarray, spread: Vector, radii: Vector, rng: np.random.Generator) -> ImplicitShape:
    """A short tube, bent at a point."""
    first, last = rng.normal(0, 1, (2, 3)) * spread
    return chain([middle - first, middle, middle + last], radii, melt=6)


def _paint_great_vessels(canvas: Canvas, up: np.ndarray, blood: float, rng: np.random.Generator) -> None:
    canvas.paint(ellipsoid((0, 8, -17), (4e3, 8.5, 11)), blood * 0.7 + 20)  # vena cava
    canvas.paint_hollow(chain([(300, 8, 4), (-300, 6, 8)], [11.5, 10.0]), MUSCLE, 1.0, blood)
    if rng.random() < 0.5:  # plaque
        canvas.paint(ellipsoid(np.add(up, (rng.uniform(-40, 40), 14, 12)), (9, 2.5, 3)), 700.0)
    canvas.paint(
        chain([np.add(up, (40, 0, 4)), np.add(up, (25, -9, 3)), np.add(up, (-90, -30, 5))], [4.5, 4, 2.5]), blood
    )
    mesentery = ImplicitShape(lambda z, y, x: np.maximum(np.abs(y + 45) - 32, np.abs(x) - 80), *EVERYWHERE)
    roots = [np.add(up, (h, -22, 2)) for h in (10, -10, -30, -45)]
    ways = [(-0.3, -1, w) for w in (-1, 1, -0.8, 0.9)]
    radii = [2.6, 2.6, 2.4, 2.2]
    tree = grown(rng, roots, ways, radii, inside=mesentery.distance, generations=6, free=1, length=(4, 7))
    canvas.blend(drawn(tree, canvas.grid), blood * 0.8)


def kidney(side: int, rng: np.random.Generator, *, level: float) -> Kidney:
    """Side -1 is the patient's right, where the liver pushes it down."""
    centre = np.array([level + 5 * side + rng.normal(0, 4), 24 + rng.normal(0, 3), (61 + rng.normal(0, 3)) * side])
    radii = np.array([48, 22, 27]) * rng.normal(1, 0.06) * rng.uniform(0.94, 1.06, 3)
    turn = rng.uniform(0.35, 0.75)  # how far the hilum points forward
    hull = rippled(ellipsoid(centre, radii, (-turn * side, 0.2 * side, 0.1)), rng, height=1.0, wave=40)
    facing = np.array([0, -np.sin(turn), -side * np.cos(turn)])
    middle = centre + facing * (radii[2] - 7)
    sinus = ellipsoid(middle, (rng.uniform(18, 24), 9.5, 24), (-turn * side, 0.2 * side, 0))
    return Kidney(without(hull, sinus, melt=5), hull, centre, facing)


def paint_kidney(canvas: Canvas, organ: Kidney, rng: np.random.Generator, *, blood: float) -> None:
    """Paint perirenal fat, vessels and pelvis in the sinus, bright cortex and darker pyramids."""
    form, hull, centre, facing = organ
    canvas.paint(hull.grown(rng.uniform(2, 5)), FAT + rng.normal(0, 6))
    gate, deep, level = centre + facing * 12, centre + facing * 8, centre[0]
    canvas.paint(chain([(level, 8, 5), np.add(gate, (0, 2, 0)), deep], [3.0, 2.6, 2.0]), blood)
    cava = (level + 4, 4, -10 if centre[2] < 0 else 2)
    canvas.paint(chain([cava, np.add(gate, (5, -5, 0)), deep], [5.0, 4.2, 2.5]), blood * 0.75 + 20)
    canvas.paint(ellipsoid(np.add(gate, (-6, 2, 0)), (12, 4, 6)), FLUID)
    what = filled(form, canvas.grid)
    z, y, x = canvas.grid.axes(what.window)
    a, b, c = rng.uniform(0, 6, 3)
    lobes = np.sin(z / 3.6 + a) + np.sin((y - centre[1]) / 3.2 + b) * np.sin((x - centre[2]) / 3.2 + c)
    depth = np.clip((-what.distance - 5.5) / 2.5, 0, 1)
    canvas.mix(what, rng.uniform(150, 200) - rng.uniform(25, 65) * depth * np.clip(0.6 + lobes, 0, 1))
