"""Segment the lungs in a chest CT without a network: threshold the enclosed air, then close and fill the mask.

MSDS-UNet trains and tests "after lung segmentation", without naming a method. A plain mask of the air would cut away
tumours at the chest wall or the mediastinum, which are as dense as the wall. So the mask is closed, and `within_lungs`
keeps a margin around it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.conversion import checked_spacing
from dsnotes.shapes import LabelMap

AIR = -400.0  # HU: half-way between lung tissue, about -850, and soft tissue, about 50
SECOND = 0.1  # a second lung has at least this share of the first one's voxels
Box = tuple[slice, ...]


def lung_mask(image: np.ndarray, *, spacing: Sequence[float], threshold: float = AIR, closing: float = 8.0) -> LabelMap:
    """1 in the lungs of a (depth, height, width) CT in HU.

    Connected regions below `threshold` that touch a side of a slice are air around the patient (the first and last
    slice may cut through a lung). Of the others the largest is lung, and so is the second if it has at least a tenth
    of its voxels. A closing by a ball of `closing` mm adds vessels and the edges of tumours; holes in axial slices
    are filled.
    """
    from scipy import ndimage

    spacing = _checked(image, spacing, threshold, closing)
    parts, _ = ndimage.label(image < threshold)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    for side in (parts[:, 0], parts[:, -1], parts[:, :, 0], parts[:, :, -1]):
        sizes[np.unique(side)] = 0
    first = np.argsort(-sizes, kind="stable")[:2]
    lungs = [part for part in first if sizes[part] and sizes[part] >= SECOND * sizes[first[0]]]
    if not lungs:
        raise ValueError(
            f"no lung was found: no region below {threshold} lies within the slices of this image {image.shape}, whose "
            f"values go from {image.min():.4g} to {image.max():.4g}. Pass a chest CT in HU, before windowing, with the "
            f"whole patient in the slice."
        )
    mask = np.zeros(image.shape, np.uint8)
    for part in lungs:  # one at a time: closed together, they would take the heart between them
        box = _box(parts == part, [0] * 3)
        closed = _closed(parts[box] == part, closing, spacing)
        for plane in closed:
            plane[:] = ndimage.binary_fill_holes(plane)
        mask[box] |= closed
    return mask


def within_lungs(case: Case, *, margin: float = 20.0, crop: bool = True, closing: float = 8.0) -> Case:
    """The case with everything farther than `margin` mm from the lungs set to the image's lowest value.

    `crop=True` also crops it to the rest; a warning counts the labelled voxels outside. For an honest score, compare
    `uncropped(prediction, case)` with `uncropped_label(case)`, so that voxels cut off count as missed. With
    `crop=False` the label is unchanged.
    """
    mask = lung_mask(case.image, spacing=case.spacing, closing=closing)
    if margin < 0:
        raise ValueError(f"margin={margin}: pass the mm to keep around the lungs, 0 or more, such as margin=20.")
    reach = [int(np.ceil(margin / mm)) for mm in case.spacing]
    kept = np.zeros(case.space, bool)
    near = _box(mask > 0, reach)
    kept[near] = _dilated(mask[near] > 0, margin, case.spacing)
    case = replace(case, image=np.where(kept, case.image, case.image.min()))
    return _crop_case(case, near) if crop else case


def uncropped(array: np.ndarray, case: Case) -> np.ndarray:
    """Put a prediction ([channels], *space) on a cropped case back on the uncropped grid, with 0 outside."""
    if array.shape[-len(case.space) :] != case.space:
        raise ValueError(
            f"an array of shape {array.shape} came for case {case.name} with the grid {case.space}. Pass the "
            f"prediction on the cropped case together with that case."
        )
    if "cropped" not in case.extras:
        return array
    starts, space = case.extras["cropped"]
    whole = np.zeros((*array.shape[: -len(space)], *space), array.dtype)
    whole[(..., *(slice(at, at + n) for at, n in zip(starts, case.space, strict=True)))] = array
    return whole


def uncropped_label(case: Case) -> LabelMap:
    """The label on the uncropped grid, including the voxels that the crop left out."""
    if case.label is None:
        raise ValueError(f"case {case.name} has no label. Pass a labelled case.")
    whole = uncropped(case.label, case)
    if "cut_off" in case.extras:
        voxels, values = case.extras["cut_off"]
        whole.ravel()[voxels] = values
    return whole


def _crop_case(case: Case, box: Box) -> Case:
    starts = tuple(part.start for part in box)

    def moved(voxel: Sequence[float]) -> tuple[float, ...]:  # the last axes, where it has fewer than the grid
        return tuple(v - start for v, start in zip(voxel, starts[-len(voxel) :], strict=True))

    def cropped(name: str, extra: object) -> object:
        if isinstance(extra, np.ndarray) and extra.shape[-len(case.space) :] == case.space:
            return extra[(..., *box)]
        if name == "tumours":
            return [{**tumour, "centre": moved(tumour["centre"])} for tumour in extra]
        if name == "recist":
            axes = {key: tuple(moved(end) for end in extra[key]) for key in ("long_axis", "short_axis") if key in extra}
            return {**extra, **axes} | ({"slice": extra["slice"] - starts[0]} if "slice" in extra else {})
        return extra

    extras = {name: cropped(name, extra) for name, extra in case.extras.items()} | {"cropped": (starts, case.space)}
    if case.label is None:
        return replace(case, image=case.image[box].copy(), extras=extras)
    label, outside = case.label[box].copy(), case.label.copy()
    outside[box] = 0
    voxels = np.flatnonzero(outside)
    if len(voxels):
        extras["cut_off"] = (voxels, outside.ravel()[voxels])
        warnings.warn(
            f"{len(voxels)} of {np.count_nonzero(case.label)} labelled voxels of case {case.name} lie outside the crop "
            f"around the lungs; a score on the crop would ignore them. Score uncropped(prediction, case) against "
            f"uncropped_label(case), both in dsnotes.data.lungs, or pass crop=False.",
            stacklevel=3,
        )
    return replace(case, image=case.image[box].copy(), label=label, extras=extras)


def _closed(mask: np.ndarray, radius: float, spacing: tuple[float, ...]) -> np.ndarray:
    """Morphological closing by a ball of `radius` mm, padded at the border; contains the original mask."""
    from scipy import ndimage

    room = [(int(np.ceil(radius / mm)) + 1,) * 2 for mm in spacing]
    grown = _dilated(np.pad(mask, room), radius, spacing)
    shrunk = ndimage.distance_transform_edt(grown, sampling=spacing) > radius
    return mask | shrunk[tuple(slice(n, -n) for n, _ in room)]


def _dilated(mask: np.ndarray, radius: float, spacing: tuple[float, ...]) -> np.ndarray:
    from scipy import ndimage

    return ndimage.distance_transform_edt(~mask, sampling=spacing) <= radius


def _box(mask: np.ndarray, room: Sequence[int]) -> Box:
    """The bounding box of the mask, enlarged by `room` voxels within the image."""
    hits = [np.flatnonzero(mask.any(tuple(b for b in range(mask.ndim) if b != a))) for a in range(mask.ndim)]
    ends = zip(hits, room, mask.shape, strict=True)
    return tuple(slice(max(int(hit[0]) - r, 0), min(int(hit[-1]) + 1 + r, n)) for hit, r, n in ends)


def _checked(image: np.ndarray, spacing: Sequence[float], threshold: float, closing: float) -> tuple[float, ...]:
    spacing = checked_spacing(tuple(spacing), "lung_mask")
    if image.ndim != 3 or len(spacing) != 3:
        raise ValueError(
            f"an image of shape {image.shape} with spacing {spacing} came; needed is a volume (depth, height, width) "
            f"with three spacings. Pass one channel of a whole CT."
        )
    if closing < 0 or threshold >= 0:
        raise ValueError(
            f"threshold={threshold}, closing={closing}: needed are threshold < 0 (HU) and closing ≥ 0 (mm). "
            f"Pass for instance threshold=-400, closing=8; closing=0 leaves the closing out."
        )
    return spacing
