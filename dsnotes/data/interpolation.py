"""Linear interpolation on a CPU at many points; all channels share the positions and weights of a block of points.

The values are those of torch's `grid_sample(…, padding_mode="border", align_corners=False)`, up to rounding.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from dsnotes.data.compiled import kernel

BLOCK = 1024  # points at a time: their positions stay in the L1 cache
f32, i32 = np.float32, np.int32


@kernel
@no_type_check
def _voxel_coordinate(coordinate, size):
    """Convert a coordinate from −1…1 over the axis to voxels, clamped to the border."""
    return min(max(((coordinate + f32(1)) * f32(size) - f32(1)) * f32(0.5), f32(0)), f32(size - 1))


@kernel
@no_type_check
def bilinear(channels, grid, sampled):
    """(channels, height, width) at (points, 2), x first, into (channels, points); every axis has two pixels or more."""
    _, height, width = channels.shape
    at, right, down = np.empty(BLOCK, i32), np.empty(BLOCK, f32), np.empty(BLOCK, f32)
    for start in range(0, len(grid), BLOCK):
        points = grid[start : start + BLOCK].ravel()
        n = points.size // 2
        for p in range(n):
            x, y = _voxel_coordinate(points[2 * p], width), _voxel_coordinate(points[2 * p + 1], height)
            x0, y0 = min(i32(x), i32(width - 2)), min(i32(y), i32(height - 2))
            right[p], down[p] = x - f32(x0), y - f32(y0)
            at[p] = y0 * i32(width) + x0
        for channel in range(len(channels)):
            above, out = channels[channel].ravel(), sampled[channel, start : start + n]
            below = above[width:]
            for p in range(n):
                i = np.uint64(at[p])
                j = i + np.uint64(1)
                a, b = above[i] + right[p] * (above[j] - above[i]), below[i] + right[p] * (below[j] - below[i])
                out[p] = a + down[p] * (b - a)


@kernel
@no_type_check
def trilinear(channels, grid, sampled):
    """(channels, depth, height, width) at (points, 3), x first, into (channels, points); as `bilinear`."""
    _, depth, height, width = channels.shape
    at, right, down, deep = np.empty(BLOCK, i32), np.empty(BLOCK, f32), np.empty(BLOCK, f32), np.empty(BLOCK, f32)
    for start in range(0, len(grid), BLOCK):
        points = grid[start : start + BLOCK].ravel()
        n = points.size // 3
        for p in range(n):
            x, y = _voxel_coordinate(points[3 * p], width), _voxel_coordinate(points[3 * p + 1], height)
            z = _voxel_coordinate(points[3 * p + 2], depth)
            x0, y0, z0 = min(i32(x), i32(width - 2)), min(i32(y), i32(height - 2)), min(i32(z), i32(depth - 2))
            right[p], down[p], deep[p] = x - f32(x0), y - f32(y0), z - f32(z0)
            at[p] = (z0 * i32(height) + y0) * i32(width) + x0
        for channel in range(len(channels)):
            near, out = channels[channel].ravel(), sampled[channel, start : start + n]
            near_below, far = near[width:], near[height * width :]
            far_below = far[width:]
            for p in range(n):
                i = np.uint64(at[p])
                j = i + np.uint64(1)
                x = right[p]
                a, b = near[i] + x * (near[j] - near[i]), near_below[i] + x * (near_below[j] - near_below[i])
                c, d = far[i] + x * (far[j] - far[i]), far_below[i] + x * (far_below[j] - far_below[i])
                front, back = a + down[p] * (b - a), c + down[p] * (d - c)
                out[p] = front + deep[p] * (back - front)
