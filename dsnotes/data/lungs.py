"""Where the lungs are in a chest CT, without a network: air that no way leads out of, closed and filled.

MSDS-UNet trains and tests "after lung segmentation", and does not say by which. A plain mask of the lungs' air leaves
out what the paper looks for: a tumour against the chest wall or the mediastinum is no air, and looks like wall. So the
mask is closed, and `within_lungs` keeps a margin round it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.conversion import checked_spacing
from dsnotes.shapes import LabelMap

AIR = -400.0  # HU: half-way between lung tissue, about -850, and soft tissue
SECOND = 0.1  # a second lung has at least this share of the first one's voxels
Box = tuple[slice, ...]


def lung_mask(image: np.ndarray, *, spacing: Sequence[float], threshold: float = AIR, closing: float = 8.0) -> LabelMap:
    """1 in the lungs of a (depth, height, width) CT in HU.

    Of the connected regions below `threshold` those that reach the sides of a slice are the air round the patient (the
    first and last slice may cut through a lung); of the rest the largest is lung, and the next one if it has a tenth of
    its voxels. Then a closing by a ball of `closing` mm takes in vessels and the rim of what grows into a lung, and
    what is surrounded within an axial slice is filled.
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
            f"values go from {image.min():.4g} to {image.max():.4g}. Pass a chest CT in HU, before any window is laid "
            f"over it, with the whole patient in the slice."
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
    """The case with everything that is further than `margin` mm from the lungs blanked to the image's lowest value.

    `crop=True` also cuts it to the box of what is left, and remembers the labelled voxels outside: a warning counts
    them. For an honest score, compare `uncropped(prediction, case)` with `uncropped_label(case)`: what was cut off is
    missed. With `crop=False` the label stays as it is.
    """
    mask = lung_mask(case.image, spacing=case.spacing, closing=closing)
    if margin < 0:
        raise ValueError(f"margin={margin}: pass the mm to keep round the lungs, 0 or more, such as margin=20.")
    reach = [int(np.ceil(margin / mm)) for mm in case.spacing]
    kept = np.zeros(case.space, bool)
    near = _box(mask > 0, reach)
    kept[near] = _grown(mask[near] > 0, margin, case.spacing)
    case = replace(case, image=np.where(kept, case.image, case.image.min()))
    return _cut(case, near) if crop else case


def uncropped(array: np.ndarray, case: Case) -> np.ndarray:
    """([channels], *space) predicted on a cropped case, on the grid that the case was cropped from; 0 outside."""
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
    """The label on the grid that the case was cropped from, with all that the crop left out."""
    if case.label is None:
        raise ValueError(f"case {case.name} has no label. Pass a labelled case.")
    whole = uncropped(case.label, case)
    if "cut_off" in case.extras:
        voxels, values = case.extras["cut_off"]
        whole.ravel()[voxels] = values
    return whole


def _cut(case: Case, box: Box) -> Case:
    starts = tuple(part.start for part in box)

    def moved(voxel: Sequence[float]) -> tuple[float, ...]:  # the last axes, where it has fewer than the grid
        return tuple(v - start for v, start in zip(voxel, starts[-len(voxel) :], strict=True))

    def carried(name: str, extra: object) -> object:
        if isinstance(extra, np.ndarray) and extra.shape[-len(case.space) :] == case.space:
            return extra[(..., *box)]
        if name == "tumours":
            return [{**tumour, "centre": moved(tumour["centre"])} for tumour in extra]
        if name == "recist":
            axes = {key: tuple(moved(end) for end in extra[key]) for key in ("long_axis", "short_axis") if key in extra}
            return {**extra, **axes} | ({"slice": extra["slice"] - starts[0]} if "slice" in extra else {})
        return extra

    extras = {name: carried(name, extra) for name, extra in case.extras.items()} | {"cropped": (starts, case.space)}
    if case.label is None:
        return replace(case, image=case.image[box].copy(), extras=extras)
    label, outside = case.label[box].copy(), case.label.copy()
    outside[box] = 0
    voxels = np.flatnonzero(outside)
    if len(voxels):
        extras["cut_off"] = (voxels, outside.ravel()[voxels])
        warnings.warn(
            f"{len(voxels)} of {np.count_nonzero(case.label)} labelled voxels of case {case.name} lie outside the crop "
            f"round the lungs, and a score on the crop would forget them. Score uncropped(prediction, case) against "
            f"uncropped_label(case), of dsnotes.data.lungs, or pass crop=False.",
            stacklevel=3,
        )
    return replace(case, image=case.image[box].copy(), label=label, extras=extras)


def _closed(mask: np.ndarray, radius: float, spacing: tuple[float, ...]) -> np.ndarray:
    """Grown by `radius` mm, then shrunk by it, with room for the ball beyond the border; never smaller than before."""
    from scipy import ndimage

    room = [(int(np.ceil(radius / mm)) + 1,) * 2 for mm in spacing]
    grown = _grown(np.pad(mask, room), radius, spacing)
    shrunk = ndimage.distance_transform_edt(grown, sampling=spacing) > radius
    return mask | shrunk[tuple(slice(n, -n) for n, _ in room)]


def _grown(mask: np.ndarray, radius: float, spacing: tuple[float, ...]) -> np.ndarray:
    from scipy import ndimage

    return ndimage.distance_transform_edt(~mask, sampling=spacing) <= radius


def _box(mask: np.ndarray, room: Sequence[int]) -> Box:
    """The smallest box that holds the mask, with `room` voxels round it where the image has them."""
    hits = [np.flatnonzero(mask.any(tuple(b for b in range(mask.ndim) if b != a))) for a in range(mask.ndim)]
    ends = zip(hits, room, mask.shape, strict=True)
    return tuple(slice(max(int(hit[0]) - r, 0), min(int(hit[-1]) + 1 + r, n)) for hit, r, n in ends)


def _checked(image: np.ndarray, spacing: Sequence[float], threshold: float, closing: float) -> tuple[float, ...]:
    spacing = checked_spacing(tuple(spacing), "lung_mask")
    if image.ndim != 3 or len(spacing) != 3:
        raise ValueError(
            f"an image of shape {image.shape} with spacing {spacing} came, but lungs are looked for in a volume "
            f"(depth, height, width) with three spacings. Pass one channel of a whole CT."
        )
    if closing < 0 or threshold >= 0:
        raise ValueError(
            f"threshold={threshold}, closing={closing}: air is looked for below 0 HU and a ball has no negative "
            f"radius. Pass for instance threshold=-400, closing=8; closing=0 closes nothing."
        )
    return spacing
