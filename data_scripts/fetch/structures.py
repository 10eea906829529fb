"""Outlines (RTSTRUCT) and segments (SEG) of DICOM as masks on the slices they were drawn on.

Segments are read by hand: highdicom refuses a file that lacks what the standard wants and a mask does not need, such as
the code of a segment's category.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dsnotes.data.dicom_labels import inside
from fetch.stack import Slices


def read_outlines(path: Path, *, series: str) -> dict[str, list[np.ndarray]]:
    """Region name -> its closed contours, (k, 3) in mm; they must have been drawn on that CT series."""
    import pydicom

    found = pydicom.dcmread(path)
    if found.get("Modality") != "RTSTRUCT":
        raise ValueError(f"{path.name} is not an RTSTRUCT but {found.get('Modality')!r}.")
    drawn_on = {
        str(of.SeriesInstanceUID)
        for frame in found.get("ReferencedFrameOfReferenceSequence", ())
        for study in frame.get("RTReferencedStudySequence", ())
        for of in study.get("RTReferencedSeriesSequence", ())
    }
    if drawn_on and series not in drawn_on:
        raise ValueError(
            f"{path.name} was drawn on series {', '.join(sorted(drawn_on))}, the CT that came is {series}."
        )
    names = {int(roi.ROINumber): str(roi.ROIName) for roi in found.StructureSetROISequence}
    outlines: dict[str, list[np.ndarray]] = {name: [] for name in names.values()}
    for region in found.get("ROIContourSequence", ()):
        for contour in region.get("ContourSequence", ()):
            points = np.array([float(mm) for mm in contour.ContourData]).reshape(-1, 3)
            if contour.ContourGeometricType == "CLOSED_PLANAR" and len(points) > 2:
                outlines[names[int(region.ReferencedROINumber)]].append(points)
    return outlines


def draw(outlines: Sequence[np.ndarray], slices: Slices) -> np.ndarray:
    """True where a pixel's centre lies inside an odd number of contours: a contour within another is a hole."""
    mask = np.zeros(slices.voxels.shape, bool)
    by_slice: dict[int, list[np.ndarray]] = {}
    reach = _reach(slices)
    for points in outlines:
        at, off = slices.nearest(points)
        if off > reach:
            raise ValueError(
                f"a contour lies {off:.4g} mm off the nearest slice of series {slices.uid}, more than half the "
                f"slice distance: CT and contours do not match, or slices are missing."
            )
        by_slice.setdefault(at, []).append(slices.pixels(points, at))
    for at, polygons in by_slice.items():
        mask[at] = inside(polygons, mask.shape[1:])
    return mask


def read_segments(
    path: Path, slices: Slices, *, wanted: Callable[[str], bool] = lambda name: True
) -> dict[str, np.ndarray]:
    """Segment name -> mask; frames are placed by their position, not by their number."""
    import pydicom

    found = pydicom.dcmread(path)
    if found.get("Modality") != "SEG" or found.get("SegmentationType") != "BINARY":
        raise ValueError(
            f"{path.name} is no binary DICOM-SEG but {found.get('Modality')} {found.get('SegmentationType')}."
        )
    if (found.Rows, found.Columns) != slices.voxels.shape[1:]:
        raise ValueError(
            f"{path.name} has {found.Rows} x {found.Columns} pixels, its series {slices.uid} "
            f"{' x '.join(map(str, slices.voxels.shape[1:]))}."
        )
    names = {int(s.SegmentNumber): str(s.get("SegmentLabel") or s.SegmentNumber) for s in found.SegmentSequence}
    masks = {name: np.zeros(slices.voxels.shape, bool) for name in names.values() if wanted(name)}
    frames = found.pixel_array.reshape(-1, found.Rows, found.Columns)
    shared = found.SharedFunctionalGroupsSequence[0]
    reach = _reach(slices)
    for frame, about in zip(frames, found.PerFrameFunctionalGroupsSequence, strict=True):
        name = names[int(about.SegmentIdentificationSequence[0].ReferencedSegmentNumber)]
        if name not in masks or not frame.any():
            continue
        plane = (about if "PlaneOrientationSequence" in about else shared).PlaneOrientationSequence[0]
        towards = np.array([float(c) for c in plane.ImageOrientationPatient]).reshape(2, 3)
        corner = np.array([float(mm) for mm in about.PlanePositionSequence[0].ImagePositionPatient])
        at, off = slices.nearest(corner[None])
        aside = np.abs(slices.pixels(corner[None], at)).max()
        if off > reach or aside > 0.5 or np.abs(towards.T - slices.axes[:, :2]).max() > 1e-3:
            raise ValueError(
                f"{path.name}: a frame of segment {name!r} lies {off:.4g} mm and {aside:.3g} pixels off the nearest "
                f"slice of series {slices.uid}, or is rotated: CT and segments do not match."
            )
        masks[name][at] |= frame.astype(bool)
    return masks


def _reach(slices: Slices) -> float:
    """Half the slice distance."""
    return 0.5 * (float(np.median(slices.steps)) if len(slices.steps) else slices.thickness) + 1e-3
