"""List the datasets on disk with what their dataset.json says, without opening an image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dsnotes.data.layout import read_about


@dataclass(frozen=True)
class OnDisk:
    """A folder in the Decathlon layout. `trouble` says why it cannot be opened; empty if it can."""

    folder: Path
    name: str
    cases: int = 0
    missing: int = 0  # files that dataset.json lists and that do not exist
    bytes: int = 0
    labels: tuple[str, ...] = ()
    modality: tuple[str, ...] = ()
    licence: str = ""
    source: str = ""
    tables: tuple[str, ...] = ()  # of the papers, such as "mss-2", as written by the script that fetched it
    trouble: str = ""


def on_disk(folder: str | os.PathLike = "data") -> list[OnDisk]:
    """The datasets in `folder` and its subfolders, sorted by name; empty if there is no such folder."""
    root = Path(folder)
    places = [root, *sorted(path for path in root.iterdir() if path.is_dir())] if root.is_dir() else []
    found = [_read_entry(place) for place in places if (place / "dataset.json").is_file()]
    return sorted(found, key=lambda one: one.name)


def _read_entry(folder: Path) -> OnDisk:
    try:
        about = read_about(folder)
        files = [folder / file for file in _files_of_cases(about)]
    except ValueError as error:
        return OnDisk(folder, folder.name, trouble=str(error))
    try:
        there = [path.stat().st_size for path in files if path.is_file()]
    except (OSError, ValueError) as error:  # a name too long, or with a NUL in it
        return OnDisk(folder, folder.name, trouble=f"{folder}/dataset.json lists an invalid file name ({error})")
    return OnDisk(
        folder=folder,
        name=str(about.get("name", folder.name)),
        cases=len(about.get("training", ())),
        missing=len(files) - len(there),
        bytes=sum(there),
        labels=tuple(_texts(about.get("labels"))),
        modality=tuple(_texts(about.get("modality"))),
        licence=str(about.get("licence") or about.get("license") or ""),
        source=str(about.get("source") or about.get("reference") or ""),
        tables=tuple(_texts(about.get("tables"))),
    )


def _files_of_cases(about: dict) -> Iterator[str]:
    """Every file in the lists of training and test cases."""
    for split in ("training", "test"):
        items = about.get(split) or []
        for item in items if isinstance(items, list) else [None]:
            named = [name for one in (item.values() if isinstance(item, dict) else [item]) for name in _flat(one)]
            if not all(isinstance(name, str) for name in named):
                raise ValueError(
                    f"dataset.json has {str(items)[:60]} under {split!r}; needed is a list of cases, such as "
                    f'[{{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}}].'
                )
            yield from named


def _flat(name: object) -> list:
    return name if isinstance(name, list) else [name]  # an image may be several files, one per channel


def _texts(named: object) -> Iterator[str]:
    """The names under a key of dataset.json, which may be a list or a dict by number."""
    if isinstance(named, dict):
        yield from (str(name) for name in named.values())
    elif isinstance(named, list):
        yield from map(str, named)
