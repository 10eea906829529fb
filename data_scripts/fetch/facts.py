"""The facts a script gives about its dataset, and the cases it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fetch.volume import Volume


@dataclass(frozen=True)
class About:
    """Facts of a dataset, printed at the start and written to dataset.json."""

    name: str
    source: str  # a web page
    licence: str
    citation: str
    labels: dict[int, str]
    modality: tuple[str, ...]
    tables: tuple[str, ...] = ()  # of the papers, named as in `dsnotes.systems(table)`
    account: str | None = None  # None: none is needed
    mind: tuple[str, ...] = ()  # what a user of the set should know
    description: str = ""


@dataclass(frozen=True, eq=False)
class Converted:
    """A converted case. An image that is a path is a NIfTI file, which is copied.

    `label` and `readers` lie on the image's grid, in the order of its file.
    """

    image: Volume | Path
    label: np.ndarray | Path | None = None
    readers: np.ndarray | None = None  # (readers, slices, rows, columns)
    recist: dict | None = None
    about: dict | None = None  # further facts for provenance.json
    said: tuple[str, ...] = ()


Cases = Iterable[tuple[str, Callable[[], Converted]]]
