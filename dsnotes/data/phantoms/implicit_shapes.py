"""Bodies as continuous implicit functions.

A form gives the signed distance to its surface in mm, negative inside, at any point, so that the share of a voxel
does not depend on the grid. Coordinates are (z, y, x) in mm from the centre of the field of view, z upwards, y towards
the back, x towards the patient's left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float, float]
Vector = Sequence[float] | np.ndarray  # (z, y, x)
Distance = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ImplicitShape:
    """`distance` is evaluated only between the corners `low` and `high` (mm), which enclose the form."""

    distance: Distance
    low: Point
    high: Point

    def grown(self, by: float) -> ImplicitShape:
        low, high = (tuple(v + side * by for v in corner) for side, corner in ((-1, self.low), (1, self.high)))
        return ImplicitShape(lambda z, y, x: self.distance(z, y, x) - by, low, high)


def box(centre: Vector, reach: Vector | float) -> tuple[Point, Point]:
    reach = (reach,) * 3 if isinstance(reach, int | float) else reach
    low, high = (tuple(float(c + side * r) for c, r in zip(centre, reach, strict=True)) for side in (-1, 1))
    return low, high


EVERYWHERE = ((-1e4,) * 3, (1e4,) * 3)  # corners of an unbounded form


def turned(angles: Vector) -> np.ndarray:
    """Rotation matrix for coordinates (z, y, x): about z (in the axial plane), then about y, then about x."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    about_z = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, -sb], [0, 1, 0], [sb, 0, cb]])
    about_x = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def ellipsoid(centre: Vector, radii: Vector, angles: Vector = (0, 0, 0)) -> ImplicitShape:
    """First-order distance k0 (k0 - 1) / k1 with k0 = |p / r|, k1 = |p / r²|: exact on the surface and for spheres."""
    matrix = turned(angles)
    scaled = matrix / np.asarray(radii, float)[:, None]
    flat = not np.any(angles)

    def distance(z, y, x):
        z, y, x = z - centre[0], y - centre[1], x - centre[2]
        if flat:  # the squares broadcast, which saves most of the work
            u = [(p * row[i]) ** 2 for i, (p, row) in enumerate(zip((z, y, x), scaled, strict=True))]
        else:
            u = [(row[0] * z + row[1] * y + row[2] * x) ** 2 for row in scaled]
        k0 = np.sqrt(u[0] + u[1] + u[2])
        k1 = np.sqrt(u[0] / radii[0] ** 2 + u[1] / radii[1] ** 2 + u[2] / radii[2] ** 2)
        return k0 * (k0 - 1) / np.maximum(k1, 1e-9)

    return ImplicitShape(distance, *box(centre, tuple(np.sqrt((matrix.T**2) @ np.square(radii)))))


def capsule(start: Vector, end: Vector, first: float, last: float | None = None) -> ImplicitShape:
    """A tube between two points whose radius goes from `first` to `last`."""
    last = first if last is None else last
    start, end = np.asarray(start, float), np.asarray(end, float)
    along = end - start
    square = max(float(along @ along), 1e-9)

    def distance(z, y, x):
        z, y, x = z - start[0], y - start[1], x - start[2]
        t = np.clip((z * along[0] + y * along[1] + x * along[2]) / square, 0, 1)
        gap = (z - t * along[0]) ** 2 + (y - t * along[1]) ** 2 + (x - t * along[2]) ** 2
        return np.sqrt(gap) - (first + (last - first) * t)

    reach = max(first, last)
    return ImplicitShape(distance, tuple(np.minimum(start, end) - reach), tuple(np.maximum(start, end) + reach))


def chain(points: Sequence[Vector] | np.ndarray, radii: Vector, *, melt: float = 0) -> ImplicitShape:
    """A tube along a polyline with a radius at each point; `melt` mm rounds the joints."""
    pieces = zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True)
    return union([capsule(*piece) for piece in pieces], melt=melt)


def union(forms: Sequence[ImplicitShape], *, melt: float = 0) -> ImplicitShape:
    """The union of forms; `melt` is the fillet in mm where two meet (polynomial smooth minimum)."""

    def distance(z, y, x):
        result = forms[0].distance(z, y, x)
        for form in forms[1:]:
            result = smooth_minimum(result, form.distance(z, y, x), melt)
        return result

    low = tuple(np.min([form.low for form in forms], axis=0) - melt / 4)
    return ImplicitShape(distance, low, tuple(np.max([form.high for form in forms], axis=0) + melt / 4))


def without(form: ImplicitShape, hole: ImplicitShape, *, melt: float = 0) -> ImplicitShape:
    """A form minus a hole, with the edge rounded by `melt` mm."""

    def distance(z, y, x):
        return -smooth_minimum(-form.distance(z, y, x), hole.distance(z, y, x), melt)

    return ImplicitShape(distance, form.low, form.high)


def within(form: ImplicitShape, hull: ImplicitShape, *, reach: float = 0, melt: float = 0) -> ImplicitShape:
    """The part of a form that is inside a hull or at most `reach` mm outside it."""

    def distance(z, y, x):
        return -smooth_minimum(-form.distance(z, y, x), reach - hull.distance(z, y, x), melt)

    return ImplicitShape(distance, form.low, form.high)


def smooth_minimum(a: np.ndarray, b: np.ndarray, melt: float) -> np.ndarray:
    if melt <= 0:
        return np.minimum(a, b)
    share = np.maximum(melt - np.abs(a - b), 0) / melt
    return np.minimum(a, b) - share * share * (melt / 4)


def rippled(
    form: ImplicitShape, rng: np.random.Generator, *, height: float, wave: float, waves: int = 4
) -> ImplicitShape:
    """The surface displaced by `waves` plane waves of about `wave` mm with a total of `height` mm (SD), for irregular
    organs that differ from case to case."""
    directions = rng.standard_normal((waves, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = 2 * np.pi * directions / (wave * rng.uniform(0.75, 1.5, (waves, 1)))
    phases = rng.uniform(0, 2 * np.pi, waves)
    each = height * np.sqrt(2 / waves)

    def distance(z, y, x):
        result = form.distance(z, y, x)
        for (kz, ky, kx), phase in zip(vectors, phases, strict=True):
            a, b = kz * z + ky * y + phase, kx * x
            if np.size(a) + np.size(b) < np.size(result):  # on a grid: sines of lines and planes, not of the volume
                result = result + (each * np.sin(a)) * np.cos(b) + (each * np.cos(a)) * np.sin(b)
            else:
                result = result + each * np.sin(a + b)
        return result

    reach = each * waves
    return ImplicitShape(distance, tuple(v - reach for v in form.low), tuple(v + reach for v in form.high))
