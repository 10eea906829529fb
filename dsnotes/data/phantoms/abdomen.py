"""A pancreas, thin and as bright as the bowel beside it, with a small tumour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.phantoms.arguments import checked_count, fitted, settled, streams
from dsnotes.data.phantoms.belly import bent, kidney, paint_belly, paint_kidney
from dsnotes.data.phantoms.grid import Grid, filled
from dsnotes.data.phantoms.implicit_shapes import ImplicitShape, chain, ellipsoid, rippled, union, within
from dsnotes.data.phantoms.lesions import centre_and_volume, in_mm, tumour
from dsnotes.data.phantoms.scanner import FLUID, Canvas, Protocol, correlated
from dsnotes.data.phantoms.torso import paint_hollow_organ

FIELD = (120.0, 205.0, 205.0)  # mm: 48 × 256 × 256 voxels of 2.5 × 0.8 × 0.8 mm, typical of Decathlon's pancreas set
KIND = 30
LEVEL = -34.0  # the kidneys' height: the pancreas lies above

# From the uncinate process over head, neck and body to the tail: height over the kidneys, y, x, radius.
COURSE = ((2, -4, -20, 8.0), (12, -9, -34, 12.5), (25, -19, -26, 11.5), (32, -27, -9, 7.0), (37, -26, 10, 8.0),
          (42, -15, 33, 8.5), (47, 0, 54, 8.5), (52, 12, 71, 7.0))  # fmt: skip


def abdomen(
    n: int,
    *,
    seed: int = 0,
    size: Sequence[int] = (32, 96, 96),
    spacing: Sequence[float] | None = None,
    classes: int = 2,
) -> list[Case]:
    """`n` upper abdomens; label 1 is pancreas with its tumour, or with classes=3 the tumour is 2.

    extras: `alpha`, the true share of tumour in each voxel; `organ_alpha`, that of pancreas and tumour together
    (label > 0 where it is ≥ 0.5); `tumours` with site, diameter_mm, centre (voxels) and volume_mm3.
    """
    checked_count(n, seed, "abdomen")
    if classes not in (2, 3):
        raise ValueError(
            f"classes={classes!r} came. Pass classes=2 (organ and tumour both 1) or classes=3 (organ 1, tumour 2)."
        )
    grid, spacing, scale = fitted(size, spacing, field=FIELD, kind="abdomen")
    return [_case(i, seed, grid, spacing, scale, classes) for i in range(n)]


def _case(index: int, seed: int, grid: Grid, spacing: tuple[float, ...], scale: float, classes: int) -> Case:
    rng, lattice = streams(KIND, seed, index)
    protocol, blood = Protocol.drawn(rng), rng.uniform(135, 185)
    canvas = Canvas(grid)
    paint_belly(canvas, rng, lattice, level=LEVEL, blood=blood)
    for side in (-1, 1):
        paint_kidney(canvas, kidney(side, rng, level=LEVEL), rng, blood=blood)
    course = np.add(COURSE, (LEVEL, 0, 0, 0))
    course[:, :3] += rng.normal(0, (4, 3, 3)) + rng.normal(0, 1.5, (len(course), 3))
    course[:, 3] *= rng.uniform(0.85, 1.15) * rng.uniform(0.92, 1.08, len(course))
    _paint_neighbours(canvas, course, rng, blood)
    organ = rippled(chain(course[:, :3], course[:, 3], melt=10), rng, height=0.8, wave=11, waves=6)
    form, site = _tumour_in(course, organ, rng, least=grid.thinnest)
    whole = union([organ, form], melt=2)

    gland = rng.uniform(75, 108)
    fatty = rng.uniform(0, 35)
    what = filled(whole, grid, fine=2)
    lobules = correlated(lattice, grid.size, 1.1)[what.window]
    canvas.mix(what, gland - fatty * np.clip(lobules, 0, 2))
    both = np.zeros(grid.size)
    both[what.window] = what.share
    duct = chain(course[2:, :3], np.full(len(course) - 2, rng.uniform(0.9, 2.2)))
    canvas.paint(duct, FLUID)
    what = filled(form, grid, fine=3)
    grain = correlated(lattice, grid.size, 1.2)[what.window]
    canvas.mix(what, gland - rng.uniform(25, 50) + 10 * grain)
    alpha = np.zeros(grid.size)
    alpha[what.window] = what.share

    alpha, both = settled(alpha), settled(np.maximum(both, alpha))
    label = (both >= 0.5).astype(np.uint8)
    if classes == 3:
        label = label + (alpha >= 0.5).astype(np.uint8)
    tumours = [{"site": site} | in_mm(centre_and_volume(what, grid), scale)]
    image = canvas.scanned(protocol.shrunk(scale), lattice)
    extras = {"alpha": alpha, "organ_alpha": both, "tumours": tumours}
    return Case(f"abdomen-{seed}-{index:03d}", image, label, spacing, extras)


def _tumour_in(
    course: np.ndarray, organ: ImplicitShape, rng: np.random.Generator, *, least: float
) -> tuple[ImplicitShape, str]:
    """Two times out of three in the head; it protrudes at most 3 mm from the gland."""
    site = str(rng.choice(["head", "body", "tail"], p=(0.65, 0.2, 0.15)))
    at = {"head": rng.uniform(1, 2), "body": rng.uniform(3.5, 5), "tail": rng.uniform(5, 6.6)}[site]
    first = int(at)
    centre = course[first] + (at - first) * (course[first + 1] - course[first])
    radius = max(float(np.clip(np.exp(rng.normal(np.log(8.5), 0.25)), 5.5, 13)), least)
    form = tumour(centre[:3] + rng.normal(0, 2, 3), radius, rng)
    return within(form, organ, reach=3.0), site


def _paint_neighbours(canvas: Canvas, course: np.ndarray, rng: np.random.Generator, blood: float) -> None:
    """Stomach in front, duodenum round the head, jejunum below the tail, portal and splenic veins behind."""
    wall = rng.uniform(70, 100)
    body = ellipsoid((LEVEL + 62, -38, 52), (38, 24, 36), (0.4, 0, 0.3))
    antrum = ellipsoid((LEVEL + 40, -52, 8), (20, 17, 40), (0.2, 0.35, 0))
    stomach = rippled(union([body, antrum], melt=14), rng, height=1.5, wave=45)
    paint_hollow_organ(canvas, stomach, wall, rng.uniform(15, 60), thick=3.5, gas=rng.uniform(0.2, 0.45))
    head, low = course[2, :3], course[1, :3]
    bends = [
        np.add(head, (14, -12, -4)),
        np.add(head, (4, 2, -21)),
        np.add(low, (-8, 8, -20)),
        np.add(low, (-24, 14, -4)),
        np.add(low, (-26, 14, 26)),
    ]
    paint_hollow_organ(canvas, chain(bends, rng.uniform(8.5, 11, 5), melt=6), wall, rng.uniform(20, 70))
    for _ in range(5):
        middle = course[rng.integers(4, 8), :3] + (rng.uniform(-34, -16), rng.uniform(-22, 2), rng.normal(0, 10))
        loop = bent(middle, (8, 6, 14), rng.uniform(7, 10, 3), rng)
        paint_hollow_organ(canvas, loop, wall + 5, rng.uniform(30, 75))
    neck = course[3, :3]
    portal = [
        np.add(neck, (-60, 8, -2)),
        np.add(neck, (-14, 10, -3)),
        np.add(neck, (3, 11, -5)),
        np.add(neck, (26, 10, -30)),
        np.add(neck, (34, 4, -55)),
    ]
    canvas.paint(chain(portal, [5, 5.5, 6.5, 6.5, 5.5], melt=4), blood)
    behind = [np.add(neck, (3, 11, -4)), *(course[4:, :3] + course[4:, 3:] * (0.35, 1.05, 0.2))]
    canvas.paint(chain(behind, [4.5, 4.2, 4, 3.8, 3.5], melt=3), blood)
