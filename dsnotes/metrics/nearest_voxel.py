"""The distance from each point to the nearest marked voxel, found among its neighbours from near to far.

Surfaces of two segmentations mostly lie a few voxels apart, so few neighbours are looked at; what lies farther than
`REACH` voxels is left to a tree.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import no_type_check

import numpy as np

from dsnotes.data.compiled import kernel

REACH = 8  # in voxels, were they cubes of the same volume: some 2100 neighbours in 3-D


def nearest_distance(points: np.ndarray, marked: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Distance in mm of each point (n, axes) to the nearest of `marked` (m, axes); infinite beyond the reach."""
    offsets, distances, margin = neighbours(tuple(spacing))
    shape = np.maximum(points.max(0), marked.max(0)) + 1 + 2 * margin
    strides = np.append(np.cumprod(shape[:0:-1])[::-1], 1)
    grid = np.zeros(math.prod(shape), dtype=bool)
    grid[(marked + margin) @ strides] = True
    found = np.empty(len(points), dtype=np.int64)
    _walk(grid, (points + margin) @ strides, offsets @ strides, found)
    return distances[found]  # -1, the last, where there is none


@lru_cache(maxsize=8)
def neighbours(spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets (n, axes) from near to far, their distances in mm and an infinity, and the largest along each axis."""
    step = np.asarray(spacing, dtype=float)
    reach = REACH * math.prod(spacing) ** (1 / len(spacing))
    margin = np.floor(reach / step).astype(np.int64)
    offsets = np.indices(2 * margin + 1).reshape(len(step), -1).T - margin
    distances = np.sqrt(np.square(offsets * step).sum(1))
    order = np.argsort(distances, kind="stable")
    order = order[distances[order] <= reach]
    return offsets[order], np.append(distances[order], math.inf), margin


@kernel
@no_type_check
def _walk(grid, at, offsets, found):
    for i in range(len(at)):
        found[i] = -1
        for k in range(len(offsets)):
            if grid[at[i] + offsets[k]]:
                found[i] = k
                break
