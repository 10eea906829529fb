"""Distances between two surfaces, in millimetres.

A mask's surface is its voxels with a face neighbour outside the mask (connectivity 1, as in MONAI and medpy; outside
the array is outside the mask). The distance of two empty masks is 0 mm; if only one is empty it is infinite, since any
number would be arbitrary and an infinite mean cannot be overlooked.
"""

from __future__ import annotations

import math

import numpy as np

from dsnotes.data.conversion import Array, Spacing, checked_spacing
from dsnotes.metrics.overlap import as_masks

Millimetres = tuple[float, ...]
SMALL = 10_000  # fewer surface voxels than this go through a tree, which spares the import of numba


def hausdorff(prediction: Array, truth: Array, *, spacing: Spacing) -> float:
    """max( max_p min_t |p - t|, max_t min_p |p - t| ) over the two surfaces, in mm."""
    prediction, truth = as_masks(prediction, truth)
    spacing = checked_spacing(spacing, "the masks", axes=truth.ndim, example="spacing=case.spacing")
    surfaces = _surfaces(prediction, truth)
    if surfaces is None:
        return _with_an_empty_mask(prediction, truth)
    p, t, shared = surfaces
    return max(_farthest(p[~shared[0]], t, spacing), _farthest(t[~shared[1]], p, spacing))


def hausdorff95(prediction: Array, truth: Array, *, spacing: Spacing) -> float:
    """The larger of the two directions' 95th percentiles, in mm; as in MONAI (medpy pools both directions)."""
    return percentile_of(surface_distances(prediction, truth, spacing=spacing), 95)


def mean_surface_distance(prediction: Array, truth: Array, *, spacing: Spacing) -> float:
    """(Σ_p min_t |p - t| + Σ_t min_p |p - t|) / (surface voxels of both), in mm: the average symmetric distance."""
    return mean_of(surface_distances(prediction, truth, spacing=spacing))


def surface_dice(prediction: Array, truth: Array, *, spacing: Spacing, tolerance: float = 1.0) -> float:
    """Share of both surfaces' voxels that lie within `tolerance` mm of the other surface: the normalised surface Dice.

    Nikolov et al. 2021, https://doi.org/10.2196/26151; counted in voxels, as in MONAI. 1 for two empty masks.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 mm or more, got {tolerance}. For instance tolerance=1.0.")
    return within(surface_distances(prediction, truth, spacing=spacing), tolerance)


def surface_distances(prediction: Array, truth: Array, *, spacing: Spacing) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each surface voxel to the nearest of the other mask, in mm: prediction to truth, truth to prediction.

    With one mask empty a single infinity; with both empty a single 0.
    """
    prediction, truth = as_masks(prediction, truth)
    spacing = checked_spacing(spacing, "the masks", axes=truth.ndim, example="spacing=case.spacing")
    surfaces = _surfaces(prediction, truth)
    if surfaces is None:
        nothing = np.array([_with_an_empty_mask(prediction, truth)])
        return nothing, nothing
    p, t, (p_shared, t_shared) = surfaces
    there, back = np.zeros(len(p)), np.zeros(len(t))
    there[~p_shared], back[~t_shared] = (_nearest(p[~p_shared], t, spacing), _nearest(t[~t_shared], p, spacing))
    return there, back


def wrong_near_contour(prediction: Array, truth: Array, *, spacing: Spacing, within: float = 2.0) -> float:
    """Share of the wrong voxels that lie at most `within` mm from the truth's surface; nan without truth or errors.

    MSDS-UNet concludes from inaccurately segmented cases, its Fig. 14, that the network misses the contour.
    """
    prediction, truth = as_masks(prediction, truth)
    spacing = checked_spacing(spacing, "the masks", axes=truth.ndim, example="spacing=case.spacing")
    wrong = np.argwhere(prediction != truth)
    if not truth.any() or not len(wrong):
        return math.nan
    far = _tree(np.argwhere(_rim(truth)), spacing).query(wrong * np.asarray(spacing))[0]
    return float((far <= within).mean())


def percentile_of(distances: tuple[np.ndarray, np.ndarray], q: float) -> float:
    """The larger of the two directions' q-th percentiles; q = 100 is the Hausdorff distance."""
    return max(float(d[0]) if np.isinf(d[0]) else float(np.percentile(d, q)) for d in distances)


def within(distances: tuple[np.ndarray, np.ndarray], tolerance: float) -> float:
    return float((np.concatenate(distances) <= tolerance * (1 + 1e-9)).mean())  # 3 × 0.1 mm is within 0.3 mm


def mean_of(distances: tuple[np.ndarray, np.ndarray]) -> float:
    return float(np.concatenate(distances).mean())


def union_box(*masks: np.ndarray) -> tuple[slice, ...] | None:
    """The bounding box of all masks' foreground, or None if all are empty."""
    box = []
    for axis in range(masks[0].ndim):  # axes already done are cropped, so the first one is most of the work
        views = [m[tuple(box)] for m in masks]
        others = tuple(a for a in range(masks[0].ndim) if a != axis)
        hit = np.flatnonzero(np.logical_or.reduce([v.any(axis=others) for v in views]))
        if hit.size == 0:
            return None
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(box)


Surfaces = tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]


def _surfaces(prediction: np.ndarray, truth: np.ndarray) -> Surfaces | None:
    """Surface voxels (n, axes) of both in their common box, and which they share; None if a mask is empty."""
    if not (prediction.any() and truth.any()):
        return None
    box = union_box(prediction, truth)
    p, t = (_rim(np.ascontiguousarray(m[box])) for m in (prediction, truth))
    both = p & t
    p_at, t_at = np.flatnonzero(p), np.flatnonzero(t)
    shared = both.ravel()[p_at], both.ravel()[t_at]
    return *(np.stack(np.unravel_index(at, p.shape), 1) for at in (p_at, t_at)), shared


def _rim(mask: np.ndarray) -> np.ndarray:
    """The mask minus its erosion by face neighbours."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        m, i = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        i[1:] &= m[:-1]
        i[:-1] &= m[1:]
        i[[0, -1]] = False
    return mask ^ inner


def _farthest(points: np.ndarray, others: np.ndarray, spacing: Millimetres) -> float:
    """Largest distance of any point to the nearest of `others`; exact, although few distances are computed.

    By the triangle inequality, a point at distance a from a measured one has at most that one's distance + a. So one
    point per cell is measured first, and then only points that could be farther than the farthest of these.
    """
    if len(points) == 0:
        return 0.0
    step, tree = np.asarray(spacing, dtype=float), _tree(others, spacing)
    cell = np.maximum(np.round(4 * step.min() / step), 1).astype(points.dtype)  # about as long in mm along each axis
    cells = points // cell
    key = np.ravel_multi_index(tuple(cells.T), tuple(cells.max(0) + 1))
    chosen = np.full(key.max() + 1, -1)
    chosen[key] = np.arange(len(points))  # the last point of each cell
    chosen = chosen[chosen >= 0]
    measured = np.empty(key.max() + 1)
    where = points * step
    measured[key[chosen]] = tree.query(where[chosen])[0]
    farthest = measured[key[chosen]].max()
    place = np.empty((key.max() + 1, points.shape[1]))
    place[key[chosen]] = where[chosen]
    bound = measured[key] + np.linalg.norm(where - place[key], axis=1)
    hopeful = where[bound > farthest]
    return float(max(farthest, tree.query(hopeful)[0].max(initial=0)))


def _nearest(points: np.ndarray, others: np.ndarray, spacing: Millimetres) -> np.ndarray:
    """Distance of each point to the nearest of `others`."""
    if len(points) < SMALL:
        return _tree(others, spacing).query(points * np.asarray(spacing))[0] if len(points) else np.empty(0)
    from dsnotes.metrics.nearest_voxel import nearest_distance  # imports numba

    distances = nearest_distance(points, others, spacing)
    far = np.isinf(distances)
    distances[far] = _tree(others, spacing).query(points[far] * np.asarray(spacing))[0] if far.any() else ()
    return distances


def _tree(points: np.ndarray, spacing: Millimetres):
    from scipy.spatial import cKDTree

    # The tree is queried once, so a fast build matters more than balance.
    return cKDTree(points * np.asarray(spacing, dtype=float), leafsize=32, balanced_tree=False, compact_nodes=False)


def _with_an_empty_mask(prediction: np.ndarray, truth: np.ndarray) -> float:
    return math.inf if prediction.any() or truth.any() else 0.0
