"""What a script says of its set, and what it hands to the engine: facts, pieces to fetch, cases to file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bring.download import Download
from bring.idc import Series
from bring.volume import Volume

if TYPE_CHECKING:
    from bring.fetched import Fetched


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


@dataclass(frozen=True)
class Piece:
    """What is fetched together: one case's files, or an archive of many. `cases` asks `Fetched` for what it needs.

    Names of cases come with a function that makes them, so that those that are there already cost nothing and one
    that is refused stops no other.
    """

    name: str
    cases: Callable[[Fetched], Cases]
    downloads: tuple[Download, ...] = ()
    series: tuple[Series, ...] = ()
    count: float = 1  # of cases, on the average where no more than that is known before


@dataclass(frozen=True)
class Plan:
    """What would be done: pieces in the order of fetching, smallest first where cases can be had alone."""

    about: About
    pieces: tuple[Piece, ...]
