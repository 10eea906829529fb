"""Statistics of a dataset, as in the papers' tables of datasets: MSDS-UNet's Table 9 and MSS U-Net's Table I.

Table 9 counts "patches" with and without a tumour, but as many per patient as a CT has slices, so slices are counted
as well as the patches of a grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.foreground import require_label
from dsnotes.data.patches import patch_on, tiles
from dsnotes.data.patients import Patient, patients
from dsnotes.metrics.tumours import BOUNDS, SCALES, diameters, tumour_scale


@dataclass(frozen=True)
class Cohort:
    """Counts of a dataset or of one part of it; sizes in voxels, spacing in mm, in the order of the arrays."""

    cases: int
    patients: int
    slices: tuple[int, int]  # with the target and without it
    patches: tuple[int, int] | None  # the same for a grid of patches
    tumours: dict[str, int] = field(hash=False)  # per scale
    min_size: tuple[int, ...]
    max_size: tuple[int, ...]
    median_size: tuple[float, ...]
    median_spacing: tuple[float, ...]


@dataclass(frozen=True)
class Counts:
    """Of one case."""

    name: str
    size: tuple[int, ...]
    spacing: tuple[float, ...]
    slices: tuple[int, int]
    patches: tuple[int, int] | None
    tumours: dict[str, int] = field(hash=False)


def counts(
    case: Case,
    *,
    target: int | None = None,
    patch: tuple[int, ...] | None = None,
    bounds: Sequence[float] = BOUNDS,
) -> Counts:
    """Count a labelled case; `target` and `patch` as in `cohort`."""
    label = require_label(case)
    mask = label > 0 if target is None else label == target
    planes = mask.any(axis=(1, 2)) if mask.ndim == 3 else np.array([mask.any()])
    scales = [tumour_scale(mm, bounds=bounds) for mm in diameters(mask, spacing=case.spacing)]
    return Counts(
        name=case.name,
        size=tuple(case.space),
        spacing=tuple(case.spacing),
        slices=(int(planes.sum()), int((~planes).sum())),
        patches=None if patch is None else _patches(case, mask, patch),
        tumours={scale: scales.count(scale) for scale in SCALES},
    )


def _patches(case: Case, mask: np.ndarray, patch: tuple[int, ...]) -> tuple[int, int]:
    size, found = patch_on(case, patch), [0, 0]
    for place in tiles(case, patch):
        inside = tuple(slice(max(at, 0), at + n) for at, n in zip(place.start, size, strict=True))
        found[0 if mask[inside].any() else 1] += 1
    return found[0], found[1]


def cohort(
    cases: Iterable[Case],
    *,
    target: int | None = None,
    patch: tuple[int, ...] | None = None,
    bounds: Sequence[float] = BOUNDS,
    patient: Patient | None = None,
) -> Cohort:
    """Count labelled cases one at a time, so that only one is in memory.

    `target` is the label value to count, by default any foreground; `patch` also counts the patches of a grid. Slices
    are counted across axis 0; a 2-D image is one slice. Min, median and max size are per axis.
    """
    return joined([counts(case, target=target, patch=patch, bounds=bounds) for case in cases], patient=patient)


def joined(each: Sequence[Counts], *, patient: Patient | None = None) -> Cohort:
    """The counts of several cases together, so that the parts of a dataset are not read again."""
    if not each:
        raise ValueError("no cases came. Pass at least one labelled case, for instance dsnotes.open_dataset(folder).")
    sizes = [one.size for one in each]
    if len({len(size) for size in sizes}) > 1:
        raise ValueError("some cases are 2-D images and others volumes. Count them in separate calls.")
    patches = [one.patches for one in each if one.patches is not None]
    return Cohort(
        cases=len(each),
        patients=len(set(patients([one.name for one in each], patient))),
        slices=_sum(one.slices for one in each),
        patches=_sum(patches) if patches else None,
        tumours={scale: sum(one.tumours[scale] for one in each) for scale in SCALES},
        min_size=tuple(int(n) for n in np.min(sizes, axis=0)),
        max_size=tuple(int(n) for n in np.max(sizes, axis=0)),
        median_size=tuple(float(n) for n in np.median(sizes, axis=0)),
        median_spacing=tuple(float(mm) for mm in np.median([one.spacing for one in each], axis=0)),
    )


def _sum(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    with_target, without = zip(*pairs, strict=True)
    return sum(with_target), sum(without)
