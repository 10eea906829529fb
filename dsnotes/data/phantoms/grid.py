"""The voxel grid, and the share of each voxel that a form fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dsnotes.data.phantoms.implicit_shapes import ImplicitShape, Point, Vector

STEEPEST = 1.6  # maximum change of a form's distance per mm: 1 for an exact distance, more for rippled or bent forms


@dataclass(frozen=True)
class Grid:
    """Positions of the voxels. A flat grid, used for 2-D images, is a section: one slice without thickness."""

    size: tuple[int, int, int]
    spacing: Point
    flat: bool = False

    @property
    def extent(self) -> Point:
        """Size of one voxel in mm."""
        return (0.0, *self.spacing[1:]) if self.flat else self.spacing

    @property
    def thinnest(self) -> float:
        """The smallest radius in mm of a lesion that cannot lie between voxels."""
        return 1.1 * float(np.prod(self.spacing)) ** (1 / 3)

    def axes(self, window: tuple[slice, slice, slice] | None = None) -> list[np.ndarray]:
        """Voxel centres in mm as three arrays that broadcast to the grid (or to a window of it)."""
        window = window or (slice(None),) * 3
        lines = ((np.arange(n) - (n - 1) / 2) * step for n, step in zip(self.size, self.spacing, strict=True))
        shapes = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
        return [line[cut].reshape(shape) for line, cut, shape in zip(lines, window, shapes, strict=True)]

    def voxel(self, point: Vector) -> Point:
        """Convert mm to (fractional) indices."""
        return tuple(p / s + (n - 1) / 2 for p, s, n in zip(point, self.spacing, self.size, strict=True))

    def window(self, low: Vector, high: Vector) -> tuple[slice, slice, slice]:
        """The voxels between two corners, plus a margin of one voxel."""
        first, last = self.voxel(low), self.voxel(high)
        return tuple(
            slice(max(0, int(np.floor(a)) - 1), max(0, min(n, int(np.ceil(b)) + 2)))
            for a, b, n in zip(first, last, self.size, strict=True)
        )


class Filled(NamedTuple):
    """The voxels a form fills: a window, the share of each voxel there, and the distance of each voxel's centre."""

    window: tuple[slice, slice, slice]
    share: np.ndarray
    distance: np.ndarray
    cell: float  # mm over which the share goes from 0 to 1

    def peeled(self, by: float) -> Filled:
        """The same without a skin of `by` mm; approximate (from voxel centres), so not used for labels."""
        distance = self.distance + by
        return self._replace(share=np.clip(0.5 - distance / self.cell, 0, 1), distance=distance)


def filled(form: ImplicitShape, grid: Grid, *, fine: int = 1) -> Filled:
    """The share of each voxel that a form fills.

    Voxels away from the surface are 0 or 1 according to their centre. The others are divided into cells, `fine` along
    the shortest side and more along longer ones, and each cell's share is that of a plane at the cell's distance.
    """
    window = grid.window(form.low, form.high)
    axes = grid.axes(window)
    shape = tuple(axis.size for axis in axes)
    extent = np.asarray(grid.extent)
    distance = np.broadcast_to(form.distance(*axes), shape)
    counts = [max(1, round(fine * e / extent[extent > 0].min())) for e in extent]
    cell = float(np.mean([e / k for e, k in zip(extent, counts, strict=True) if e > 0]))
    share = np.clip(0.5 - distance / cell, 0, 1)
    if max(counts) > 1 and distance.size:
        near = np.nonzero(np.abs(distance) < STEEPEST * np.linalg.norm(extent) / 2)
        steps = [e * ((np.arange(k) + 0.5) / k - 0.5) for e, k in zip(extent, counts, strict=True)]
        offsets = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3)
        points = [line.ravel()[i][:, None] + step for line, i, step in zip(axes, near, offsets.T, strict=True)]
        share[near] = np.clip(0.5 - form.distance(*points) / cell, 0, 1).mean(1)
    return Filled(window, share, distance, cell)
