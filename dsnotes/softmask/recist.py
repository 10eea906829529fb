"""A mask from the two axes that a radiologist measured: GrabCut seeded by them (strategy 3 of the soft masks).

Rother, Kolmogorov, Blake 2004 (https://doi.org/10.1145/1015706.1015720); seeding by RECIST axes after
Cai et al. 2018, https://arxiv.org/abs/1801.08614. Departs from them: the seed is four quarter ellipses through the
four ends of the axes, so that an off-centre crossing is followed.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Shaped, UInt8
from torch import Tensor

from dsnotes.data.conversion import as_array

Slice = Shaped[np.ndarray, "..."] | Shaped[Tensor, "..."]  # (height, width)
Mask = UInt8[np.ndarray, "height width"]
Point = tuple[float, float]  # (row, column)
Axis = tuple[Point, Point]

MARGIN = 1.25  # times the ellipse: pixels farther out are not lesion
CORE = 0.9  # this part of each axis is lesion; its ends lie on the edge
ITERATIONS = 3


def mask_from_recist(image: Slice, long_axis: Axis, short_axis: Axis) -> Mask:
    """The lesion (1) that GrabCut finds round the axes, each ((row, column), (row, column)) in pixels.

    The axes are certain lesion, the ellipse through their ends is probable lesion, and everything beyond 1.25 times
    that ellipse is certain background. Grey values are scaled to the range around the ellipse, so that distant bone or
    metal has no influence. The component on the axes is kept and its holes are filled. OpenCV's random numbers are
    seeded, so the same image and axes give the same mask.
    """
    import cv2

    grey = _checked(image)
    ends = np.asarray((long_axis, short_axis), np.float64)
    crossing = _crossing(ends, grey.shape)
    radius = _ellipse_radius(ends, crossing, grey.shape)  # 1 on the ellipse
    near = radius <= 2
    rows, columns = (slice(at.min(), at.max() + 1) for at in np.nonzero(near))
    low, high = np.percentile(grey[near], (1, 99))
    eight = (np.clip((grey[rows, columns] - low) / max(high - low, 1e-12), 0, 1) * 255).astype(np.uint8)
    axes = np.zeros(grey.shape, np.uint8)
    for start, end in crossing + CORE * (ends - crossing):
        (r0, c0), (r1, c1) = np.rint((start, end)).astype(int).tolist()
        cv2.line(axes, (c0, r0), (c1, r1), 1)
    seeds = np.where(radius <= MARGIN, cv2.GC_PR_BGD, cv2.GC_BGD).astype(np.uint8)
    seeds[radius <= 1] = cv2.GC_PR_FGD
    seeds[axes > 0] = cv2.GC_FGD
    seeds = np.ascontiguousarray(seeds[rows, columns])
    models = np.zeros((2, 1, 65))  # GrabCut fills in its mixture models
    cv2.setRNGSeed(0)  # its k-means draws at random
    cv2.grabCut(np.repeat(eight[..., None], 3, axis=2), seeds, None, *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    mask = np.zeros(grey.shape, np.uint8)
    mask[rows, columns] = np.isin(seeds, (cv2.GC_FGD, cv2.GC_PR_FGD))
    return _filled(_on_axes(mask, axes))


def _checked(image: Slice) -> np.ndarray:
    image = as_array(image, "image", example="case.image")
    if image.ndim != 2:
        raise ValueError(f"image has shape {image.shape}; needed is the slice with the axes. Pass image[slice].")
    if not np.isfinite(image).all():
        raise ValueError(
            "image holds NaN or infinite pixels. Replace them, for instance with "
            "np.nan_to_num(image, nan=image[np.isfinite(image)].min())."
        )
    return np.asarray(image, np.float64)


def _crossing(ends: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Where the axes cross, clipped to 0.1 to 0.9 of each (marks often miss each other by a pixel)."""
    if ends.shape != (2, 2, 2):
        raise ValueError("each axis is ((row, column), (row, column)). If the marks are (x, y), swap each pair.")
    outside = (ends < -0.5) | (ends > np.asarray(shape) - 0.5)
    if outside.any() or not np.isfinite(ends).all():
        raise ValueError(
            f"axes {ends.tolist()} leave the image {tuple(shape)}. Ends are (row, column) in the crop's own pixels: "
            f"swap x and y, or subtract the crop's corner."
        )
    (start, end), (other, other_end) = ends
    along, across = end - start, other_end - other
    area = along[0] * across[1] - along[1] * across[0]
    if abs(area) < 0.1 * np.hypot(*along) * np.hypot(*across) or min(np.hypot(*along), np.hypot(*across)) < 1:
        raise ValueError(
            f"axes of {np.hypot(*along):.1f} and {np.hypot(*across):.1f} pixels that do not cross: {ends.tolist()}. "
            f"Needed are two axes at about a right angle, each at least a pixel long."
        )
    gap = other - start
    t = (gap[0] * across[1] - gap[1] * across[0]) / area
    u = (gap[0] * along[1] - gap[1] * along[0]) / area
    if min(t, u) < -0.25 or max(t, u) > 1.25:
        raise ValueError(
            f"the axes {ends.tolist()} do not cross. Check that both belong to one lesion and that all ends are "
            f"(row, column)."
        )
    t, u = np.clip((t, u), 0.1, 0.9)
    return (start + t * along + other + u * across) / 2


def _ellipse_radius(ends: np.ndarray, crossing: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """√((u/a)² + (v/b)²) of every pixel in the axes' own coordinates, a and b the half axis on the pixel's side."""
    offset = np.indices(shape).transpose(1, 2, 0) - crossing  # (height, width, 2)
    along, across = ends[:, 1] - ends[:, 0]
    lengths = np.hypot(*along), np.hypot(*across)
    basis = np.stack([along / lengths[0], across / lengths[1]], axis=1)
    coordinates = offset @ np.linalg.inv(basis).T
    squares = np.zeros(shape)
    for k in range(2):
        before, after = np.hypot(*(ends[k] - crossing).T)
        u = coordinates[..., k]
        squares += (u / np.where(u < 0, before, after)) ** 2
    return np.sqrt(squares)


def _on_axes(mask: np.ndarray, axes: np.ndarray) -> np.ndarray:
    import cv2

    parts = cv2.connectedComponents(mask, connectivity=4)[1]
    return np.isin(parts, parts[(axes > 0) & (mask > 0)]).astype(np.uint8)


def _filled(mask: np.ndarray) -> np.ndarray:
    """Fill holes: pixels that cannot be reached from the border are lesion."""
    import cv2

    parts = cv2.connectedComponents(np.pad(1 - mask, 1, constant_values=1), connectivity=4)[1]
    return (parts[1:-1, 1:-1] != parts[0, 0]).astype(np.uint8)
