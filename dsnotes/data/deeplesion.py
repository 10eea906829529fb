"""DeepLesion's files: a table of lesions with their RECIST axes, and slices as 16-bit PNG.

Yan et al. 2018, https://doi.org/10.1117/1.JMI.5.3.036501. A pixel is HU + 32768. Points in the table are (x, y), x
being the column, counted from 1: the readme does not say so, but the authors' own loaders subtract 1.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.files import read_volume, require_exists, stem

OFFSET = 32768
FIRST = 1  # the number of the first row and column in the table
AIR = -1024.0  # HU, the lowest real value; scanners fill pixels outside their field of view with lower ones
NEEDED = ("File_name", "Measurement_coordinates", "Spacing_mm_px_")
Axis = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Lesion:
    """A row of the table. Fields are parsed on access, so that one malformed row does not stop the others."""

    name: str  # <patient>_<study>_<series>_<slice>-<number of the lesion in that slice>
    line: int  # line number in the file; the header is line 1
    row: dict[str, str] = field(repr=False)

    @property
    def file(self) -> str:
        return self.row["File_name"] or ""

    @property
    def patient(self) -> str:
        return self.name[:6]

    @property
    def long_axis(self) -> Axis:
        """Its two ends as (row, column) in the slice, counted from 0."""
        return self._axis(0)

    @property
    def short_axis(self) -> Axis:
        return self._axis(1)

    @property
    def spacing(self) -> tuple[float, float]:
        """Millimetres between rows and between columns."""
        x, y, _ = self._numbers("Spacing_mm_px_", 3)
        return y, x

    @property
    def kind(self) -> int:
        """1 bone, 2 abdomen, 3 mediastinum, 4 liver, 5 lung, 6 kidney, 7 soft tissue, 8 pelvis, −1 unknown."""
        return int(self._numbers("Coarse_lesion_type", 1)[0])

    @property
    def noisy(self) -> bool:
        """Whether the authors of the dataset flagged this annotation as possibly wrong."""
        return bool(self._numbers("Possibly_noisy", 1)[0])

    def _axis(self, which: int) -> Axis:
        x1, y1, x2, y2 = (one - FIRST for one in self._numbers("Measurement_coordinates", 8)[4 * which :][:4])
        return (y1, x1), (y2, x2)

    def _numbers(self, column: str, count: int) -> list[float]:
        text = self.row.get(column) or ""
        try:
            numbers = [float(number) for number in text.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != count or not np.isfinite(numbers).all():
            raise ValueError(
                f"line {self.line}: {column} is {text!r}; needed are {count} numbers separated by commas. Correct the "
                f"row, or leave this lesion out."
            )
        return numbers


def read_lesions(table: str | os.PathLike) -> list[Lesion]:
    """The rows of DL_info.csv. Select in plain Python: [one for one in lesions if one.kind == 5 and not one.noisy].

    `kind` is known only for lesions of the validation and test sets.
    """
    path = Path(table)
    require_exists(path)
    seen: Counter[str] = Counter()
    lesions = []
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = csv.DictReader(stream)
        if missing := [column for column in NEEDED if column not in (rows.fieldnames or ())]:
            raise ValueError(
                f"{path} has no column {', '.join(missing)}; its first line reads {(rows.fieldnames or [])[:6]}. "
                f"Needed is DeepLesion's DL_info.csv, comma-separated, with lists in quotes."
            )
        for row in rows:
            slice_name = stem(row["File_name"] or f"line-{rows.line_num}")
            seen[slice_name] += 1
            lesions.append(Lesion(f"{slice_name}-{seen[slice_name]}", rows.line_num, row))
    return lesions


def read_slice(images: str | os.PathLike, file_name: str) -> np.ndarray:
    """Read "<series>_<slice>.png", in `images` itself or as <series>/<slice>.png below it: (height, width) in HU."""
    folder = Path(images)
    series, _, file = file_name.rpartition("_")
    places = (folder / file_name, folder / series / file)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"there is neither {places[0]} nor {places[1]}. Fetch the archive that holds it.")
    array, _ = read_volume(path)
    if array.dtype != np.uint16 or array.ndim != 2:
        raise ValueError(
            f"{path} holds {array.dtype} of shape {array.shape}; needed is one channel of 16 bits. The 8-bit copies of "
            f"DeepLesion are windowed and have lost their HU: use the folder Images_png."
        )
    return np.maximum(array.astype(np.float32) - OFFSET, AIR)


def write_deeplesion(cases: Sequence[Case], folder: str | os.PathLike) -> Path:
    """Write 2-D cases with RECIST axes in DeepLesion's format: Images_png/ and DL_info.csv, whose path is returned."""
    import SimpleITK as sitk

    folder = Path(folder)
    rows = []
    for number, case in enumerate(cases, start=1):
        if case.image.ndim != 2 or "recist" not in case.extras:
            raise ValueError(
                f"case {case.name} has an image of shape {case.image.shape} and the extras {sorted(case.extras)}; "
                f"needed is one slice with extras['recist'], such as dsnotes.data.phantoms.nodules makes."
            )
        series = f"{number:06d}_01_01"
        (folder / "Images_png" / series).mkdir(parents=True, exist_ok=True)
        pixels = np.rint(np.clip(case.image.astype(np.float64) + OFFSET, 0, 65535)).astype(np.uint16)
        sitk.WriteImage(sitk.GetImageFromArray(pixels), str(folder / "Images_png" / series / "001.png"))
        axes = np.array([case.extras["recist"]["long_axis"], case.extras["recist"]["short_axis"]])  # axis, end, (y, x)
        xy = axes[..., ::-1] + FIRST
        lengths = np.linalg.norm(xy[:, 1] - xy[:, 0], axis=1)
        rows.append(
            {
                "File_name": f"{series}_001.png",
                "Patient_index": number,
                "Key_slice_index": 1,
                "Measurement_coordinates": _listed(xy.ravel()),
                "Bounding_boxes": _listed([*(xy.min((0, 1)) - 5), *(xy.max((0, 1)) + 5)]),
                "Lesion_diameters_Pixel_": _listed(lengths),
                "Coarse_lesion_type": 5,
                "Possibly_noisy": 0,
                "Spacing_mm_px_": _listed([case.spacing[1], case.spacing[0], 1.0]),
                "Image_size": _listed(case.space[::-1]),
            }
        )
    if not rows:
        raise ValueError("no case came. Pass at least one.")
    table = folder / "DL_info.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return table


def _listed(numbers: Sequence | np.ndarray) -> str:
    return ", ".join(f"{number:.6g}" for number in numbers)
