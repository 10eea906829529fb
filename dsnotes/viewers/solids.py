"""3-D rendering of a volume's labels, lit from the front left, without a display or a graphics card.

Each label is slightly smoothed and sampled along a rotated grid of rays; the first sample inside is the surface, and
the smoothed label's gradient there is its normal. For an interactive 3-D view see `viewers.volume`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

RAYS = 120  # along each side of the cube
FINEST = 160  # voxels an axis of the bodies; more are averaged in blocks first
SMOOTH = 0.7  # of the smallest step between voxels: takes the steps off a surface and hardly moves it
BACKGROUND = (0.09, 0.10, 0.12)
TOWARDS_LIGHT = np.array([-0.75, -0.45, -0.5])  # towards the viewer, upwards and to the left, in (depth, row, column)
AMBIENT = 0.35


class Body(NamedTuple):
    mask: np.ndarray  # (depth, height, width), bool
    colour: tuple[float, float, float]
    opacity: float


class Rendered(NamedTuple):
    picture: np.ndarray  # (rows, columns, 3), 0 … 1
    width: float  # mm from its left edge to its right


def render(bodies: list[Body], *, spacing: tuple[float, ...], azimuth: float = 35, elevation: float = 18) -> Rendered:
    """Depth counts upwards, as in the planes; the angles are degrees to the right of the front and above the floor."""
    spacing = np.asarray(spacing, float)
    ends = _box([body.mask for body in bodies])
    crop = tuple(slice(max(low - 3, 0), high + 4) for low, high in ends)
    every = -(-max(high - low + 1 for low, high in ends) // FINEST)
    masks = [_coarser(body.mask[crop], every) for body in bodies]
    spacing = every * np.asarray(spacing, float)
    inside = np.argwhere(sum(masks) > 0)
    middle = (inside.max(0) + inside.min(0)) / 2
    axes = _axes(azimuth, elevation)
    reach = np.abs(((inside - middle) * spacing) @ axes).max(0) + spacing.max()
    width = 2.15 * float(reach[1:].max())
    step = np.array([2.15 * float(reach[0]), width, width]) / RAYS  # mm along a ray, down a row, along a column
    hits = [_hit(mask, axes * step, middle, spacing, step) for mask in masks]
    return Rendered(_composed(bodies, hits), width)


def _box(masks: list[np.ndarray]) -> list[tuple[int, int]]:
    """First and last index an axis at which any mask holds a voxel."""
    ends = []
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        there = np.flatnonzero(np.logical_or.reduce([mask.any(others) for mask in masks]))
        if not len(there):
            raise ValueError("no body holds a voxel, so there is nothing to render: leave empty labels out.")
        ends.append((int(there[0]), int(there[-1])))
    return ends


def _coarser(mask: np.ndarray, every: int) -> np.ndarray:
    """The share of the body in blocks of `every` voxels an axis: what is finer than a ray cannot be seen."""
    if every == 1:
        return mask.astype(np.float32)
    padded = np.pad(mask, [(0, -n % every) for n in mask.shape])
    blocks = padded.reshape([size for n in padded.shape for size in (n // every, every)])
    return blocks.mean((1, 3, 5), dtype=np.float32)


def _axes(azimuth: float, elevation: float) -> np.ndarray:
    """Columns: one step along the ray, down a row, along a column of the picture, as (depth, height, width) in mm.

    The viewer stands before the patient (small height index) and looks towards growing height.
    """
    a, e = np.deg2rad([azimuth, elevation])
    ray = np.array([-np.sin(e), np.cos(e) * np.cos(a), np.cos(e) * np.sin(a)])
    column = np.array([0.0, -np.sin(a), np.cos(a)])
    row = np.cross(ray, column)
    row = row if row[0] < 0 else -row  # down the picture is down the patient
    return np.stack([ray, row, column], axis=1)


class _Hit(NamedTuple):
    depth: np.ndarray  # samples along the ray to the surface; RAYS where the ray misses
    light: np.ndarray  # 0 … 1


def _hit(mask: np.ndarray, to_mm: np.ndarray, centre: np.ndarray, spacing: np.ndarray, step: np.ndarray) -> _Hit:
    from scipy.ndimage import affine_transform, gaussian_filter

    field = gaussian_filter(np.pad(mask, 2), SMOOTH * spacing.min() / spacing)
    field *= 0.5 / max(min(0.5, float(field.max()) * 0.9), 1e-6)  # a body of one voxel survives the smoothing
    to_voxels = to_mm / spacing[:, None]
    offset = centre + 2 - to_voxels @ np.full(3, (RAYS - 1) / 2)
    sampled = affine_transform(field, to_voxels, offset, output_shape=(RAYS,) * 3, order=1, prefilter=False)
    solid = sampled > 0.5
    met = solid.any(0)
    depth = np.where(met, solid.argmax(0), RAYS)
    rows, columns = np.nonzero(met)
    at = np.clip(np.stack([depth[met], rows, columns]), 1, RAYS - 2)
    around = np.eye(3, dtype=int)[:, :, None]
    slope = np.stack([sampled[tuple(at - one)] - sampled[tuple(at + one)] for one in around], axis=1) / step
    normal = slope / (np.linalg.norm(slope, axis=1, keepdims=True) + 1e-9)
    light = np.zeros(met.shape, np.float32)
    light[met] = np.clip(normal @ (TOWARDS_LIGHT / np.linalg.norm(TOWARDS_LIGHT)), 0, 1)
    return _Hit(depth, light)


def _composed(bodies: list[Body], hits: list[_Hit]) -> np.ndarray:
    """Nearer surfaces over farther ones; what lies deeper is a little darker."""
    picture = np.broadcast_to(np.array(BACKGROUND, np.float32), (RAYS, RAYS, 3)).copy()
    order = np.argsort([-hit.depth for hit in hits], axis=0, kind="stable")  # farthest first, ray by ray
    for rank in range(len(bodies)):
        for index, (body, hit) in enumerate(zip(bodies, hits, strict=True)):
            here = (order[rank] == index) & (hit.depth < RAYS)
            shade = (AMBIENT + (1 - AMBIENT) * hit.light) * (1.25 - 0.45 * hit.depth / RAYS)
            colour = np.clip(shade[here][:, None] * np.asarray(body.colour, np.float32), 0, 1)
            picture[here] = (1 - body.opacity) * picture[here] + body.opacity * colour
    return picture
