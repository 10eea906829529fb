"""Describes the data a network was trained on, for its task.json and its model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.layout import read_about
from dsnotes.data.splits import names_of

LOOKED_AT = 20  # cases measured; opening all of a large dataset would take as long as an epoch


def provenance(
    data: str, cases: Sequence[Case], parts: Mapping[str, Sequence[Case]], *, seed: int = 0
) -> dict[str, Any]:
    """Counts of cases; spacing (mm), size and grey values of the first `LOOKED_AT` training cases, unprocessed."""
    about: dict[str, Any] = {"data": data, "cases": {name: len(part) for name, part in parts.items()}}
    names = set(names_of(parts["training"]))
    chosen = [place for place, name in enumerate(names_of(cases)) if name in names][:LOOKED_AT]
    spacings, low, high, sizes = [], [], [], []
    for place in chosen:
        case = cases[place]
        spacings.append(case.spacing)
        sizes.append(case.space)
        image = case.image.reshape(case.channels, -1)[:, ::7]
        ends = np.percentile(image, (0.5, 99.5), axis=1)
        low.append(ends[0])
        high.append(ends[1])
    about["spacing"] = {"lowest": np.min(spacings, 0).tolist(), "highest": np.max(spacings, 0).tolist()}
    about["size"] = {"smallest": np.min(sizes, 0).tolist(), "largest": np.max(sizes, 0).tolist()}
    about["grey values"] = [
        [round(float(a), 4), round(float(b), 4)] for a, b in zip(np.min(low, 0), np.max(high, 0), strict=True)
    ]
    if (folder := getattr(cases, "folder", None)) is not None:
        said = read_about(folder)
        about |= {key: str(said[key]) for key in ("name", "source", "reference", "licence", "license") if key in said}
    else:
        about["phantoms"] = True
    return about
