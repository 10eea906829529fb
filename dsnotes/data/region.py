"""Regions of interest: cut out the box around an organ, resample it to one size, and put a prediction back.

    region = around(case.label > 0, margin=0.1)       # label in training, coarse prediction in testing
    small = cut(case, region, size=(96, 96, 96))
    whole = put_back(dsnotes.predict(system, small), small)

Two rows of MSS U-Net's results table use such regions.
"""

from __future__ import annotations

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.resample import Grid, onto

Region = tuple[slice, ...]


def around(mask: np.ndarray, *, margin: float = 0.1) -> Region:
    """The mask's bounding box, extended on each side by `margin` times its length; the whole grid if it is empty."""
    if margin < 0:
        raise ValueError(f"margin={margin} would cut off part of the mask. Pass margin=0 or more, such as 0.1.")
    if not mask.any():
        return tuple(slice(0, n) for n in mask.shape)
    region = []
    for axis, size in enumerate(mask.shape):
        hit = np.flatnonzero(mask.any(tuple(other for other in range(mask.ndim) if other != axis)))
        first, last = int(hit[0]), int(hit[-1]) + 1
        more = int(np.ceil(margin * (last - first)))
        region.append(slice(max(first - more, 0), min(last + more, size)))
    return tuple(region)


def cut(case: Case, region: Region, *, size: tuple[int, ...] | None = None) -> Case:
    """The case within the region, resampled to `size` voxels; `extras["region"]` keeps the position.

    Of the other `extras` only "valid" is kept.
    """
    axes = len(case.space)
    if len(region) != axes or (size is not None and len(size) != axes):
        raise ValueError(
            f"a region of {len(region)} axes and size={size} came for case {case.name}, which has {axes}. Pass as many "
            f"slices and numbers, for instance around(case.label > 0)."
        )
    image = np.ascontiguousarray(case.image[(..., *region)])
    label = None if case.label is None else np.ascontiguousarray(case.label[region])
    here = Grid(tuple(int(n) for n in image.shape[-axes:]), case.spacing)
    there = here
    if size is not None:
        spacing = tuple(mm * n / new for mm, n, new in zip(here.spacing, here.space, size, strict=True))
        there = Grid(tuple(size), spacing)
    extras = {"region": region, "whole": Grid(case.space, case.spacing)}
    if "valid" in case.extras:
        extras["valid"] = onto(np.ascontiguousarray(case.extras["valid"][region]), here, there, order=0)
    return Case(
        case.name,
        onto(image, here, there, order=1),
        None if label is None else onto(label, here, there, order=0),
        there.spacing,
        extras,
    )


def put_back(array: np.ndarray, case: Case, *, background: bool = True) -> np.ndarray:
    """Put ([classes], *space) of a cut case back on the grid it was cut from, with background outside the region.

    Integers are class indices and use nearest-neighbour interpolation; floats are probabilities and use linear. If
    there are several channels, the first is background, with probability 1 outside the region, unless `background` is
    False (channels that are overlapping regions).
    """
    if "region" not in case.extras:
        raise ValueError(f"case {case.name} has no region to put back. Pass the case that cut(case, region) returned.")
    if array.shape[-len(case.space) :] != case.space:
        raise ValueError(
            f"an array of shape {array.shape} came for case {case.name} with the grid {case.space}. Pass the "
            f"prediction on the cut case together with that case."
        )
    region, whole = case.extras["region"], case.extras["whole"]
    inside = Grid(tuple(at.stop - at.start for at in region), whole.spacing)
    found = onto(array, Grid(case.space, case.spacing), inside, order=1 if array.dtype.kind == "f" else 0)
    out = np.zeros((*array.shape[: array.ndim - len(case.space)], *whole.space), array.dtype)
    if background and array.dtype.kind == "f" and out.ndim > len(region) and len(out) > 1:
        out[0] = 1
    out[(..., *region)] = found
    return out


def regions(cases: list[Case], *, margin: float = 0.1, size: tuple[int, ...] | None = None) -> list[Case]:
    """Cut each labelled case to the region around its foreground, for training."""
    unlabelled = [case.name for case in cases if case.label is None]
    if unlabelled:
        raise ValueError(f"cases {unlabelled[:3]} have no label to find a region from. Pass labelled cases only.")
    return [cut(case, around(case.label > 0, margin=margin), size=size) for case in cases]
