"""Pair the files in a user's folder by name: an image, its other channels and its label.

A label has a word for it in its name (`case01_seg.nii.gz`, `mask-case01.png`, `case01/label.nii.gz`) or in its folder's
(`labels/`, `labelsTr/`, `masks/`). Channels end in a number (`_0000`, `_0001`) or an MR sequence (`_t1`, `_flair`).
The rest of the name, or the folder if nothing is left, is the case. Similar names are never matched.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from dsnotes.data.files import SUFFIXES, stem
from dsnotes.safety.nearest import nearest

LABEL_WORDS = {"seg", "segm", "segmentation", "segmentations", "label", "labels", "labelmap", "mask", "masks", "roi"}
LABEL_WORDS |= {"gt", "truth", "groundtruth", "annotation"}
IMAGE_WORDS = {"image", "images", "img", "imgs", "imaging", "scan", "scans", "vol", "volume", "volumes", "orig"}
SEQUENCES = (
    "t1",
    "t1w",
    "t1n",
    "t1c",
    "t1ce",
    "t1gd",
    "t1post",
    "t2",
    "t2w",
    "t2f",
    "flair",
    "adc",
    "dwi",
    "pd",
    "pet",
)
FOLDERS = {"imagestr", "labelstr", "imagests", "labelsts"}


@dataclass(frozen=True)
class Pair:
    """The files of one case; `channels` are the name endings of its images."""

    name: str
    images: tuple[Path, ...]
    label: Path
    channels: tuple[str, ...] = ()


@dataclass
class Pairs:
    """`unpaired`: file -> reason; `wrong`: case -> problem to solve before anything is written."""

    pairs: list[Pair] = field(default_factory=list)
    unpaired: dict[Path, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Read:
    path: Path
    case: tuple[str, ...]  # folders that are not for images or labels, and the rest of the file's name
    is_label: bool
    channel: str


def image_files(folder: Path) -> list[Path]:
    """Every image file below the folder, except hidden ones and DICOM."""
    found = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = [name for name in sorted(files) if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
        found += [Path(root, name) for name in names if not name.lower().endswith(".dcm")]
    return found


def pair(folder: Path, labels: Path | None = None) -> Pairs:
    """The pairs below a folder; `labels` is a separate folder for the labels."""
    files = image_files(folder)
    if labels is None:
        read = [_read(path, folder) for path in files]
    else:
        apart = set(image_files(labels))
        read = [_read(path, folder, is_label=False) for path in files if path not in apart]
        read += [_read(path, labels, is_label=True) for path in sorted(apart)]
    if any(one.is_label and one.channel.isdigit() for one in read):  # scan_0001_seg: the number is the case's
        read = [replace(x, case=_name_with_channel(x), channel="") if x.channel.isdigit() else x for x in read]
    by_case: dict[tuple[str, ...], list[_Read]] = {}
    for one in read:
        by_case.setdefault(one.case, []).append(one)
    names = _names(list(by_case))
    found = Pairs()
    for case, ones in by_case.items():
        _pair_case(names[case], ones, found)
    _hint(found)
    _require_same_channels(found)
    return found


def _read(path: Path, root: Path, *, is_label: bool | None = None) -> _Read:
    folders = path.relative_to(root).parts[:-1]
    said = {word for name in folders for word in _words(name)} | {name.lower() for name in folders}
    label = bool(said & (LABEL_WORDS | {"labelstr", "labelsts"})) if is_label is None else is_label
    words = re.split(r"([_\-. ]+)", stem(path))
    kept, channel = list(words), ""
    while len(kept) > 1 or kept[0]:
        last = kept[-1].lower()
        if last in LABEL_WORDS and is_label is not False:
            label = True
        elif ((re.fullmatch(r"\d{4}", last) and len(kept) > 1) or last in SEQUENCES) and not channel:
            channel = last
        elif last not in IMAGE_WORDS and last != "":
            break
        kept = kept[:-2] if len(kept) > 1 else [""]
        if kept == [""]:
            break
    while len(kept) > 1 and kept[0].lower() in LABEL_WORDS | IMAGE_WORDS:
        label |= kept[0].lower() in LABEL_WORDS and is_label is not False
        kept = kept[2:]
    if kept[0].lower() in LABEL_WORDS | IMAGE_WORDS:
        label |= kept[0].lower() in LABEL_WORDS and is_label is not False
        kept = [""]
    left = "".join(kept)
    places = [name for name in folders if not _is_role(name)]
    if left and places and places[-1].lower() == left.lower():
        left = ""
    return _Read(path, (*places, *([left] if left else [])), label, channel)


def _name_with_channel(one: _Read) -> tuple[str, ...]:
    """The case's name including the number that looked like a channel."""
    alone = len(one.case) == 0 or (stem(one.path).lower().startswith(one.channel))
    return (*one.case, one.channel) if alone else (*one.case[:-1], f"{one.case[-1]}_{one.channel}")


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[_\-. ]+", name.lower()) if word]


def _is_role(name: str) -> bool:
    return name.lower() in FOLDERS or all(word in LABEL_WORDS | IMAGE_WORDS for word in _words(name))


def _names(cases: list[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """A short name of each case: its last part if unique, else with all folders."""
    last = [case[-1] if case else "case" for case in cases]
    return {case: one if last.count(one) == 1 else "_".join(case) for case, one in zip(cases, last, strict=True)}


def _pair_case(name: str, ones: list[_Read], found: Pairs) -> None:
    labels, images = [one for one in ones if one.is_label], [one for one in ones if not one.is_label]
    images.sort(key=lambda one: (SEQUENCES.index(one.channel) if one.channel in SEQUENCES else -1, one.channel))
    marks = tuple(one.channel for one in images)
    if not labels or not images:
        lacking = "label" if not labels else "image"
        found.unpaired |= {one.path: f"no {lacking} of this name" for one in ones}
    elif len(labels) > 1:
        found.wrong[name] = f"{len(labels)} labels for one image: {_file_names(labels)}. Keep one of them"
    elif len(images) > 1 and (len(set(marks)) < len(marks) or ("" in marks and any(map(str.isdigit, marks)))):
        found.wrong[name] = (
            f"{len(images)} images for one label: {_file_names(images)}. Keep one, or end the names of channels in "
            f"_0000, _0001"
        )
    else:
        found.pairs.append(Pair(name, tuple(one.path for one in images), labels[0].path, marks))


def _file_names(ones: list[_Read]) -> str:
    return ", ".join(one.path.name for one in ones)


def _hint(found: Pairs) -> None:
    """Add the nearest other name to each unpaired file, which shows a typo."""
    alone = dict(found.unpaired.items())
    for path, why in alone.items():
        others = [other.name for other in alone if other != path and alone[other] != why]
        if near := nearest(path.name, others, 1, cutoff=0.6):
            found.unpaired[path] = f"{why}; the nearest is {near[0]}"


def _require_same_channels(found: Pairs) -> None:
    sets = [pair.channels if len(pair.images) > 1 else () for pair in found.pairs]
    most = max(sets, key=len, default=())
    for pair, channels in zip(found.pairs, sets, strict=True):
        if channels != most:
            lacking = [mark for mark in most if mark not in pair.channels]
            extra = [mark for mark in pair.channels if mark not in most]
            what = f"lacks the channel {', '.join(lacking)}" if lacking else f"has the channel {', '.join(extra)}"
            found.wrong[pair.name] = f"{what} that other cases {'have' if lacking else 'lack'}. Add it, or leave it out"
