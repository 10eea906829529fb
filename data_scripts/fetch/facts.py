"""What a script says of its set, and the cases that it makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fetch.volume import Volume


@dataclass(frozen=True)
class About:
    """The facts that are printed before anything starts, and kept in dataset.json."""

    name: str
    source: str  # the page a person can open
    licence: str
    citation: str
    labels: dict[int, str]
    modality: tuple[str, ...]
    tables: tuple[str, ...] = ()  # of the papers, as `dsnotes.systems(table)` names them
    account: str | None = None  # None: none is needed
    mind: tuple[str, ...] = ()  # what a user of the set should know
    description: str = ""


@dataclass(frozen=True, eq=False)
class Converted:
    """A case as it is filed. An image that is a path is a NIfTI file that is taken as it is.

    `label` and `readers` lie on the image's grid, in the order of its file.
    """

    image: Volume | Path
    label: np.ndarray | Path | None = None
    readers: np.ndarray | None = None  # (readers, slices, rows, columns)
    recist: dict | None = None
    about: dict | None = None  # what else is known of it, for provenance.json
    said: tuple[str, ...] = ()


Cases = Iterable[tuple[str, Callable[[], Converted]]]
