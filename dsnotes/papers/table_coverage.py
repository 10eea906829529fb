"""Which rows of the papers' tables can be run on the datasets on this disk: `dsnotes data` prints it."""

from __future__ import annotations

import os
from collections.abc import Iterable

from dsnotes.data.catalogue import OnDisk, on_disk
from dsnotes.papers import recipes


def systems_of_tables(tables: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Table -> the systems that are rows of it and can be built; empty if there are none."""
    return {table: tuple(name for name, recipe in recipes().items() if table in recipe.tables) for table in tables}


def data_and_tables(folder: str | os.PathLike = "data") -> list[tuple[OnDisk, dict[str, tuple[str, ...]]]]:
    """Each dataset on disk with the tables that can be run on it and their systems."""
    return [(found, systems_of_tables(found.tables)) for found in on_disk(folder)]
