"""Tumours: merged lobes with a rippled surface."""

from __future__ import annotations

import numpy as np

from dsnotes.data.phantoms.grid import Filled, Grid
from dsnotes.data.phantoms.implicit_shapes import ImplicitShape, Vector, capsule, ellipsoid, rippled, union


def tumour(centre: Vector, radius: float, rng: np.random.Generator) -> ImplicitShape:
    """Roughly a ball of `radius` mm, with up to two more lobes."""
    centre = np.asarray(centre, float)
    forms = [ellipsoid(centre, radius * rng.uniform(0.8, 1.05, 3), rng.uniform(0, 3, 3))]
    for way in directions(rng, int(rng.integers(0, 3))):
        lobe = centre + way * radius * rng.uniform(0.45, 0.7)
        forms.append(ellipsoid(lobe, radius * rng.uniform(0.5, 0.7, 3)))
    return rippled(union(forms, melt=0.5 * radius), rng, height=0.05 * radius, wave=1.5 * radius)


def spiked(
    form: ImplicitShape,
    centre: Vector,
    radius: float,
    rng: np.random.Generator,
    *,
    spikes: int,
    longest: float = 2.0,
    flat: bool = False,
) -> ImplicitShape:
    """The form with tapering spikes of at most `longest` radii; `flat` keeps them in the slice."""
    rays = directions(rng, spikes) * ((0, 1, 1) if flat else (1, 1, 1))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    tips = rng.uniform(0.65 * longest, longest, spikes)
    thorns = [
        capsule(centre + 0.6 * radius * ray, centre + tip * radius * ray, 0.2 * radius, 0.03 * radius)
        for ray, tip in zip(rays, tips, strict=True)
    ]
    return union([form, *thorns], melt=0.2 * radius)


def directions(rng: np.random.Generator, n: int) -> np.ndarray:
    """`n` unit vectors, uniformly distributed."""
    ways = rng.standard_normal((n, 3))
    return ways / np.linalg.norm(ways, axis=1, keepdims=True)


def centre_and_volume(what: Filled, grid: Grid) -> dict:
    """Centre in voxels (z, y, x) and volume in mm³ of the grid, both of the true shape."""
    volume = float(what.share.sum())
    middle = [float((what.share * axis).sum() / volume) for axis in grid.axes(what.window)]
    return {"centre": grid.voxel(middle), "volume_mm3": volume * float(np.prod(grid.spacing))}


def in_mm(found: dict, scale: float) -> dict:
    """A description scaled to true mm; `diameter_mm` is that of the ball of equal volume."""
    volume = found["volume_mm3"] * scale**3
    return found | {"volume_mm3": volume, "diameter_mm": float((6 * volume / np.pi) ** (1 / 3))}
