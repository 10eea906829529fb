"""The layout of datasets on disk: that of the Medical Segmentation Decathlon with a few additions.

A folder holds dataset.json, imagesTr/, labelsTr/ (and imagesTs/). Optional are readersTr/<case>.nii.gz with one reader
per index of the fourth axis, softTr/<case>.nii.gz with fractions from 0 to 1, and recistTr.json, {case: axes}.
Additions: an image may be a list of files, one per channel; the highest label may be named "ignore"; "regions" may name
overlapping sets of labels, {"whole tumour": [1, 2, 3], "core": [2, 3]}, each written as its label in
"regions_class_order". nnU-Net's raw folders (version 2) are read too (`dsnotes.data.nnunet`).
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dsnotes.data.files import require_exists, stem
from dsnotes.safety.paths import UnsafePathError, relative

CHANNEL = re.compile(r"[_-](\d{4})$")  # how nnU-Net numbers the channels of a case


@dataclass(frozen=True)
class Entry:
    """The files of one case."""

    name: str
    image: Path | tuple[Path, ...]  # several: one file per channel
    label: Path | None = None
    readers: Path | None = None
    soft: Path | None = None
    recist: dict | None = None

    def files(self) -> list[Path]:
        images = self.image if isinstance(self.image, tuple) else (self.image,)
        return [path for path in (*images, self.label, self.readers, self.soft) if path is not None]


@dataclass(frozen=True)
class Layout:
    """The contents of a folder, according to its dataset.json."""

    name: str
    labels: dict[int, str]  # value -> name, background first
    modality: tuple[str, ...]  # one name per channel
    entries: tuple[Entry, ...]
    ignore: int | None = None  # the label value that losses and scores leave out
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)  # name -> its label values, overlapping
    order: tuple[int, ...] = ()  # the label value that each region is written as, in the order of `regions`


def read_decathlon(folder: Path, about: dict, split: str) -> Layout:
    """Read a Decathlon dataset.json and check that every file it lists exists."""
    labels, modality = _named(about, "labels", folder), _named(about, "modality", folder)
    ignore, regions, order = ignored_label(labels, folder), *_regions(about, folder)
    labels.pop(ignore, None)
    if sorted(labels) != list(range(len(labels))):
        raise ValueError(
            f"{folder}/dataset.json names the label values {sorted(labels)}; a network needs 0 (background), 1, 2, … "
            f"without gaps. Renumber the labels and dataset.json."
        )
    lists = [key for key, value in about.items() if isinstance(value, list)]
    if split not in lists:
        raise ValueError(f"{folder}/dataset.json has no list {split!r}; pass split= one of {lists}.")
    return Layout(
        name=str(about.get("name", folder.name)),
        labels=dict(sorted(labels.items())),
        modality=tuple(modality[key] for key in sorted(modality)),
        entries=tuple(_entries(folder, about[split], split)),
        ignore=ignore,
        regions=regions,
        order=order,
    )


def ignored_label(labels: dict[int, str], folder: Path) -> int | None:
    """The label value named "ignore", which must be the highest, as in nnU-Net."""
    ignore = next((value for value, name in labels.items() if name == "ignore"), None)
    if ignore is not None and ignore != max(labels):
        raise ValueError(
            f"{folder}/dataset.json names {ignore} 'ignore', but the highest label is {max(labels)}. Ignored voxels "
            f"need the highest value: renumber the labels, or let dsnotes adopt do it."
        )
    return ignore


def require_regions(regions: dict[str, tuple[int, ...]], order: tuple[int, ...], folder: Path) -> None:
    if len(order) != len(regions) or len(set(order)) != len(order):
        raise ValueError(
            f"{folder}/dataset.json has {len(regions)} regions and regions_class_order {list(order)}. List there the "
            f"label that each region is written as, such as "
            f"{list(range(1, len(regions) + 1))}; a later region overwrites an earlier one."
        )


def _regions(about: dict, folder: Path) -> tuple[dict[str, tuple[int, ...]], tuple[int, ...]]:
    try:
        regions = {str(name): tuple(map(int, values)) for name, values in about.get("regions", {}).items()}
        order = tuple(map(int, about.get("regions_class_order", range(1, len(regions) + 1))))
    except (AttributeError, TypeError, ValueError):
        raise ValueError(
            f"{folder}/dataset.json has {about['regions']!r} under 'regions'; needed are the label values of each: "
            f'{{"whole tumour": [1, 2, 3], "tumour core": [2, 3]}}.'
        ) from None
    if regions:
        require_regions(regions, order, folder)
    return regions, order


def axes(recist: dict | None) -> dict | None:
    """RECIST axes from JSON, with lists turned into tuples of end points."""
    if recist is None:
        return None
    return {key: tuple(map(tuple, value)) if key.endswith("_axis") else value for key, value in recist.items()}


def read_about(folder: Path) -> dict:
    """The content of dataset.json."""
    path = folder / "dataset.json"
    if not path.is_file():
        below = sorted(str(found.parent) for found in folder.glob("*/dataset.json"))
        raise FileNotFoundError(
            f"{folder} holds no dataset.json. Needed is the Decathlon layout: dataset.json, imagesTr/, labelsTr/ "
            f"(dsnotes adopt converts your own files to it, data_scripts/ public datasets)."
            + (f" Folders below that have one: {', '.join(below[:5])}." if below else "")
        )
    about = _json(path)
    if not isinstance(about, dict):
        raise ValueError(f"{path} holds a {type(about).__name__}; needed is a dict of labels, modality, training.")
    for split in ("training", "test"):
        if not isinstance(about.get(split, []), list):
            raise ValueError(
                f"{path} has {about[split]!r} under {split!r}; needed is a list of cases, such as "
                f'[{{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}}].'
            )
    return about


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}). Correct it, or fetch it again.") from error


def _recists(path: Path) -> dict[str, dict]:
    found = _json(path)
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise ValueError(f'{path} holds no axes. Needed is {{"case": {{"slice": 2, "long_axis": [[1, 2], [3, 4]]}}}}.')
    return found


def _named(about: dict, key: str, folder: Path) -> dict[int, str]:
    named = about.get(key)
    try:
        return {int(value): str(name) for value, name in named.items()}
    except (AttributeError, ValueError) as error:
        example = '{"0": "background", "1": "tumour"}' if key == "labels" else '{"0": "CT"}'
        raise ValueError(
            f"{folder}/dataset.json has {named!r} under {key!r}; needed is a name for each number: {example}."
        ) from error


def without_channel(stem: str) -> str:
    """case_0001 -> case"""
    return CHANNEL.sub("", stem)


def _entries(folder: Path, listed: list, split: str) -> Iterator[Entry]:
    recists: dict[str, dict] = {}
    seen: set[str] = set()
    for item in listed:
        files = _files(item, folder, split)
        listed_images = [files["image"]] if isinstance(files["image"], str) else files["image"]
        images = tuple(_listed_path(folder, path) for path in listed_images)
        label = _listed_path(folder, files["label"]) if "label" in files else None
        for path in (*images, label):
            if path is not None:
                _require_listed(path, folder, split)
        name = stem(images[0]) if len(images) == 1 else without_channel(stem(images[0]))
        suffix = images[0].parent.name.removeprefix("images")
        if name in seen:
            raise ValueError(f"{folder}/dataset.json lists {name!r} more than once under {split!r}; keep one.")
        seen.add(name)
        if suffix not in recists:
            path = folder / f"recist{suffix}.json"
            recists[suffix] = _recists(path) if path.is_file() else {}
        beside = {what: folder / f"{what}{suffix}" / f"{name}.nii.gz" for what in ("readers", "soft")}
        found = {what: path for what, path in beside.items() if path.is_file()}
        yield Entry(
            name, images if len(images) > 1 else images[0], label, recist=axes(recists[suffix].get(name)), **found
        )


def _files(item: object, folder: Path, split: str) -> dict:
    """The files of one list entry: a dict of image and label, or just the image's path."""
    files = {"image": item} if isinstance(item, str) else item
    if isinstance(files, dict) and "image" in files:
        named = {key: files[key] for key in ("image", "label") if key in files}
        image = named["image"]
        paths = [*(image if isinstance(image, list) and image else [image]), named.get("label", "")]
        if all(isinstance(path, str) for path in paths):
            return named
    raise ValueError(
        f"{folder}/dataset.json lists {json.dumps(item)} under {split!r}, where each entry names one image. Write "
        f'{{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}}, or just the path of the image.'
    )


def _listed_path(folder: Path, name: str) -> Path:
    """The path, which must be written as below the folder; links are followed, as large data often lie elsewhere."""
    try:
        return folder.joinpath(*relative(posixpath.normpath(name)).parts)
    except UnsafePathError as error:
        raise ValueError(f"{folder}/dataset.json: {error} To use a file elsewhere, link it into {folder}.") from error


def _require_listed(path: Path, folder: Path, split: str) -> None:
    try:
        require_exists(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder}/dataset.json lists under {split!r} a file that is missing: {error} Fetch the rest, or remove "
            f"the case from dataset.json."
        ) from error
