"""Check a converted folder: label values, spacing, orientation, empty images and labels, and a picture per case."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.dataset import Dataset, open_dataset
from dsnotes.safety.atomic import replacing

PAGE = 12  # cases per sheet, as in the viewer
COLUMNS = ("case", "shape", "spacing_mm", "orientation", "lowest", "highest", "label_voxels", "trouble")


def check(folder: Path) -> int:
    """Print a summary, write check.csv and contact-sheet-NN.png to the folder; returns 1 if a case cannot be opened."""
    data = open_dataset(folder)
    rows, page, sheets = [], [], []
    for name in data.names:
        try:
            case = data[name]
        except (ValueError, FileNotFoundError) as error:
            rows.append(dict.fromkeys(COLUMNS, "") | {"case": name, "trouble": str(error)})
        else:
            rows.append(row(case, data.labels))
            page.append(key_slice(case))
        print("  ".join(rows[-1].values()), flush=True)
        if len(page) == PAGE or (page and name == data.names[-1]):
            sheets.append(picture(page, folder / f"contact-sheet-{len(sheets) + 1:02d}.png"))
            page = []
    with (folder / "check.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    summarise(data, rows, folder, sheets)
    return 1 if not rows or any(not one["shape"] for one in rows) else 0


def row(case: Case, labels: dict[int, str]) -> dict[str, str]:
    """The row of check.csv for one case."""
    values = {} if case.label is None else dict(zip(*np.unique(case.label, return_counts=True), strict=True))
    trouble = []
    if case.label is not None and not case.label.any():
        trouble.append("the label is empty")
    if case.label is None and "recist" not in case.extras:
        trouble.append("no label")
    if case.image.min() == case.image.max():
        trouble.append("the image is constant")
    return {
        "case": case.name,
        "shape": "×".join(map(str, case.image.shape)),
        "spacing_mm": "×".join(f"{mm:.4g}" for mm in case.spacing),
        "orientation": orientation(case.extras["geometry"]),
        "lowest": f"{case.image.min():g}",
        "highest": f"{case.image.max():g}",
        "label_voxels": ", ".join(f"{labels[int(value)]}:{count}" for value, count in values.items()),
        "trouble": "; ".join(trouble),
    }


def orientation(geometry) -> str:
    """Directions of the file's axes, such as LPS; "oblique" if they are more than 1 degree off."""
    n = len(geometry.size)
    towards = np.array(geometry.direction).reshape(n, n)
    letters = "".join(
        ("LR", "PA", "SI")[int(np.abs(axis).argmax())][int(axis[np.abs(axis).argmax()] < 0)] for axis in towards.T
    )
    return letters if (np.abs(towards).max(axis=0) > np.cos(np.radians(1))).all() else f"{letters} oblique"


def key_slice(case: Case) -> Case:
    """The slice through the lesion, first channel, so that a page of cases fits in memory."""
    from dsnotes.viewers.focus import focus
    from dsnotes.viewers.scene import compose

    image = case.image[0] if case.channels > 1 else case.image
    label = case.label if case.label is not None else drawn_axes(case)
    if image.ndim == 3:
        at = focus(compose(Case(case.name, image, label, case.spacing)))[0]
        image, label = image[at], None if label is None else label[at]
    return Case(case.name, image, label, case.spacing[-2:], {"names": case.extras.get("names")})


def drawn_axes(case: Case) -> np.ndarray | None:
    """RECIST axes drawn as lines of pixels, for slices that have no mask."""
    if "recist" not in case.extras or case.image.ndim != 2:
        return None
    lines = np.zeros(case.image.shape, np.uint8)
    for one, other in (case.extras["recist"][f"{which}_axis"] for which in ("long", "short")):
        points = np.rint(np.linspace(one, other, 2 * max(case.image.shape))).astype(int)
        lines[tuple(np.clip(points, 0, np.array(lines.shape) - 1).T)] = 1
    return lines


def picture(cases: list[Case], path: Path) -> Path:
    """Save a sheet of up to twelve cases, each bare and with its outline."""
    from dsnotes.viewers.contact_sheet import contact_sheet

    sheet = contact_sheet(cases, path.with_suffix(".csv"), page=1, buttons=False)
    sheet.figure.suptitle(f"{cases[0].name} … {cases[-1].name}", x=0.01, ha="left", fontsize=9)
    for case, axes in zip(cases, sheet.figure.axes[::2], strict=True):  # no decisions here, so no marks
        axes.set_title(case.name, loc="left", pad=3, fontsize=7.5)
    with replacing(path) as part:
        sheet.save(part)
    return path


def summarise(data: Dataset, rows: list[dict[str, str]], folder: Path, sheets: list[Path]) -> None:
    there = [one for one in rows if one["shape"]]
    print(f"{data.name}: {len(there)} of {len(rows)} cases open; labels {data.labels}")
    for what in ("orientation", "spacing_mm"):
        counts = Counter(one[what] for one in there).most_common(4)
        print(f"  {what:12} " + ", ".join(f"{value} ({count})" for value, count in counts))
    held = Counter(part.rpartition(":")[0] for one in there for part in one["label_voxels"].split(", "))
    print("  in how many  " + ", ".join(f"{name}: {held[name]}" for name in data.labels.values()))
    for one in rows:
        if one["trouble"]:
            print(f"  {one['case']}: {one['trouble']}")
    print(f"  {folder / 'check.csv'}, {', '.join(sheet.name for sheet in sheets) or 'no picture'}")
