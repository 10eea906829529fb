"""Resample a case, with its extras, to another spacing and a prediction back; both grids share their centre."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.conversion import Spacing, checked_spacing

LARGEST = 1 << 32  # maximum number of voxels after resampling: 16 GB of float32
INTERPOLATORS = {0: "sitkNearestNeighbor", 1: "sitkLinear", 3: "sitkBSpline"}


@dataclass(frozen=True)
class Grid:
    """Size in voxels and spacing in mm; the grids of one case share their centre."""

    space: tuple[int, ...]
    spacing: tuple[float, ...]


def resample(case: Case, spacing: Spacing, *, image_order: int = 3, label_rule: str = "nearest") -> Case:
    """The case resampled to voxels of `spacing` mm.

    The image uses a spline of order 3 (or 1, 0), clipped to the image's range because splines overshoot at edges, and
    linear interpolation where an axis has only two voxels. The label uses "nearest", or "linear" interpolation of each
    class followed by the argmax, which keeps surfaces smoother.
    `extras["grid"]` keeps the original grid for `restore`.
    """
    spacing = checked_spacing(spacing, f"resampling case {case.name}")
    if len(spacing) != len(case.spacing):
        raise ValueError(
            f"spacing {spacing} came for case {case.name}, which has {len(case.spacing)} spatial axes. Pass as many "
            f"numbers, such as {case.spacing}."
        )
    if image_order not in INTERPOLATORS or label_rule not in ("nearest", "linear"):
        raise ValueError(
            f"image_order={image_order}, label_rule={label_rule!r}: pass an order of {sorted(INTERPOLATORS)} and "
            f"'nearest' or 'linear'."
        )
    if np.allclose(spacing, case.spacing, rtol=1e-4):
        return case
    here = Grid(case.space, case.spacing)
    there = Grid(
        tuple(max(1, round(n * mm / new)) for n, mm, new in zip(case.space, case.spacing, spacing, strict=True)),
        spacing,
    )
    if math.prod(there.space) > max(LARGEST, math.prod(here.space)):
        raise ValueError(
            f"spacing {spacing} turns the {here.space} voxels of case {case.name} into {there.space}, too many for the "
            f"memory. Pass larger millimetres; the case has {case.spacing}."
        )
    image = onto(case.image, here, there, order=image_order)
    space = tuple(range(-len(spacing), 0))
    np.clip(image, case.image.min(space, keepdims=True), case.image.max(space, keepdims=True), out=image)
    label = case.label
    if label is not None:
        label = onto(label, here, there, order=0) if label_rule == "nearest" else _largest_share(label, here, there)
    extras = {"grid": here, **{name: _carried(name, extra, here, there) for name, extra in case.extras.items()}}
    return replace(case, image=image, label=label, spacing=spacing, extras=extras)


def restore(array: np.ndarray, case: Case) -> np.ndarray:
    """Resample a prediction ([channels], *space) on a resampled case back to the original grid.

    Integers are class indices and use nearest-neighbour interpolation; floats are probabilities and use linear, so
    that they still sum to one.
    """
    if array.shape[-len(case.space) :] != case.space:
        raise ValueError(
            f"an array of shape {array.shape} came for case {case.name} with the grid {case.space}. Pass the "
            f"prediction on the preprocessed case together with that case."
        )
    grid = case.extras.get("grid")
    if grid is None:  # never resampled
        return array
    return onto(array, Grid(case.space, case.spacing), grid, order=1 if array.dtype.kind == "f" else 0)


def onto(array: np.ndarray, here: Grid, there: Grid, *, order: int) -> np.ndarray:
    """Resample ([channels], *here.space) to the grid `there`; outside the border the nearest voxel is used."""
    if here == there:
        return array
    lead = array.shape[: array.ndim - len(here.space)]
    out = np.empty((*lead, *there.space), array.dtype)
    for index in np.ndindex(lead):
        out[index] = _resampled(array[index], here, there, order)
    return out


def _carried(name: str, extra: object, here: Grid, there: Grid) -> object:
    """An extra on the new grid: fractions resampled linearly, masks by nearest neighbour, voxel positions converted."""

    def moved(voxel):  # on the last axes, if it has fewer than the grid
        axes = list(zip(here.space, here.spacing, there.space, there.spacing, strict=True))[-len(voxel) :]
        return tuple(((v - (n - 1) / 2) * a) / b + (m - 1) / 2 for v, (n, a, m, b) in zip(voxel, axes, strict=True))

    if isinstance(extra, np.ndarray):
        on_grid = extra.ndim >= len(here.space) and extra.shape[-len(here.space) :] == here.space
        return onto(extra, here, there, order=1 if extra.dtype.kind == "f" else 0) if on_grid else extra
    if name == "recist":
        axes = {key: tuple(moved(end) for end in extra[key]) for key in ("long_axis", "short_axis") if key in extra}
        if "slice" in extra:
            depth = moved((extra["slice"], 0, 0))[0]
            axes["slice"] = min(max(round(depth), 0), there.space[0] - 1)
        return {**extra, **axes}
    if name == "tumours":
        return [{**tumour, "centre": moved(tumour["centre"])} for tumour in extra]
    return extra


def _resampled(array: np.ndarray, here: Grid, there: Grid, order: int) -> np.ndarray:
    import SimpleITK as sitk

    if 2 in array.shape and order == 3:  # ITK's spline reads out of bounds on an axis of two voxels
        order = 1
    array = array.view(np.uint8) if array.dtype == bool else array
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(here.spacing[::-1])
    image.SetOrigin(_first_voxel(here))
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(there.space[::-1])
    resampler.SetOutputSpacing(there.spacing[::-1])
    resampler.SetOutputOrigin(_first_voxel(there))
    resampler.SetInterpolator(getattr(sitk, INTERPOLATORS[order]))
    resampler.UseNearestNeighborExtrapolatorOn()
    return sitk.GetArrayFromImage(resampler.Execute(image))


def _first_voxel(grid: Grid) -> tuple[float, ...]:
    """Position of the first voxel (x first) with the centre of the grid as origin."""
    return tuple(-(n - 1) / 2 * mm for n, mm in zip(grid.space[::-1], grid.spacing[::-1], strict=True))


def _largest_share(label: np.ndarray, here: Grid, there: Grid) -> np.ndarray:
    best, winner = np.zeros(there.space, np.float32), np.zeros(there.space, np.uint8)
    for value in np.unique(label):  # ascending, so that ties go to the lower class
        share = onto((label == value).astype(np.float32), here, there, order=1)
        wins = share > best
        best[wins], winner[wins] = share[wins], value
    return winner
