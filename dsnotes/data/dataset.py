"""A folder in the Decathlon layout as a lazy sequence of cases."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import SupportsIndex

import numpy as np

from dsnotes.data.cache import FORMAT, cached
from dsnotes.data.case import Case, class_indices
from dsnotes.data.dataset_folder import read_layout
from dsnotes.data.files import open_case, read_volume, require_same_geometry
from dsnotes.data.foreground import class_counts
from dsnotes.data.geometry import Geometry
from dsnotes.data.layout import Entry
from dsnotes.data.preprocess import Pairs, Preprocess
from dsnotes.safety.nearest import nearest


@dataclass(frozen=True, eq=False)
class Dataset(Sequence):  # not Sequence[Case]: a runtime type check would open a case
    """`data[3]` opens the fourth case, `data["case_07"]` the case of that name; `data[:10]` is a dataset.

    Indexing reads the files each time: `list(data)` keeps small cases in memory; `data.preprocess(…, cache=folder)`
    reads only the voxels a patch needs and keeps recently used cases open.
    """

    name: str
    folder: Path
    labels: dict[int, str]  # value -> name, background first
    modality: tuple[str, ...]  # one name per channel
    entries: tuple[Entry, ...] = field(repr=False)
    original_labels: dict[int, str] = field(repr=False)  # as in dataset.json, before relabelling
    original_channels: int = field(repr=False, default=1)
    ignore: int | None = None  # label value in the files that losses and scores leave out (extras["valid"])
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)  # overlapping sets of labels, by name
    order: tuple[int, ...] = ()  # the label value that each region is written as
    steps: tuple[Preprocess, ...] = ()
    cache: Path | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.entries)

    @property
    def classes(self) -> int:
        """Number of labels or regions, background included, as `build(classes=…)` expects."""
        return 1 + len(self.regions) if self.regions else len(self.labels)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, which: SupportsIndex | slice | str) -> Case | Dataset:
        if isinstance(which, slice):
            return replace(self, entries=self.entries[which])
        if isinstance(which, str):
            return self.subset([which])[0]
        return self._case(self.entries[which])

    def subset(self, which: Iterable[SupportsIndex | str]) -> Dataset:
        """The cases of these indices or names, in this order."""
        place = {entry.name: entry for entry in self.entries}
        entries = []
        for one in which:
            if isinstance(one, str) and one not in place:
                near = nearest(one, place) or list(place)[:3]
                raise KeyError(f"{self.name} has no case {one!r}; the nearest names: {', '.join(near)}.")
            entries.append(place[one] if isinstance(one, str) else self.entries[one])
        return replace(self, entries=tuple(entries))

    def preprocess(self, settings: Preprocess, *, cache: str | os.PathLike | None = None) -> Dataset:
        """The same cases, preprocessed when opened; with `cache` only once, then read as memory maps.

        The cache key is made of the settings and the names, sizes and times of the files: a change of either makes the
        case again. Several processes may share the folder; a killed process leaves no partial case.
        """
        labels, modality = self.labels, self.modality
        if settings.relabel is not None:
            if self.regions:
                raise ValueError(
                    f"relabel={settings.relabel} came for {self.name}, whose regions {list(self.regions)} are made of "
                    f"its labels. Leave relabel out, or remove 'regions' from dataset.json."
                )
            labels = _merged_names(labels, settings.relabel)
        if settings.channels is not None:
            modality = tuple(modality[channel] for channel in settings.channels if channel < len(modality))
        return replace(
            self,
            labels=labels,
            modality=modality,
            steps=(*self.steps, settings),
            cache=Path(cache).absolute() if cache is not None else self.cache,
        )

    def _case(self, entry: Entry) -> Case:
        def make() -> Case:
            case = self._opened(entry)
            for step in self.steps:
                case = step(case)
            return replace(case, extras={**case.extras, "names": self.labels})

        if self.cache is None:
            return make()
        return cached(self.cache / f"{entry.name}-{self._key(entry)}", make)

    @cached_property
    def _settings(self) -> list[str]:
        return [step.json() for step in self.steps]

    def _key(self, entry: Entry) -> str:
        files = [(str(path.relative_to(self.folder)), path.stat()) for path in entry.files()]
        about = {
            "format": FORMAT,
            "steps": self._settings,
            "files": [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files],
            "recist": entry.recist,
            "labels": list(self.original_labels.items()),
            **({} if self.ignore is None else {"ignore": self.ignore}),
        }
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]

    def identity(self) -> dict[str, str]:
        """Hashes that identify the data of a training run: case names, label files, image sizes, preprocessing."""
        labels = hashlib.sha256()
        for entry in self.entries:
            if entry.label is not None:
                labels.update(entry.label.read_bytes())
        sizes = [path.stat().st_size for entry in self.entries for path in entry.files()]
        told = {"names": self.names, "files": sizes, "preprocessing": [*self._settings, list(self.labels.items())]}
        texts = {name: hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16] for name, value in told.items()}
        return {name: f"sha256:{text}" for name, text in (texts | {"labels": labels.hexdigest()[:16]}).items()}

    def _opened(self, entry: Entry) -> Case:
        case = open_case(entry.image, entry.label, name=entry.name)
        if case.channels != self.original_channels:
            raise ValueError(
                f"{entry.files()[0]} has {case.channels} channels, dataset.json names {self.original_channels} under "
                f"'modality'. Name one modality per channel there."
            )
        if case.label is not None and self.ignore is not None:
            case.extras["valid"] = (case.label != self.ignore).astype(np.uint8)
            case = replace(case, label=case.label * case.extras["valid"])
        if case.label is not None:
            present = {int(value) for value in np.flatnonzero(class_counts(case).any(0))}
            if unnamed := sorted(present - set(self.original_labels)):
                raise ValueError(
                    f"{entry.label} holds the label value {', '.join(map(str, unnamed))}, which dataset.json does "
                    f"not name; it names {self.original_labels}. Correct the file, or name the value under 'labels'."
                )
        geometry: Geometry = case.extras["geometry"]
        if entry.readers is not None:
            readers = _read_on_grid(entry.readers, geometry, entry.files()[0])
            case.extras["readers"] = class_indices(readers, str(entry.readers))
        if entry.soft is not None:
            soft = _read_on_grid(entry.soft, geometry, entry.files()[0]).astype(np.float32)
            if not (soft.min() >= 0 and soft.max() <= 1):
                raise ValueError(
                    f"{entry.soft} holds values from {soft.min():g} to {soft.max():g}; a soft mask holds fractions "
                    f"from 0 to 1. Divide it by its maximum (255 for 8 bits), and check for NaN."
                )
            case.extras["soft"] = soft
        if entry.recist is not None:
            case.extras["recist"] = entry.recist
        return case


def open_dataset(
    folder: str | os.PathLike,
    *,
    split: str = "training",
    spacing: tuple[float, ...] | None = None,
    clip: Pairs | None = None,
    normalise: str | Pairs | None = None,
    cache: str | os.PathLike | None = None,
) -> Dataset:
    """Open a folder in the Decathlon layout or nnU-Net's raw layout (version 2).

    `spacing`, `clip`, `normalise` are short for `.preprocess(…)`. `split` is "training" (with labels) or "test".
    Foreground statistics must come from the training cases alone, so compute them after the split:
    train.preprocess(Preprocess(clip=foreground_statistics(train).percentiles, …)).
    """
    layout = read_layout(Path(folder), split)
    data = Dataset(
        layout.name,
        Path(folder),
        layout.labels,
        layout.modality,
        layout.entries,
        layout.labels,
        len(layout.modality),
        layout.ignore,
        layout.regions,
        layout.order,
    )
    settings = Preprocess(spacing=spacing, clip=clip, normalise=normalise)
    return data.preprocess(settings, cache=cache) if settings != Preprocess() or cache is not None else data


def _read_on_grid(path: Path, geometry: Geometry, image: Path) -> np.ndarray:
    """Read a file that must lie on the image's grid, as (channels, *space)."""
    array, own = read_volume(path)
    require_same_geometry(geometry, own, image, path)
    return array if array.ndim > len(own.size) else array[None]


def _merged_names(labels: dict[int, str], relabel: tuple[int, ...]) -> dict[int, str]:
    news = sorted(set(relabel))
    if len(relabel) != len(labels) or news != list(range(len(news))):
        raise ValueError(
            f"relabel={relabel} came for the labels {labels}: pass the new value of each, background first, without "
            f"gaps, such as {(0, *[1] * (len(labels) - 1))} to merge all foreground."
        )
    return {new: "+".join(name for old, name in labels.items() if relabel[old] == new) for new in news}
