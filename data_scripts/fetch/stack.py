"""A DICOM series as slices with their own positions, and its conversion to an evenly spaced stack.

Real series are irregular: scout views, duplicate or missing slices, two slice distances, a tilted gantry. What can be
repaired without inventing anatomy is repaired and reported; anything else raises an error that names the series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsnotes.data.geometry import Geometry
from fetch.volume import Volume, whole_numbers

SAME_PLACE = 0.01  # mm
UNEVEN = 0.02  # of the slice distance
WIDEST = 2.1  # times the narrowest distance: one missing slice is interpolated, two are not
REPEATED = 0.1  # share of positions with two different slices; above it, the series holds two volumes


@dataclass(frozen=True, eq=False)
class Slices:
    """Slices sorted along the normal; labels are drawn on them and moved to the even stack by `even`."""

    uid: str
    voxels: np.ndarray  # (slices, rows, columns), HU where there is a slope
    origins: np.ndarray  # (slices, 3): the centre of each slice's first pixel, mm
    axes: np.ndarray  # (3, 3): columns point along a row, along a column, along the stack
    pixel: tuple[float, float]  # mm from column to column and from row to row
    thickness: float
    said: tuple[str, ...]

    @property
    def along(self) -> np.ndarray:
        return self.origins @ self.axes[:, 2]

    def nearest(self, points: np.ndarray) -> tuple[int, float]:
        """The slice nearest to a planar set of points (k, 3), and the largest distance of a point from it, in mm."""
        heights = points @ self.axes[:, 2]
        at = int(np.abs(self.along - heights.mean()).argmin())
        return at, float(np.abs(heights - self.along[at]).max())

    def pixels(self, points: np.ndarray, at: int) -> np.ndarray:
        """Points as (k, 2), column and row in slice `at`."""
        return (points - self.origins[at]) @ self.axes[:, :2] / self.pixel

    @property
    def steps(self) -> np.ndarray:
        return np.diff(self.along)

    def volume(self) -> tuple[Volume, tuple[str, ...]]:
        """The evenly spaced stack, and the repairs made."""
        shift, size = self._upright()
        voxels = self._even(self.voxels, shift, size, order=1)
        step = float(np.mean(np.diff(self._heights()))) if len(self.voxels) > 1 else self.thickness
        low = np.floor(shift.min(axis=0)) if shift is not None else np.zeros(2)
        origin = self.origins[0] + self.axes[:, :2] @ (low * self.pixel)
        geometry = Geometry(
            voxels.shape[::-1],
            (*self.pixel, step),
            tuple(float(mm) for mm in origin),
            tuple(float(cosine) for cosine in self.axes.ravel()),
        )
        said = self.said
        if shift is not None:
            degrees = np.degrees(np.arctan2(np.linalg.norm(shift[-1] * self.pixel), np.ptp(self.along)))
            said += (f"gantry tilted by {degrees:.1f} degrees: slices moved upright",)
        if self._uneven():
            steps = self.steps
            said += (f"slices {steps.min():.4g} to {steps.max():.4g} mm apart: interpolated to {step:.4g} mm",)
        return Volume(voxels if voxels is self.voxels else whole_numbers(np.rint(voxels)), geometry), said

    def even(self, label: np.ndarray) -> np.ndarray:
        """Move a label from the slices to the even stack by nearest neighbour."""
        shift, size = self._upright()
        return self._even(label, shift, size, order=0)

    def _uneven(self) -> bool:
        steps = self.steps
        return len(steps) > 0 and bool((np.abs(steps - np.median(steps)) > max(0.01, UNEVEN * np.median(steps))).any())

    def _heights(self) -> np.ndarray:
        """Positions of the even stack's slices."""
        along, steps = self.along, self.steps
        if not self._uneven():
            return along
        if steps.max() > WIDEST * steps.min():
            at = int(steps.argmax())
            raise ValueError(
                f"DICOM series {self.uid}: slices are missing: {steps[at]:.4g} mm between slices {at + 1} and {at + 2} "
                f"of {len(along)}, elsewhere {np.median(steps):.4g}. The content of the gap is unknown, so the series "
                f"is left out."
            )
        step = steps.min() if steps.max() > 1.5 * steps.min() else steps.mean()
        return np.linspace(along[0], along[-1], round(np.ptp(along) / step) + 1)

    def _upright(self) -> tuple[np.ndarray | None, tuple[int, int]]:
        """Offset in columns and rows of each slice from the first, and the size that holds all slices."""
        rows, columns = self.voxels.shape[1:]
        off = (self.origins - self.origins[0]) @ self.axes[:, :2] / self.pixel  # (slices, 2): columns, rows
        if np.abs(off).max() <= 0.5:
            return None, (rows, columns)
        more = np.ceil(off.max(axis=0)) - np.floor(off.min(axis=0))
        return off, (rows + int(more[1]), columns + int(more[0]))

    def _even(self, voxels: np.ndarray, shift: np.ndarray | None, size: tuple[int, int], *, order: int) -> np.ndarray:
        if shift is not None:
            aside = shift - np.floor(shift.min(axis=0))
            voxels = np.stack([_moved(image, off, size, order) for image, off in zip(voxels, aside, strict=True)])
        if not self._uneven():
            return voxels
        heights, along = self._heights(), self.along
        right = np.clip(np.searchsorted(along, heights), 1, len(along) - 1)
        share = (heights - along[right - 1]) / (along[right] - along[right - 1])  # weight of the slice to the right
        if order == 0:
            return voxels[np.where(share > 0.5, right, right - 1)]
        share = share[:, None, None].astype(np.float32)
        return voxels[right - 1] * (1 - share) + voxels[right] * share


def _moved(image: np.ndarray, off: np.ndarray, size: tuple[int, int], order: int) -> np.ndarray:
    from scipy.ndimage import shift

    outside = image.min() if order else 0
    room = np.full(size, outside, np.float32 if order else image.dtype)
    room[: image.shape[0], : image.shape[1]] = image
    return shift(room, off[::-1], order=order, mode="constant", cval=outside)


def read_slices(files: Sequence[Path], uid: str | None = None) -> Slices:
    """Read the files of one series, in any order; `uid` selects one of several."""
    import pydicom

    headers = {}
    for file in files:
        header = pydicom.dcmread(file, stop_before_pixels=True, force=False)
        headers.setdefault(str(header.SeriesInstanceUID), []).append((file, header))
    if uid is None and len(headers) > 1:
        raise ValueError(f"{len(headers)} DICOM series came where one is needed: {', '.join(sorted(headers))}.")
    uid = uid or next(iter(headers), None)
    if uid not in headers:
        raise ValueError(f"DICOM series {uid} is not among the files that came. Delete its folder, and fetch it again.")
    said: list[str] = []
    kept = [(file, h) for file, h in headers[uid] if "LOCALIZER" not in (h.get("ImageType") or ())]
    if scouts := len(headers[uid]) - len(kept):
        said.append(f"{scouts} scout left out")
    if missing := [file.name for file, h in kept if "ImagePositionPatient" not in h]:
        raise ValueError(f"DICOM series {uid}: {missing[0]} does not say where in the patient it lies; left out.")
    if not kept:
        raise ValueError(f"DICOM series {uid} holds nothing but scouts; left out.")
    first = kept[0][1]
    axes = _axes(first)
    for what, of in (
        ("size", lambda h: (h.Rows, h.Columns)),
        ("pixel spacing", lambda h: np.round([float(mm) for mm in h.PixelSpacing], 4).tolist()),
        ("orientation", lambda h: np.round(_axes(h), 3).tolist()),
    ):
        if odd := [file.name for file, h in kept if of(h) != of(first)]:
            raise ValueError(f"DICOM series {uid}: slices of different {what} ({kept[0][0].name}, {odd[0]}); left out.")
    place = {file: np.array([float(mm) for mm in h.ImagePositionPatient]) for file, h in kept}
    number = {file: int(h.get("InstanceNumber") or 0) for file, h in kept}
    order = sorted(
        place, key=lambda file: (round(float(place[file] @ axes[:, 2]) / SAME_PLACE), number[file], file.name)
    )
    order, repeats = _once(order, place, axes, uid)
    said += repeats
    voxels = whole_numbers(np.stack([_pixels(file) for file in order]))
    rows_apart, columns_apart = (float(mm) for mm in first.PixelSpacing)
    return Slices(
        uid,
        voxels,
        np.stack([place[file] for file in order]),
        axes,
        (columns_apart, rows_apart),
        float(first.get("SliceThickness") or 1.0),
        tuple(said),
    )


def _axes(header) -> np.ndarray:
    along_row, along_column = np.array([float(c) for c in header.ImageOrientationPatient]).reshape(2, 3)
    return np.stack([along_row, along_column, np.cross(along_row, along_column)], axis=1)


def _once(order: list[Path], place: dict, axes: np.ndarray, uid: str) -> tuple[list[Path], list[str]]:
    """One file per position: the first of duplicates."""
    kept, twice, other = [order[0]], 0, 0
    for file in order[1:]:
        if abs(float((place[file] - place[kept[-1]]) @ axes[:, 2])) > SAME_PLACE:
            kept.append(file)
        else:
            twice += 1
            other += not np.array_equal(_pixels(file), _pixels(kept[-1]))
    if other > max(1, REPEATED * len(kept)):
        raise ValueError(
            f"DICOM series {uid}: {other} of {len(kept)} places have two slices with different pixels, so it holds two "
            f"volumes (phases, echoes). It is left out."
        )
    words = f"{twice} slices at a place that has one left out" + (
        f", {other} of them with other pixels" if other else ""
    )
    return kept, [words] if twice else []


def _pixels(file: Path) -> np.ndarray:
    """Pixels read by GDCM, decompressed, with slope and intercept applied."""
    import SimpleITK as sitk

    try:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))[0]
    except RuntimeError as error:
        raise ValueError(f"{file.name} cannot be read ({str(error).strip().splitlines()[-1]}).") from error
