"""To another spacing and back: same middle, true millimetres, every extra of a case on the new grid."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.conversion import Spacing, checked_spacing

LARGEST = 1 << 32  # voxels that a case may grow to: 16 GB of float32
INTERPOLATORS = {0: "sitkNearestNeighbor", 1: "sitkLinear", 3: "sitkBSpline"}


@dataclass(frozen=True)
class Grid:
    """Voxels and the millimetres between them; two grids of one case share their middle."""

    space: tuple[int, ...]
    spacing: tuple[float, ...]


def resample(case: Case, spacing: Spacing, *, image_order: int = 3, label_rule: str = "nearest") -> Case:
    """The case on voxels of `spacing` mm.

    The image by a spline of order 3 (or 1, 0), held within its own range since a spline rings at an edge, and by lines
    alone where an axis has two voxels, through which no spline of order 3 is determined; the label by "nearest", or by
    "linear" shares of each class of which the largest wins, which keeps its surface smoother.
    `extras["grid"]` remembers the first grid, to which `restore` brings a prediction back.
    """
    spacing = checked_spacing(spacing, f"resampling case {case.name}")
    if len(spacing) != len(case.spacing):
        raise ValueError(
            f"spacing {spacing} came for case {case.name}, which has {len(case.spacing)} axes in space. Pass as many "
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
            f"spacing {spacing} makes {there.space} voxels of the {here.space} of case {case.name}, more than fit into "
            f"memory. Pass millimetres of its order, such as {case.spacing}."
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
    """Bring ([channels], *space) predicted on a resampled case back to the grid it was resampled from.

    Whole numbers are class indices and go by the nearest voxel; floats are probabilities and go linearly, so that
    they still sum to one.
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
    """([channels], *here.space) sampled at the voxels of `there`; beyond the border the nearest voxel counts."""
    if here == there:
        return array
    lead = array.shape[: array.ndim - len(here.space)]
    out = np.empty((*lead, *there.space), array.dtype)
    for index in np.ndindex(lead):
        out[index] = _resampled(array[index], here, there, order)
    return out


def _carried(name: str, extra: object, here: Grid, there: Grid) -> object:
    """Maps on the grid are resampled, shares linearly and masks by the nearest voxel; positions in voxels are moved."""

    def moved(voxel):  # its last axes, where it has fewer than the grid
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

    if 2 in array.shape and order == 3:  # ITK's spline reads beyond an axis of two voxels: whatever lies there, or NaN
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
    """Where the first voxel lies (x first) when the middle of the grid is the origin."""
    return tuple(-(n - 1) / 2 * mm for n, mm in zip(grid.space[::-1], grid.spacing[::-1], strict=True))


def _largest_share(label: np.ndarray, here: Grid, there: Grid) -> np.ndarray:
    best, winner = np.zeros(there.space, np.float32), np.zeros(there.space, np.uint8)
    for value in np.unique(label):  # ascending, so that of equal shares the lower class wins
        share = onto((label == value).astype(np.float32), here, there, order=1)
        wins = share > best
        best[wins], winner[wins] = share[wins], value
    return winner
