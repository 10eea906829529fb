"""Where to look: the voxel that the planes pass through, by default in the lesion, or at the largest error."""

from __future__ import annotations

import numpy as np

from dsnotes.viewers.scene import Scene

PLANES = ("axial", "coronal", "sagittal")  # across depth, height, width


def focus(scene: Scene) -> tuple[int, ...]:
    """The voxel that all planes pass through: in the largest slice of the highest label, usually the tumour.

    The first of truth, prediction, soft mask and readers with foreground is used; if none has any, the image's centre.
    """
    for layer in (scene.truth, scene.prediction, scene.soft, *scene.readers.values()):
        if layer is not None and layer.max() > 0:
            inside = np.argwhere(layer == layer.max())
            break
    else:
        return tuple(size // 2 for size in scene.image.shape)
    if scene.image.ndim == 3:
        inside = inside[inside[:, 0] == np.bincount(inside[:, 0]).argmax()]
    distance = ((inside - inside.mean(0)) ** 2).sum(1)  # a ring's centroid is outside it: take the nearest voxel
    return tuple(int(i) for i in inside[distance.argmin()])


def largest_error(scene: Scene) -> tuple[int, ...] | None:
    """The innermost voxel of the largest connected error; None if truth and prediction agree."""
    if scene.truth is None or scene.prediction is None:
        raise ValueError(
            f"{scene.title!r} shows no {'truth' if scene.truth is None else 'prediction'}, so there is no error to "
            f"show. Pass a case with a label and prediction=label."
        )
    wrong = scene.truth != scene.prediction
    if not wrong.any():
        return None
    from scipy.ndimage import distance_transform_edt, label

    pieces, _ = label(wrong)
    largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    depth = distance_transform_edt(np.pad(largest, 1), sampling=scene.spacing)
    deepest = np.argwhere(depth == depth.max()) - 1
    distance = ((deepest - np.argwhere(largest).mean(0)) ** 2).sum(1)  # of equally deep voxels the most central
    return tuple(int(i) for i in deepest[distance.argmin()])


def require_inside(scene: Scene, at: tuple[int, ...]) -> tuple[int, ...]:
    shape = scene.image.shape
    if len(at) != len(shape) or not all(0 <= i < n for i, n in zip(at, shape, strict=True)):
        raise ValueError(
            f"at={tuple(at)} is not a voxel of {scene.title!r}, whose grid is {shape}. Pass one index per axis."
        )
    return tuple(int(i) for i in at)
