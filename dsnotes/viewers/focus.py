"""Where to look: the voxel that the planes go through, by itself in the lesion, on request at the worst mistake."""

from __future__ import annotations

import numpy as np

from dsnotes.viewers.scene import Scene

PLANES = ("axial", "coronal", "sagittal")  # across depth, height, width


def focus(scene: Scene) -> tuple[int, ...]:
    """The voxel that all planes go through: in the largest slice of the highest label, which sets give to the tumour.

    Of truth, prediction, soft mask and readers the first with any foreground decides; with none, the centre.
    """
    for layer in (scene.truth, scene.prediction, scene.soft, *scene.readers.values()):
        if layer is not None and layer.max() > 0:
            inside = np.argwhere(layer == layer.max())
            break
    else:
        return tuple(size // 2 for size in scene.image.shape)
    if scene.image.ndim == 3:
        inside = inside[inside[:, 0] == np.bincount(inside[:, 0]).argmax()]
    distance = ((inside - inside.mean(0)) ** 2).sum(1)  # a ring's centroid lies outside it: take its nearest voxel
    return tuple(int(i) for i in inside[distance.argmin()])


def largest_error(scene: Scene) -> tuple[int, ...] | None:
    """The voxel deepest inside the largest connected piece where truth and prediction differ; None if they agree."""
    if scene.truth is None or scene.prediction is None:
        raise ValueError(
            f"{scene.title!r} shows no {'truth' if scene.truth is None else 'prediction'}, so there is no error to "
            f"jump to: pass a case with a label and prediction=label."
        )
    wrong = scene.truth != scene.prediction
    if not wrong.any():
        return None
    from scipy.ndimage import distance_transform_edt, label

    pieces, _ = label(wrong)
    largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    depth = distance_transform_edt(np.pad(largest, 1), sampling=scene.spacing)
    deepest = np.argwhere(depth == depth.max()) - 1
    distance = ((deepest - np.argwhere(largest).mean(0)) ** 2).sum(1)  # a plate is deepest nearly everywhere
    return tuple(int(i) for i in deepest[distance.argmin()])


def require_inside(scene: Scene, at: tuple[int, ...]) -> tuple[int, ...]:
    shape = scene.image.shape
    if len(at) != len(shape) or not all(0 <= i < n for i, n in zip(at, shape, strict=True)):
        raise ValueError(
            f"at={tuple(at)} is no voxel of {scene.title!r}, whose grid is {shape}: pass one index an axis."
        )
    return tuple(int(i) for i in at)
