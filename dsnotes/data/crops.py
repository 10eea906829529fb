"""Read a dataset folder as crops of one size around the foreground, so that notebooks run on it as on phantoms.

cases, names = read_crops("data/Task04_Hippocampus", size=(32, 48, 32), labels=2)
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.conversion import Spacing
from dsnotes.data.dataset import open_dataset
from dsnotes.data.patches import crop
from dsnotes.data.preprocess import Preprocess
from dsnotes.data.region import around

CLIP = (0.5, 99.5)  # percentiles of a crop's grey values that become 0 and 1


def read_crops(
    folder: str | os.PathLike,
    *,
    size: Sequence[int],
    spacing: Spacing | None = None,
    labels: int = 1,
    most: int = 40,
) -> tuple[list[Case], dict[int, str]]:
    """The first `most` cases that have foreground, as boxes of `size` voxels around it, and the names of the labels.

    Images are resampled to `spacing`, reduced to their first channel and scaled to 0 … 1. `labels` is the number of
    foreground classes to keep: with 1 all are merged. `extras` are those of the phantoms that a label can
    provide: `alpha` (of the last class) and `organ_alpha` (of all), `components` and `tumours`.
    """
    data = open_dataset(folder)
    found = [value for value in data.labels if value]
    if len(found) < labels:
        raise ValueError(
            f"{data.name} has the foreground labels {list(data.labels.values())[1:]}, but {labels} are needed here. "
            f"Pass a dataset with {labels} or more."
        )
    cases = []
    for place in range(len(data)):
        case = data[place]
        if len(cases) < most and case.label is not None and (case.label > 0).any():
            cases.append(_crop(case, tuple(size), spacing, labels))
    if not cases:
        raise ValueError(f"no case of {data.name} has a label with foreground. Pass a labelled dataset.")
    names = {value: data.labels[value] for value in found[:labels]}
    return cases, names if labels > 1 else {1: " or ".join(data.labels[value] for value in found)}


def _crop(case: Case, size: tuple[int, ...], spacing: Spacing | None, labels: int) -> Case:
    if len(size) != len(case.space):
        raise ValueError(f"size={size} came for case {case.name} with the grid {case.space}: pass one number per axis.")
    image = case.image[0] if case.image.ndim > len(size) else case.image
    case = replace(case, image=image, label=np.minimum(case.label, labels), extras={})
    if spacing is not None:
        case = Preprocess(spacing=tuple(spacing))(case)
    region = around(case.label > 0, margin=0)
    start = tuple((at.start + at.stop - n) // 2 for at, n in zip(region, size, strict=True))
    low, high = np.percentile(case.image, CLIP)
    scaled = np.clip((case.image - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
    label = np.ascontiguousarray(crop(case.label, start, size, pad=0))
    image = np.ascontiguousarray(crop(scaled, start, size, pad=0.0))
    return Case(case.name, image, label, case.spacing, _phantom_extras(label, case.spacing))


def _phantom_extras(label: np.ndarray, spacing: tuple[float, ...]) -> dict:
    """The extras that phantoms have for their lesions, computed from the connected components of the last class."""
    from scipy import ndimage

    inside = label == label.max(initial=1)
    components, n = ndimage.label(inside, np.ones((3,) * label.ndim))
    tumours = []
    for component in range(1, n + 1):
        voxels = np.argwhere(components == component)
        volume = len(voxels) * math.prod(spacing)
        diameter = (6 * volume / math.pi) ** (1 / 3) if label.ndim == 3 else 2 * math.sqrt(volume / math.pi)
        tumours.append(
            {"component": component, "centre": tuple(map(float, voxels.mean(0))), "diameter_mm": diameter}
            | {"volume_mm3": volume}
        )
    tumours.sort(key=lambda one: -one["volume_mm3"])
    alpha, both = inside.astype(np.float32), (label > 0).astype(np.float32)
    return {"alpha": alpha, "organ_alpha": both, "components": components.astype(np.int32), "tumours": tumours}
