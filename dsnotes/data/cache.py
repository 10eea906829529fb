"""Preprocessed cases on disk as memory-mapped arrays, so that reading a patch reads only its voxels."""

from __future__ import annotations

import json
import os
import shutil
import uuid
import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.foreground import class_counts, lowest, remember
from dsnotes.data.geometry import Geometry
from dsnotes.data.layout import axes
from dsnotes.data.resample import Grid
from dsnotes.safety import checksums

FORMAT = 2  # raise it when the stored data or its computation changes: older folders are then ignored
OPEN = 64  # cases kept open: opening one takes longer than reading a small patch, but each map holds an open file
PLAIN = {"geometry": Geometry, "grid": Grid}


def cached(place: Path, make: Callable[[], Case]) -> Case:
    """The case stored in the folder `place`; made and stored first if it is missing or damaged."""
    if place.is_dir():
        try:
            return _load(place)
        except checksums.DamagedError as error:
            warnings.warn(f"{error} The case is made again.", RuntimeWarning, stacklevel=2)
            damaged = place.with_name(f"{place.name}.damaged-{uuid.uuid4().hex[:8]}")
            place.rename(damaged)
            shutil.rmtree(damaged, ignore_errors=True)
    _store(make(), place)
    return _load(place)


def _store(case: Case, place: Path) -> None:
    part = place.with_name(f"{place.name}.part-{uuid.uuid4().hex[:8]}")
    try:
        part.mkdir(parents=True)
        np.save(part / "image.npy", case.image)
        if case.label is not None:
            np.save(part / "label.npy", case.label)
            np.save(part / "counts.npy", class_counts(case))
        np.save(part / "lowest.npy", lowest(case))
        extras = {name: asdict(value) if name in PLAIN else value for name, value in case.extras.items()}
        arrays = [name for name, value in extras.items() if isinstance(value, np.ndarray)]
        for name in arrays:
            np.save(part / f"extra-{name}.npy", extras.pop(name))
        about = {"name": case.name, "spacing": case.spacing, "extras": extras, "arrays": arrays}
        about["sums"] = {file.name: checksums.of_file(file) for file in sorted(part.iterdir())}
        plain = json.loads(json.dumps(about))  # as JSON returns it: keys become strings, tuples become lists
        (part / "case.json").write_text(json.dumps(checksums.stamped(plain)), encoding="utf-8")
        part.rename(place)
    except OSError as error:
        if place.is_dir():  # another process was first with the same case
            return
        raise OSError(
            f"case {case.name} cannot be cached in {place.parent} ({error.strerror or error}). Free some space, or "
            f"pass cache= a folder that is writable; cases cached so far stay there."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _about(place: Path) -> dict:
    try:
        return checksums.require_stamped(json.loads((place / "case.json").read_text(encoding="utf-8")), place)
    except (OSError, ValueError) as error:
        raise checksums.DamagedError(f"{place} is damaged ({error}).") from error


@lru_cache(None)
def _verify(place: Path) -> None:
    """Check every file's sha256, once per process."""
    for name, stored in _about(place)["sums"].items():
        try:
            found = checksums.of_file(place / name)
        except OSError as error:
            raise checksums.DamagedError(f"{place / name} is damaged ({error.strerror}).") from error
        if found != stored:
            raise checksums.DamagedError(f"{place / name} is damaged: its sha256 differs from the stored one.")


@lru_cache(OPEN)
def _load(place: Path) -> Case:
    _verify(place)
    about = _about(place)
    extras = about["extras"]
    for name, kind in PLAIN.items():
        if name in extras:
            extras[name] = kind(**{key: tuple(value) for key, value in extras[name].items()})
    if "names" in extras:  # JSON has only strings as keys
        extras["names"] = {int(value): name for value, name in extras["names"].items()}
    if "recist" in extras:
        extras["recist"] = axes(extras["recist"])
    extras |= {name: np.load(place / f"extra-{name}.npy", mmap_mode="r") for name in about["arrays"]}
    labelled = os.path.exists(place / "label.npy")
    case = Case(
        about["name"],
        np.load(place / "image.npy", mmap_mode="r"),
        np.load(place / "label.npy", mmap_mode="r") if labelled else None,
        tuple(about["spacing"]),
        extras,
    )
    remember(case, np.load(place / "counts.npy") if labelled else None, np.load(place / "lowest.npy"))
    return case
