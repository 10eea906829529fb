"""Two kidneys, sometimes one, with tumours growing from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.phantoms.arguments import checked_count, fitted, settled, streams
from dsnotes.data.phantoms.belly import Kidney, bent, kidney, paint_belly, paint_kidney
from dsnotes.data.phantoms.grid import Grid, filled
from dsnotes.data.phantoms.implicit_shapes import ImplicitShape, union
from dsnotes.data.phantoms.lesions import centre_and_volume, directions, in_mm, tumour
from dsnotes.data.phantoms.scanner import Canvas, Protocol, correlated

FIELD = (144.0, 200.0, 200.0)  # mm: 48 × 256 × 256 voxels of 3.0 × 0.78 × 0.78 mm, as in KiTS' interpolated set
KIND = 20
SINGLE = 0.12  # the share of patients with one kidney
SIDES = {-1: "right", 1: "left"}


def kidneys(
    n: int, *, seed: int = 0, size: Sequence[int] = (24, 96, 96), spacing: Sequence[float] | None = None
) -> list[Case]:
    """`n` abdomens; label 1 is kidney, 2 is tumour, and every case has one or two tumours.

    extras: `alpha`, the true share of tumour in each voxel (label = 2 where it is ≥ 0.5); `organ_alpha`, that of kidney
    and tumour together (label > 0 where it is ≥ 0.5); `sides` ("right", "left"); `distractor`, whether a loop of bowel
    is filled with contrast as bright as a kidney; `tumours` with side, diameter_mm, centre (voxels), volume_mm3.
    """
    checked_count(n, seed, "kidneys")
    grid, spacing, scale = fitted(size, spacing, field=FIELD, kind="kidneys")
    return [_case(i, seed, grid, spacing, scale) for i in range(n)]


def _case(index: int, seed: int, grid: Grid, spacing: tuple[float, ...], scale: float) -> Case:
    rng, lattice = streams(KIND, seed, index)
    sides = [-1, 1]
    if rng.random() < SINGLE:
        sides.remove(rng.choice(sides))
    ill = sides if rng.random() < 0.25 else [int(rng.choice(sides))]
    protocol, blood = Protocol.drawn(rng), rng.uniform(150, 240)
    canvas = Canvas(grid)
    paint_belly(canvas, rng, lattice, level=0.0, blood=blood)
    distractor = bool(rng.random() < 0.4)
    if distractor:
        middle = np.array([rng.uniform(-40, 40), rng.uniform(-55, -30), rng.choice((-1, 1)) * rng.uniform(25, 60)])
        canvas.paint(bent(middle, (8, 6, 16), rng.uniform(9, 14, 3), rng), rng.uniform(150, 230))
    organs = {side: kidney(side, rng, level=0.0) for side in sides}
    for organ in organs.values():
        paint_kidney(canvas, organ, rng, blood=blood)

    alpha, tumours = np.zeros(grid.size), []
    forms = {side: [organ.form] for side, organ in organs.items()}
    grain = correlated(lattice, grid.size, 1.2)
    for side in ill:
        form, radius = _tumour_on(organs[side], rng, least=grid.thinnest)
        what = filled(form, grid, fine=3)
        core = np.clip(-what.distance / radius, 0, 1) ** 1.5
        canvas.mix(what, rng.uniform(28, 70) + 14 * grain[what.window] - rng.uniform(0, 60) * core * (radius > 12))
        alpha[what.window] = np.maximum(alpha[what.window], what.share)
        forms[side].append(form)
        tumours.append({"side": SIDES[side]} | in_mm(centre_and_volume(what, grid), scale))
    both = np.zeros(grid.size)
    for parts in forms.values():
        what = filled(union(parts), grid, fine=2)
        both[what.window] = np.maximum(both[what.window], what.share)
    alpha, both = settled(alpha), settled(np.maximum(both, alpha))
    label = (both >= 0.5).astype(np.uint8) + (alpha >= 0.5).astype(np.uint8)
    extras = {
        "alpha": alpha,
        "organ_alpha": both,
        "sides": tuple(SIDES[side] for side in sides),
        "distractor": distractor,
        "tumours": tumours,
    }
    image = canvas.scanned(protocol.shrunk(scale), lattice)
    return Case(f"kidneys-{seed}-{index:03d}", image, label, spacing, extras)


def _tumour_on(organ: Kidney, rng: np.random.Generator, *, least: float) -> tuple[ImplicitShape, float]:
    """A tumour centred near the kidney's surface, away from the hilum and inside the field of view."""
    radius = max(float(np.clip(np.exp(rng.normal(np.log(15), 0.4)), 9, 28)), least)
    ways = directions(rng, 60) * (0.8, 1, 1)
    out = radius * rng.uniform(-0.3, 0.5)
    steps = np.linspace(0, 80, 401)
    middles = []
    for way in ways[ways @ organ.facing < 0.1]:
        ray = organ.centre[:, None] + way[:, None] * steps
        middles.append(organ.centre + way * (steps[np.argmax(organ.hull.distance(*ray) > 0)] + out))
    over = np.abs(middles) + radius - 0.48 * np.asarray(FIELD)
    best = middles[int(np.argmin(np.maximum(over, 0).sum(1)))]
    return tumour(best, radius, rng), radius
