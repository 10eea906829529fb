"""Statistics of a dataset, as in the papers' tables of datasets: MSDS-UNet's Table 9 and MSS U-Net's Table I.

Table 9 counts "patches" with and without a tumour, but as many per patient as a CT has slices, so slices are counted
as well as the patches of a grid.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def cohort(
    cases: Sequence[Case],
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
    if not len(cases):
        raise ValueError("no cases came. Pass at least one labelled case, for instance dsnotes.open_dataset(folder).")
    names, sizes, spacings = [], [], []
    slices, patches, tumours = np.zeros(2, int), np.zeros(2, int), dict.fromkeys(SCALES, 0)
    for case in cases:
        label = require_label(case)
        mask = label > 0 if target is None else label == target
        names.append(case.name)
        sizes.append(case.space)
        spacings.append(case.spacing)
        planes = mask.any(axis=(1, 2)) if mask.ndim == 3 else np.array([mask.any()])
        slices += (planes.sum(), (~planes).sum())
        for mm in diameters(mask, spacing=case.spacing):
            tumours[tumour_scale(mm, bounds=bounds)] += 1
        if patch is not None:
            size = patch_on(case, patch)
            for place in tiles(case, patch):
                inside = tuple(slice(max(at, 0), at + n) for at, n in zip(place.start, size, strict=True))
                patches[0 if mask[inside].any() else 1] += 1
    if len({len(size) for size in sizes}) > 1:
        raise ValueError("some cases are 2-D images and others volumes. Count them in separate calls.")
    return Cohort(
        cases=len(names),
        patients=len(set(patients(names, patient))),
        slices=(int(slices[0]), int(slices[1])),
        patches=None if patch is None else (int(patches[0]), int(patches[1])),
        tumours=tumours,
        min_size=tuple(int(n) for n in np.min(sizes, axis=0)),
        max_size=tuple(int(n) for n in np.max(sizes, axis=0)),
        median_size=tuple(float(n) for n in np.median(sizes, axis=0)),
        median_spacing=tuple(float(mm) for mm in np.median(spacings, axis=0)),
    )
