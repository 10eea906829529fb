"""Score one label map against the truth: a dict of all metrics that the papers report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dsnotes.data.conversion import Array, Spacing, checked_spacing
from dsnotes.metrics.overlap import (
    accuracy_of,
    both_arrays,
    confusion,
    dice_of,
    iou_of,
    ppv_of,
    require_whole,
    sensitivity_of,
)
from dsnotes.metrics.surface import mean_of, percentile_of, surface_distances, union_box, within

OVERLAPS = {"dice": dice_of, "iou": iou_of, "ppv": ppv_of, "sensitivity": sensitivity_of, "accuracy": accuracy_of}


def score(
    label: Array,
    truth: Array,
    *,
    spacing: Spacing,
    labels: Mapping[int, str] | Sequence[str] | None = None,
    regions: Mapping[str, Sequence[int]] | None = None,
    eps: float = 0,
    valid: Array | None = None,
    tolerance: float = 1.0,
) -> dict[str, float]:
    """Overlap, and surface distances in mm: "dice", "iou", "ppv", "sensitivity", "accuracy", "hausdorff",
    "hausdorff95", "mean_surface_distance", and "surface_dice", the share of the surfaces within `tolerance` mm.

    With several classes these are means over the classes, and each class has its own entries: "dice_1", or
    "dice_kidney" where `labels` names it (value -> name as `dataset.labels`, or the names of 0, 1, 2, … in a list).
    Without `labels` the classes are 1 up to the largest value that occurs, so a class that is absent from one case may
    be absent from its dict.

    `regions` scores unions of classes instead: {"kidney": (1, 2), "tumour": (2,)} as KiTS19 does, where a tumour is
    part of its kidney. `eps` is added to numerator and denominator of each ratio: 1 in µ-Net's Eq. 14. Voxels where
    `valid` is 0, such as `case.extras["valid"]`, count in no ratio, and what is marked there has no surface.
    """
    label, truth = both_arrays(label, truth, "label")
    if label.shape != truth.shape:
        raise ValueError(
            f"the label has shape {label.shape}, the truth {truth.shape}. Both must lie on the same grid: "
            f"undo the crop or the resampling of the prediction first (dsnotes.predict does)."
        )
    for name, x in (("label", label), ("truth", truth)):
        require_whole(x, name)
    spacing = checked_spacing(spacing, "the masks", axes=truth.ndim, example="spacing=case.spacing")
    names = _names(label, truth, None if labels is None else _named(labels))
    wanted = {name: (value,) for value, name in names.items()} if regions is None else _checked(regions)
    ignored = 0
    if valid is not None:
        label, truth = (counted(x, valid) for x in (label, truth))
        ignored = truth.size - int(np.count_nonzero(valid))
    label, truth, outside = _cropped(label, truth)

    rows = {}
    for name, values in wanted.items():
        p, t = ((x == values[0]) if len(values) == 1 else np.isin(x, values) for x in (label, truth))
        counts = confusion(p, t)
        counts = replace(counts, tn=counts.tn + outside - ignored)
        distances = surface_distances(p, t, spacing=spacing)
        rows[name] = {key: ratio(counts, eps=eps) for key, ratio in OVERLAPS.items()} | {
            "hausdorff": percentile_of(distances, 100),
            "hausdorff95": percentile_of(distances, 95),
            "mean_surface_distance": mean_of(distances),
            "surface_dice": within(distances, tolerance),
        }
    if len(rows) == 1 and regions is None:
        return next(iter(rows.values()))
    means = {key: math.fsum(row[key] for row in rows.values()) / len(rows) for key in next(iter(rows.values()))}
    return means | {f"{key}_{name}": x for name, row in rows.items() for key, x in row.items()}


def counted(x: np.ndarray, valid: Array) -> np.ndarray:
    """The label map with nothing marked in the voxels that do not count."""
    valid = np.asarray(valid)
    if valid.shape != x.shape:
        raise ValueError(
            f"valid has shape {valid.shape}, the label {x.shape}. Pass one number a voxel, such as "
            f"case.extras['valid'] of the case that is scored."
        )
    return np.where(valid > 0, x, np.zeros((), x.dtype))


def _names(label: np.ndarray, truth: np.ndarray, labels: Mapping[int, str] | None) -> dict[int, str]:
    """The foreground values to score, and their names."""
    low, high = (int(f([f(x, initial=0) for x in (label, truth)])) for f in (np.min, np.max))
    if labels is not None:
        names = {int(value): str(name) for value, name in labels.items() if int(value) != 0}
        present = np.union1d(np.unique(label), np.unique(truth)).astype(int).tolist()
        if unknown := [v for v in present if v != 0 and v not in names]:
            raise ValueError(
                f"the label maps hold {unknown}, which labels={dict(labels)} does not name. "
                f"Add the name, or set other values to 0: np.where(np.isin(label, {list(names)}), label, 0)."
            )
        if not names:
            raise ValueError(f"labels={dict(labels)} names no foreground. Pass for instance labels={{1: 'tumour'}}.")
        return names
    if low < 0 or high > 32:
        raise ValueError(
            f"the label maps hold values from {low} to {high}, but classes are numbered 0, 1, 2, … "
            f"Pass label > 0 for a mask of 0 and 255, or name the values: labels={{value: name, …}}."
        )
    return {value: str(value) for value in range(1, max(high, 1) + 1)}


def _checked(regions: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """Each region as the label values that it joins."""
    if not regions or not all(len(values) and min(values) > 0 for values in regions.values()):
        raise ValueError(
            f"regions={dict(regions)}: give each region a name and the foreground values it joins, such as "
            f"regions={{'kidney': (1, 2), 'tumour': (2,)}}."
        )
    return {name: tuple(values) for name, values in regions.items()}


def _named(labels: Mapping[int, str] | Sequence[str]) -> dict[int, str]:
    if isinstance(labels, Mapping):
        return dict(labels)
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise TypeError(
            f"labels={labels!r} came; needed is a name for each value. Pass labels={{1: 'kidney', 2: 'tumour'}}, "
            f"or the names in order, labels=['background', 'kidney', 'tumour']."
        )
    return dict(enumerate(labels))


def _cropped(label: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Both cropped to the box around all foreground, and the number of voxels outside."""
    box = union_box(label, truth) or (slice(0, 0),) * truth.ndim
    inside = truth[box]
    return label[box], inside, truth.size - inside.size
