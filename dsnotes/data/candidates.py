"""Find the cases in a user's folder, whichever layout it is in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dsnotes.data import dicom_labels
from dsnotes.data.case import Case
from dsnotes.data.dataset_folder import read_layout
from dsnotes.data.files import SUFFIXES, open_case, require_exists, save_volume
from dsnotes.data.pairing import pair


@dataclass(frozen=True)
class Candidate:
    """A case in files of any format; `label` keeps the label values of the file."""

    name: str
    images: tuple[Path, ...]
    label: Path
    channels: tuple[str, ...] = ()

    def open(self) -> Case:
        return open_case(self.images if len(self.images) > 1 else self.images[0], self.label, name=self.name)

    def place_images(self, folder: Path, *, link: bool) -> list[Path]:
        """Link or copy each file under the case's name, followed by the channel number if there are several."""
        placed = []
        for number, path in enumerate(self.images):
            ending = next(suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix))
            channel = f"_{number:04d}" if len(self.images) > 1 else ""
            placed.append(place(path, folder / f"{self.name}{channel}{ending}", link=link))
        return placed


@dataclass(frozen=True)
class DicomCandidate(Candidate):
    """A DICOM series and the RTSTRUCT or SEG drawn on it; `values`: region name -> label value."""

    uid: str = ""
    values: Mapping[str, int] = field(default_factory=dict)

    def open(self) -> Case:
        case = open_case(self.images[0], name=self.name, series=self.uid)
        geometry = case.extras["geometry"]
        label = np.zeros(geometry.size[::-1], np.uint8)
        shared = 0
        for name, mask in dicom_labels.read_masks(self.label, geometry).items():
            if value := self.values.get(name):
                shared += int((label[mask] > 0).sum())
                label[mask] = value
        extras = {**case.extras, **({"shared": shared} if shared else {})}
        return replace(case, label=np.ascontiguousarray(geometry.canonical(label)), extras=extras)

    def place_images(self, folder: Path, *, link: bool) -> list[Path]:
        case = open_case(self.images[0], name=self.name, series=self.uid)
        return [save_volume(folder / f"{self.name}.nii.gz", case.image, case)]


@dataclass
class Candidates:
    """`labels`: value in the files -> name; `wrong`: case -> problem to solve before anything is written."""

    layout: str
    cases: list[Candidate]
    labels: dict[int, str] = field(default_factory=dict)
    modality: tuple[str, ...] = ()
    ignore: int | None = None
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    order: tuple[int, ...] = ()
    unpaired: dict[Path, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)


def find(folder: Path, labels: Path | None = None, named: Mapping[str, str] | None = None) -> Candidates:
    """Read dataset.json if there is one (nnU-Net version 2, Decathlon), else DICOM headers, else pair files by name."""
    require_exists(folder)
    if labels is not None:
        require_exists(labels)
    if (folder / "dataset.json").is_file() and labels is None:
        return _listed(folder)
    series = dicom_labels.find_series(folder)
    if series:
        return _from_dicom(series, named or {})
    found = pair(folder, labels)
    marks = next((one.channels for one in found.pairs if len(one.images) > 1), ())
    return Candidates(
        "pairs by name",
        [Candidate(plain(one.name), one.images, one.label, one.channels) for one in found.pairs],
        modality=tuple(f"channel {int(mark)}" if mark.isdigit() else mark for mark in marks) or ("image",),
        unpaired=found.unpaired,
        wrong={plain(name): why for name, why in found.wrong.items()},
    )


def _listed(folder: Path) -> Candidates:
    layout = read_layout(folder, "training")
    from dsnotes.data.layout import read_about
    from dsnotes.data.nnunet import is_raw

    cases, unpaired = [], {}
    for entry in layout.entries:
        images = entry.image if isinstance(entry.image, tuple) else (entry.image,)
        if entry.label is None:
            unpaired |= dict.fromkeys(images, "listed without a label")
        else:
            cases.append(Candidate(entry.name, images, entry.label))
    return Candidates(
        "nnU-Net raw, version 2" if is_raw(read_about(folder)) else "Medical Segmentation Decathlon",
        cases,
        dict(layout.labels),
        layout.modality,
        layout.ignore,
        layout.regions,
        layout.order,
        unpaired,
    )


def _from_dicom(series: list[dicom_labels.Series], named: Mapping[str, str]) -> Candidates:
    """Pair each RTSTRUCT or SEG with the series it refers to; regions are numbered in the order of their names."""
    scans = {one.uid: one for one in series if one.modality not in dicom_labels.DRAWN}
    drawings: dict[str, list[dicom_labels.Series]] = {}
    found = Candidates("DICOM series with RTSTRUCT or SEG", [])
    for one in (one for one in series if one.modality in dicom_labels.DRAWN):
        if scan := next((uid for uid in one.of if uid in scans), None):
            drawings.setdefault(scan, []).append(one)
        else:
            found.unpaired[one.files[0]] = f"{one.modality} drawn on series {', '.join(one.of) or '?'}, not found here"
    for uid, scan in scans.items():
        if uid not in drawings:
            found.unpaired[scan.files[0].parent] = f"series {uid} ({scan.modality}) has no RTSTRUCT or SEG"
    patients = [scans[uid].patient for uid in drawings]
    modalities = {scans[uid].modality for uid in drawings}
    taken: list[tuple[str, dicom_labels.Series, str]] = []
    for uid, drawn in drawings.items():
        scan = scans[uid]
        name = plain(scan.patient) or plain(uid)
        name = name if patients.count(scan.patient) == 1 else f"{name}_{uid.rpartition('.')[2]}"
        if len(drawn) > 1:
            files = ", ".join(one.files[0].name for one in drawn)
            found.wrong[name] = f"{len(drawn)} labels for one series: {files}. Keep one of them"
        elif len({path.parent for path in scan.files}) > 1:
            found.wrong[name] = f"series {uid} lies in several folders; move its slices into one"
        else:
            taken.append((name, drawn[0], uid))
    names = sorted({region for _, one, _ in taken for region in region_names(one.files[0])})
    chosen = {text: name for text, name in named.items() if text in names}
    values = {region: number for number, region in enumerate(chosen or names, start=1)}
    found.labels = {0: "background"} | {value: chosen.get(region, region) for region, value in values.items()}
    found.modality = ("/".join(sorted(modalities)) or "image",)
    for name, one, uid in taken:
        if left := sorted(set(region_names(one.files[0])) - set(values)):
            found.unpaired[one.files[0]] = f"its regions {', '.join(left)} are left out, since no --label names them"
        found.cases.append(DicomCandidate(name, (scans[uid].files[0].parent,), one.files[0], uid=uid, values=values))
    return found


def region_names(path: Path) -> list[str]:
    """The names of the regions of an RTSTRUCT or SEG."""
    found = dicom_labels._pydicom().dcmread(path, stop_before_pixels=True)
    if found.get("Modality") == "RTSTRUCT":
        return [str(roi.ROIName) for roi in found.StructureSetROISequence]
    return [str(one.get("SegmentLabel") or one.SegmentNumber) for one in found.SegmentSequence]


def place(path: Path, target: Path, *, link: bool) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        os.symlink(path.resolve(), target)
    else:
        shutil.copyfile(path, target)
    return target


def plain(text: str) -> str:
    """The text as a file name that is valid on every system."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in text).strip("._")
