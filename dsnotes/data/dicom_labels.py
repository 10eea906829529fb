"""Hospital DICOM: series of slices, and the outlines (RTSTRUCT) or segments (SEG) drawn on them.

A label must lie on the voxels of the series it refers to; otherwise an error is raised, nothing is resampled.
Segments are read here: highdicom rejects files without attributes that the standard requires and a mask does not need,
such as the code of a segment's category.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dsnotes.data.geometry import Geometry

DRAWN = ("SEG", "RTSTRUCT")
TAGS = ["SOPClassUID", "Modality", "SeriesInstanceUID", "PatientID", "SeriesDescription",
        "ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence"]  # fmt: skip
SAID = ("SegmentIdentificationSequence", "PlaneOrientationSequence", "PlanePositionSequence")  # per frame, or shared


@dataclass
class Series:
    """One series below a folder. For a SEG or RTSTRUCT, `of` holds the series it was drawn on."""

    uid: str
    modality: str
    patient: str
    description: str
    files: list[Path] = field(default_factory=list)
    of: tuple[str, ...] = ()


def is_dicom(path: Path) -> bool:
    """Whether DICOM's four letters follow a preamble of 128 bytes."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def find_series(folder: Path) -> list[Series]:
    """Every DICOM series below the folder, from the headers; other files are skipped."""
    files = [Path(root, name) for root, _, names in os.walk(folder) for name in sorted(names)]
    files = [path for path in files if path.suffix.lower() in (".dcm", ".ima", "") or path.suffix[1:].isdigit()]
    files = [path for path in files if is_dicom(path)]
    found: dict[str, Series] = {}
    dcmread = _pydicom().dcmread if files else None
    for path in sorted(files):
        header = dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
        uid, modality = str(header.get("SeriesInstanceUID", "")), str(header.get("Modality", ""))
        key = f"{uid} {path.name}" if modality in DRAWN else uid  # several label files may share a series UID
        one = found.setdefault(
            key, Series(uid, modality, str(header.get("PatientID", "")), str(header.get("SeriesDescription", "")))
        )
        one.files.append(path)
        one.of = one.of or tuple(_drawn_on(header))
    return list(found.values())


def read_masks(path: Path, geometry: Geometry) -> dict[str, np.ndarray]:
    """Masks of an RTSTRUCT or a binary SEG by name of region, (z, y, x) in the series' own orientation."""
    found = _pydicom().dcmread(path)
    if found.get("Modality") == "RTSTRUCT":
        return _outlined(found, path, geometry)
    if found.get("Modality") == "SEG" and found.get("SegmentationType") == "BINARY":
        return _segmented(found, path, geometry)
    raise ValueError(
        f"{path} is {found.get('Modality')} {found.get('SegmentationType', '')}; needed is an RTSTRUCT or a binary "
        f"DICOM-SEG. Leave the file out, or convert it to NIfTI."
    )


def inside(polygons: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Even-odd filling of polygons, each (k, 2) as column, row; pixel centres are at whole numbers.

    In each row of pixels, every edge that crosses it swaps inside and outside for all pixels to its right.
    """
    turns = np.zeros((shape[0], shape[1] + 1), np.int64)
    for polygon in polygons:
        (x0, y0), (x1, y1) = polygon.T, np.roll(polygon, -1, axis=0).T
        first = np.clip(np.ceil(np.minimum(y0, y1)), 0, shape[0]).astype(int)
        last = np.clip(np.ceil(np.maximum(y0, y1)), 0, shape[0]).astype(int)
        edge = np.repeat(np.arange(len(x0)), last - first)
        rows = np.arange(len(edge)) - np.repeat(np.cumsum(last - first) - (last - first), last - first) + first[edge]
        x = x0[edge] + (rows - y0[edge]) / (y1 - y0)[edge] * (x1 - x0)[edge]
        np.add.at(turns, (rows, np.clip(np.ceil(x), 0, shape[1]).astype(int)), 1)
    return np.cumsum(turns, axis=1)[:, :-1] % 2 == 1


def _pydicom():
    try:
        import pydicom
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "DICOM with outlines or segments needs pydicom: pip install 'dsnotes[dicom]'."
        ) from None
    return pydicom


def _drawn_on(header):
    for series in header.get("ReferencedSeriesSequence", ()):
        yield str(series.SeriesInstanceUID)
    for frame in header.get("ReferencedFrameOfReferenceSequence", ()):
        for study in frame.get("RTReferencedStudySequence", ()):
            for series in study.get("RTReferencedSeriesSequence", ()):
                yield str(series.SeriesInstanceUID)


def _indices(points: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Points (k, 3) in mm as fractional voxel indices (i, j, k)."""
    axes = np.array(geometry.direction).reshape(3, 3)
    return (points - np.array(geometry.origin)) @ np.linalg.inv(axes).T / np.array(geometry.spacing)


def _outlined(found, path: Path, geometry: Geometry) -> dict[str, np.ndarray]:
    names = {int(roi.ROINumber): str(roi.ROIName) for roi in found.StructureSetROISequence}
    shape = geometry.size[::-1]
    masks: dict[str, np.ndarray] = {}
    for region in found.get("ROIContourSequence", ()):
        by_slice: dict[int, list[np.ndarray]] = {}
        for contour in region.get("ContourSequence", ()):
            points = np.array([float(mm) for mm in contour.ContourData]).reshape(-1, 3)
            if contour.ContourGeometricType != "CLOSED_PLANAR" or len(points) < 3:
                continue
            voxels = _indices(points, geometry)
            at = round(float(voxels[:, 2].mean()))
            off = np.abs(voxels[:, 2] - at).max()
            if off > 0.5 or not 0 <= at < shape[0]:
                raise ValueError(
                    f"{path}: a contour of {names[int(region.ReferencedROINumber)]!r} lies {off:.2g} slices off the "
                    f"nearest slice of its series. Scan and contours do not match, or slices are missing."
                )
            by_slice.setdefault(at, []).append(voxels[:, :2])
        mask = masks.setdefault(names[int(region.ReferencedROINumber)], np.zeros(shape, bool))
        for at, polygons in by_slice.items():  # a contour within another is a hole
            mask[at] |= inside(polygons, shape[1:])
    return masks


def _segmented(found, path: Path, geometry: Geometry) -> dict[str, np.ndarray]:
    shape = geometry.size[::-1]
    names = {int(one.SegmentNumber): str(one.get("SegmentLabel") or one.SegmentNumber) for one in found.SegmentSequence}
    masks = {name: np.zeros(shape, bool) for name in names.values()}
    frames = found.pixel_array.reshape(-1, found.Rows, found.Columns)
    shared = found.SharedFunctionalGroupsSequence[0]
    axes = np.array(geometry.direction).reshape(3, 3)
    for frame, about in zip(frames, found.PerFrameFunctionalGroupsSequence, strict=True):
        said = {tag: (about if tag in about else shared)[tag].value[0] for tag in SAID}
        name = names[int(said["SegmentIdentificationSequence"].ReferencedSegmentNumber)]
        towards = np.array([float(c) for c in said["PlaneOrientationSequence"].ImageOrientationPatient])
        towards = towards.reshape(2, 3).T
        corner = np.array([float(mm) for mm in said["PlanePositionSequence"].ImagePositionPatient])
        at = _indices(corner[None], geometry)[0]
        place = round(float(at[2]))
        turned = np.abs(towards - axes[:, :2]).max() > 1e-3
        if turned or frame.shape != shape[1:] or np.abs(at - (0, 0, place)).max() > 0.5 or not 0 <= place < shape[0]:
            raise ValueError(
                f"{path}: a frame of segment {name!r} ({frame.shape[0]} x {frame.shape[1]}) is not on a slice of "
                f"its series {shape[1:]}, or is rotated. Scan and segments do not match."
            )
        masks[name][place] |= frame.astype(bool)
    return masks
