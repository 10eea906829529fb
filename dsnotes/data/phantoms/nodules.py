"""Crops around lung nodules with the masks of four readers and RECIST diameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.conversion import checked_spacing
from dsnotes.data.phantoms.annotators import diameters, outlines
from dsnotes.data.phantoms.arguments import checked_count, checked_size, settled, streams
from dsnotes.data.phantoms.grid import Grid, filled
from dsnotes.data.phantoms.implicit_shapes import EVERYWHERE, ImplicitShape, within, without
from dsnotes.data.phantoms.lesions import directions, spiked, tumour
from dsnotes.data.phantoms.scanner import FAT, LUNG, MUSCLE, Canvas, Protocol, blurred, correlated
from dsnotes.data.phantoms.torso import paint_ribs, ribs
from dsnotes.data.phantoms.vessels import drawn, grown

KINDS = ("solid", "ground-glass", "spiculated", "pleura-attached")
SMALLEST, LARGEST = 5.0, 24.0  # diameters in mm
KIND = 40


def nodules(
    n: int,
    *,
    seed: int = 0,
    size: int | Sequence[int] = 64,
    dims: int | None = None,
    spacing: float | Sequence[float] = 0.7,
) -> list[Case]:
    """`n` crops, the four kinds in turn; label 1 is the true nodule (alpha ≥ 0.5), not the readers' consensus, which is
    (readers.mean(0) ≥ 0.5).

    extras: `alpha`, the true share of nodule in each pixel; `seen`, that share after the scanner's blur, which is the α
    that an image can show; `kind`; `readers` (4, *space), one mask per reader; `recist`, long_axis and short_axis as
    ((row, column), (row, column)) in pixels with long_mm and short_mm, of the true shape (in 3-D in the slice `slice`).
    A 2-D crop is a section without thickness. `dims` defaults to the length of `size`, or 2 if that is one number.
    """
    checked_count(n, seed, "nodules")
    if dims is None:
        dims = 2 if isinstance(size, int) else len(size)
    if dims not in (2, 3):
        raise ValueError(f"dims={dims!r} came. Pass dims=2 for a slice or dims=3 for a volume.")
    size = checked_size((size,) * dims if isinstance(size, int) else size, dims, "nodules")
    spacing = (spacing,) * dims if isinstance(spacing, int | float) else spacing
    example = f"phantoms.nodules(1, spacing={(0.7,) * dims})"
    spacing = checked_spacing(spacing, "phantoms.nodules", axes=dims, example=example)
    field = min(v * s for v, s in zip(size, spacing, strict=True))
    if field < 4 * SMALLEST:
        raise ValueError(
            f"size {size} at {spacing} mm covers only {field:.0f} mm, too little for nodules of {SMALLEST:.0f} mm and "
            f"their surroundings. Pass {4 * SMALLEST:.0f} mm or more, for instance size=64 with spacing=0.7."
        )
    grid = Grid((1, *size), (spacing[0], *spacing), flat=True) if dims == 2 else Grid(size, spacing)
    return [_case(i, seed, grid, spacing, field) for i in range(n)]


def _case(index: int, seed: int, grid: Grid, spacing: tuple[float, ...], field: float) -> Case:
    rng, lattice = streams(KIND, seed, index)
    kind = KINDS[index % len(KINDS)]
    protocol = Protocol.drawn(rng, sharpest=3.0)
    low, high = max(SMALLEST, 2.2 * max(spacing)), min(LARGEST, 0.45 * field)
    if kind == "ground-glass":
        low = min(max(low, 7.0), high)  # a smaller ground-glass nodule is lost in the noise
    if kind == "spiculated":
        high = max(low, 0.33 * field)  # its spikes must end inside the crop
    diameter = float(np.clip(np.exp(rng.normal(np.log(10.0), 0.38)), low, high))
    centre = rng.uniform(-3, 3, 3) * (not grid.flat, 1, 1)
    wall = _wall(kind, centre, diameter / 2, field, rng)
    core, form = _nodule(kind, centre, diameter / 2, wall, rng, flat=grid.flat)

    canvas = Canvas(grid)
    canvas.image += LUNG + 15 + rng.normal(0, 25) - canvas.image
    canvas.image += 30 * correlated(lattice, grid.size, 0.9) + 25 * correlated(lattice, grid.size, 3.0)
    what = filled(form, grid, fine=6 if grid.flat else 3)
    grain = correlated(lattice, grid.size, 1.5)[what.window]
    if kind == "ground-glass":  # vessels show through it, and sometimes it has a denser core
        canvas.mix(what, rng.uniform(-620, -420) + 35 * grain)
    canvas.blend(_vessels(grid, centre, field, wall, rng), rng.uniform(-20, 50))
    if kind != "ground-glass":
        canvas.mix(what, rng.uniform(15, 60) + 10 * grain)
    elif rng.random() < 0.35:
        canvas.paint(tumour(centre, 0.2 * diameter, rng), rng.uniform(-250, 0))
    if wall is not None:
        _paint_wall(canvas, wall, form, rng)

    alpha = np.zeros(grid.size)
    alpha[what.window] = what.share
    alpha = settled(alpha)
    seen = settled(blurred(alpha.astype(float), protocol, grid))
    label = (alpha >= 0.5).astype(np.uint8)
    # readers disagree on the border of ground glass; they agree better in single slices than in volumes
    doubt = (1.35 if kind == "ground-glass" else 1.0) * (1.1 if grid.flat else 0.85)
    readers = outlines(form, core, grid, rng, diameter=diameter, doubt=doubt)
    depth = int(np.argmax(label.sum((1, 2))))
    recist = diameters(form, grid, depth) | ({} if grid.flat else {"slice": depth})
    image = canvas.scanned(protocol, lattice)
    if grid.flat:
        image, alpha, seen, label, readers = image[0], alpha[0], seen[0], label[0], readers[:, 0]
    extras = {"alpha": alpha, "seen": seen, "kind": kind, "readers": readers, "recist": recist}
    return Case(f"nodule-{seed}-{index:03d}", image, label, spacing, extras)


def _wall(kind: str, centre: np.ndarray, radius: float, field: float, rng: np.random.Generator) -> ImplicitShape | None:
    """The chest wall, if the crop shows it: the outside of a large sphere, whose distance is positive in the wall."""
    near = rng.random() < 0.35
    way = directions(rng, 1)[0] * (0.25, 1, 1)
    way /= np.linalg.norm(way)
    bend = rng.uniform(60, 110)
    if kind == "pleura-attached":
        distance = float(centre @ way) + radius * rng.uniform(0.25, 0.6)
    elif near:
        distance = float(centre @ way) + max(radius + 5, rng.uniform(0.3, 0.45) * field)
    else:
        return None
    middle = way * (distance - bend)

    def lung(z, y, x):
        return np.sqrt((z - middle[0]) ** 2 + (y - middle[1]) ** 2 + (x - middle[2]) ** 2) - bend

    return ImplicitShape(lung, *EVERYWHERE)


def _nodule(
    kind: str, centre: np.ndarray, radius: float, wall: ImplicitShape | None, rng: np.random.Generator, *, flat: bool
) -> tuple[ImplicitShape, ImplicitShape]:
    """The nodule without and with its spikes."""
    core = form = tumour(centre, radius, rng)
    if kind == "spiculated":
        form = spiked(core, centre, radius, rng, spikes=int(rng.integers(8, 14)), flat=flat)
    if kind == "pleura-attached":
        core = form = within(core, wall, reach=1.0)
    return core, form


def _vessels(
    grid: Grid, centre: np.ndarray, field: float, wall: ImplicitShape | None, rng: np.random.Generator
) -> np.ndarray:
    """Vessel trees that enter the crop from all sides, and one that feeds the nodule."""
    out = directions(rng, 16) * (0.35, 1, 1)
    feeder = directions(rng, 1)[0] * (0, 1, 1)
    roots = [*(out * 0.75 * field + rng.normal(0, 4, out.shape)), centre + 0.5 * field * feeder]
    ways = [*(-out + 0.5 * rng.standard_normal(out.shape) * (0.5, 1, 1)), -feeder]

    def inside(z, y, x):
        return np.abs(z) - 0.7 * field if wall is None else wall.distance(z, y, x) + 2

    radii = rng.uniform(0.6, 1.9, len(roots))
    return drawn(grown(rng, roots, ways, radii, inside=inside, generations=6, free=1, length=(4, 8), wander=0.2), grid)


def _paint_wall(canvas: Canvas, wall: ImplicitShape, form: ImplicitShape, rng: np.random.Generator) -> None:
    outside = ImplicitShape(lambda *p: -wall.distance(*p), *EVERYWHERE)
    kept = without(outside, form)
    canvas.paint(kept, MUSCLE + rng.normal(0, 8))
    canvas.paint(ImplicitShape(lambda *p: np.abs(wall.distance(*p) - 11) - 1.2, *EVERYWHERE), FAT + 20)
    canvas.paint(ImplicitShape(lambda *p: 19 - wall.distance(*p), *EVERYWHERE), FAT)
    rods = ribs(wall, pitch=24, shift=rng.uniform(0, 24), thick=7, tall=13, slope=rng.uniform(0.5, 1), clear=2)
    paint_ribs(canvas, rods)
