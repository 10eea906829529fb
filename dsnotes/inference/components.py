"""Clean-up of a predicted label map by its connected components; voxels are only removed, never added.

`keep_kidneys` is the post-processing of MSS U-Net (at most two kidneys, and only tumours attached to one),
`remove_small` the morphological step that MSDS-UNet mentions. Voxels are connected by faces, edges and corners: 8
neighbours in 2-D, 26 in 3-D.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from dsnotes.data.conversion import as_array
from dsnotes.shapes import Integer

Map = Integer[np.ndarray, "*space"]
Given = Map | Integer[Tensor, "*space"]
Box = tuple[slice, ...]
NEIGHBOURS = {2: 8, 3: 26}


def keep_kidneys(
    label: Given, *, kidney: int = 1, tumour: int = 2, second: float | None = None, literal: bool = False
) -> Map:
    """Keep at most two kidneys, with the tumours attached to them.

    By default (our rule): of the components of kidney-or-tumour that contain kidney, keep the largest, and the next one
    if it has at least `second` times as many voxels (default 0.1). The union is used because a tumour can cut a kidney
    in two. `literal=True` is the paper's rule: of the components of kidney alone keep the two largest, whatever their
    size unless `second` is given, and the components of tumour that touch one of them when dilated by one voxel.
    Both rules remove tumours without a kidney. Of components of equal size, the first in array order counts as larger.
    """
    import cc3d

    label = _map(label)
    if not 0 < min(kidney, tumour) < max(kidney, tumour):
        raise ValueError(
            f"kidney={kidney} and tumour={tumour} must be two different values above 0 (background). "
            f"Pass for instance kidney=1, tumour=2."
        )
    if second is None:
        second = 0 if literal else 0.1
    if not 0 <= second <= 1:
        raise ValueError(
            f"second must be a share of the largest kidney, got {second}. Pass 0 <= second <= 1, such as 0.1."
        )
    box = _foreground(label)
    if box is None:
        return label.copy()

    # For speed, only the bounding box is searched and only the foreground counted: a few per cent of an abdomen.
    inside = label[box].copy()
    found = inside != 0
    values = inside[found]
    _require_values(values, kidney, tumour)
    parts = _components(inside, binary_image=not literal)
    part = parts[found]
    sizes = np.bincount(part)
    is_kidney = np.bincount(part[values == kidney], minlength=len(sizes)) > 0
    keep = _largest_two(np.where(is_kidney, sizes, 0), second)
    if literal:
        for a, b in cc3d.contacts(parts, connectivity=NEIGHBOURS[label.ndim], surface_area=False):
            kidney_part, tumour_part = (a, b) if is_kidney[a] else (b, a)
            keep[tumour_part] |= keep[kidney_part]
    inside[found] = np.where(keep[part], values, 0)
    return _pasted(inside, box, label)


def remove_small(label: Given, *, voxels: int = 64, opening: int = 1) -> Map:
    """Open every class with a ball of radius `opening`, then remove components of fewer than `voxels` voxels.

    The opening removes parts that the ball does not fit into, such as thin bridges and spikes; 0 leaves it out. The
    mask is treated as continuing beyond the image, so a volume of one slice is opened like the slice.
    """
    label = _map(label)
    if voxels < 0 or opening < 0:
        raise ValueError(
            f"voxels={voxels}, opening={opening} came, but neither can be negative. "
            f"Pass voxels=0 to keep components of any size, opening=0 for no opening."
        )
    box = _foreground(label, margin=opening)
    if box is None:
        return label.copy()
    inside = label[box].copy()
    if opening:
        for value in np.unique(inside[inside != 0]):
            mask = inside == value
            inside[mask & ~_opened(mask, opening)] = 0
    found = inside != 0
    part = _components(inside)[found]
    large = np.bincount(part, minlength=1) >= voxels
    inside[found] = np.where(large[part], inside[found], 0)
    return _pasted(inside, box, label)


def _components(inside: np.ndarray, **how: bool) -> np.ndarray:
    import cc3d

    connectivity = NEIGHBOURS[inside.ndim]
    if inside.ndim == 3 and min(inside.shape) > 2:
        return cc3d.connected_components(inside, connectivity=connectivity, **how)
    # cc3d 4.1 fails on a box that is a line, and labels background in 2-D; a rim of background avoids both.
    parts = cc3d.connected_components(np.pad(inside, 1), connectivity=connectivity, **how)
    return np.ascontiguousarray(parts[(slice(1, -1),) * inside.ndim])


def _largest_two(sizes: np.ndarray, second: float) -> np.ndarray:
    """Which of the components stay, given their sizes (0: not a candidate)."""
    first = np.argsort(-sizes, kind="stable")[:2]
    keep = np.zeros(len(sizes), bool)
    # Divide instead of multiplying: 7 / 100 == 0.07 in floats, but 0.07 * 100 > 7.
    keep[first] = (sizes[first] > 0) & (sizes[first] / max(sizes[first[0]], 1) >= second)
    return keep


def _opened(mask: np.ndarray, radius: int) -> np.ndarray:
    from scipy import ndimage

    offsets = np.indices((2 * radius + 1,) * mask.ndim) - radius
    ball = (offsets**2).sum(0) <= radius**2
    return ndimage.binary_dilation(ndimage.binary_erosion(mask, ball, border_value=1), ball)


def _foreground(label: np.ndarray, margin: int = 0) -> Box | None:
    """The bounding box of all non-zero voxels, plus `margin` voxels within the image; None if there are none."""
    box = []
    for axis in range(label.ndim):
        hit = np.flatnonzero(label.any(tuple(other for other in range(label.ndim) if other != axis)))
        if not len(hit):
            return None
        box.append(slice(max(int(hit[0]) - margin, 0), int(hit[-1]) + 1 + margin))
    return tuple(box)


def _pasted(inside: np.ndarray, box: Box, label: np.ndarray) -> np.ndarray:
    out = np.zeros_like(label)
    out[box] = inside
    return out


def _map(label: Given) -> np.ndarray:
    label = as_array(label, "label", example="the label map of one case, such as case.label")
    if label.ndim not in NEIGHBOURS:
        raise ValueError(
            f"a label map of shape {label.shape} came, but (height, width) or (depth, height, width) is needed. "
            f"Pass one case at a time, and for probabilities to_label(p)."
        )
    return label


def _require_values(values: np.ndarray, kidney: int, tumour: int) -> None:
    others = np.unique(values[(values != kidney) & (values != tumour)]).tolist()
    if others:
        raise ValueError(
            f"the label map holds {others} besides kidney={kidney} and tumour={tumour}. Pass the right kidney= and "
            f"tumour=, or set the other values to 0: np.where(np.isin(label, {others}), 0, label)."
        )
