"""Make a dataset of crops with soft masks, like LNSM, from lesions of which only two diameters were measured.

Strategy 3 of Wang et al., https://arxiv.org/abs/2007.14556, for each lesion: axes → GrabCut → trimap → matting. A
person then checks each case (`viewers.contact_sheet`) and rejects wrong outlines.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.dataset import Dataset, open_dataset
from dsnotes.data.deeplesion import Axis, Lesion, read_slice
from dsnotes.data.files import save_label, save_volume
from dsnotes.safety.atomic import atomic
from dsnotes.softmask.matting import soft_mask
from dsnotes.softmask.recist import MARGIN, mask_from_recist
from dsnotes.softmask.trimap import LEAST_CORE, trimap_from_mask

BINARY = ("soft mask", "GrabCut")
LEAST_SHARE = 1 / 3  # least area, in areas of the ellipse through the ends of the axes; 24 phantom nodules have ≥ 0.52
SOURCE = "DeepLesion: Yan et al. 2018, J Med Imaging 5:036501, https://nihcc.app.box.com/v/DeepLesion"
LICENCE = "terms of the NIH Clinical Center, see the readme beside the images; do not redistribute"


@dataclass(frozen=True)
class Report:
    """Result of `make_set`: cases made now, cases kept from before, and why others failed (also in failed.csv)."""

    folder: Path
    made: tuple[str, ...]
    kept: tuple[str, ...]
    failed: dict[str, str]

    def __str__(self) -> str:
        head = f"{self.folder}: {len(self.made)} made, {len(self.kept)} kept from before, {len(self.failed)} failed"
        return "\n".join([head, *(f"  {name}: {why}" for name, why in self.failed.items())])


def make_set(
    lesions: Sequence[Lesion] | Sequence[DatasetLesion],
    images: str | os.PathLike | Dataset,
    out: str | os.PathLike,
    *,
    size: int = 64,
    radius: int = 3,
    core: float = LEAST_CORE,
    eps: float = 1e-2,
    binary: str = "soft mask",
    source: str = SOURCE,
    licence: str = LICENCE,
) -> Report:
    """Crop `size` × `size` around each lesion, make a soft and a binary mask, and save all for
    `dsnotes.open_dataset(out)`.

    imagesTr/ holds HU, softTr/ the matting of GrabCut's mask, recistTr.json the axes in the crop's pixels. labelsTr/ is
    the soft mask thresholded at one half, as in the paper (Fig. 2d), or with `binary="GrabCut"` GrabCut's mask. A
    lesion that cannot be labelled is reported and skipped. Files are written atomically and existing cases are kept:
    the same call resumes after an interruption. The band beside a small lesion is narrowed until the share `core` of it
    is certain, and `eps` suits CT with about 30 HU of noise (both as in `softened`). A case's name begins with the
    patient's six digits, which `split` and `k_fold` recognise.
    """
    settings = {"size": size, "radius": radius, "core": core, "eps": float(eps), "binary": binary}
    if binary not in BINARY:
        raise ValueError(f"binary={binary!r} is unknown. Choose one of {list(BINARY)}.")
    if size < 16 or radius < 1 or not 0 <= core < 1 or not eps >= 1e-12:
        raise ValueError(
            f"{settings} came; needed are a size from 16, a radius from 1, 0 ≤ core < 1 and a positive eps "
            f"such as 1e-2."
        )
    if repeated := [name for name, times in Counter(one.name for one in lesions).items() if times > 1]:
        raise ValueError(f"the lesions {repeated[:3]} came more than once: pass each row of the table once.")
    folder = Path(out)
    recists = _earlier(folder, settings)
    about = {
        "name": folder.name,
        "description": "lesions between their two diameters: soft masks by GrabCut and matting, binary masks from them",
        "reference": source,
        "licence": licence,
        "made_with": settings,
        "labels": {"0": "background", "1": "lesion"},
        "modality": {"0": "CT"},
        "tensorImageSize": "2D",
    }
    _file(folder, about, recists)  # now, so that an unwritable folder fails before the work
    made, kept, failed = [], [], {}
    try:
        for lesion in lesions:
            try:
                corner = _corner(lesion, size)
                recist = _recist(lesion, corner)
                there = (folder / f"labelsTr/{lesion.name}.nii.gz").is_file()  # written last
                case = None if there else _case(lesion, images, corner, **settings)
            except (ValueError, RuntimeError, OSError) as error:
                failed[lesion.name] = str(error)
                continue
            if case is not None:
                _save(folder, case)  # a full disk stops the work; it is not the lesion's fault
            recists[lesion.name] = recist
            (kept if there else made).append(lesion.name)
    finally:  # after Ctrl-C or on a full disk too: list the finished cases
        _file(folder, about, recists)
        _write(folder / "failed.csv", _table(failed))
    return Report(folder, tuple(made), tuple(kept), failed)


def _corner(lesion: Lesion | DatasetLesion, size: int) -> np.ndarray:
    """(row, column) in the slice of the crop's first pixel; outside the slice if the lesion is at the border."""
    ends = np.array([*lesion.long_axis, *lesion.short_axis])
    return np.floor((ends.min(0) + ends.max(0) + 1) / 2).astype(int) - size // 2


def _recist(lesion: Lesion | DatasetLesion, corner: np.ndarray) -> dict:
    """The axes in the crop's pixels, and their lengths in mm."""
    axes = {"long_axis": np.array(lesion.long_axis), "short_axis": np.array(lesion.short_axis)}
    lengths = {name: float(np.linalg.norm((ends[1] - ends[0]) * lesion.spacing)) for name, ends in axes.items()}
    moved = {name: tuple(map(tuple, (ends - corner).tolist())) for name, ends in axes.items()}
    return moved | {"long_mm": lengths["long_axis"], "short_mm": lengths["short_axis"]}


@dataclass(frozen=True)
class DatasetLesion:
    """A lesion of a dataset that data_scripts/deeplesion.py made."""

    name: str
    line: int
    long_axis: Axis
    short_axis: Axis
    spacing: tuple[float, ...]


def lesions_of(data: Dataset) -> list[DatasetLesion]:
    """The lesions of a dataset of slices that has both diameters, for make_set(lesions_of(data), data, out)."""
    found = []
    for line, case in enumerate(data, start=1):
        axes = case.extras.get("recist")
        if axes is None:
            raise ValueError(f"case {case.name} has no diameters in recistTr.json. Pass a dataset of deeplesion.py.")
        long, short = (tuple(map(tuple, axes[which])) for which in ("long_axis", "short_axis"))
        found.append(DatasetLesion(case.name, line, long, short, case.spacing[-2:]))
    return found


def _plane(lesion: Lesion | DatasetLesion, images: str | os.PathLike | Dataset) -> np.ndarray:
    if isinstance(images, Dataset):
        case = images[lesion.name]
        return case.image.reshape(case.space[-2:])
    return read_slice(images, lesion.file)


def _case(
    lesion: Lesion | DatasetLesion,
    images: str | os.PathLike | Dataset,
    corner: np.ndarray,
    *,
    size: int,
    radius: int,
    core: float,
    eps: float,
    binary: str,
) -> Case:
    recist = _recist(lesion, corner)
    axes = recist["long_axis"], recist["short_axis"]
    plane = _plane(lesion, images)
    ends = np.array(axes) + corner
    if (ends < -0.5).any() or (ends > np.array(plane.shape) - 0.5).any():
        raise ValueError(
            f"line {lesion.line}: the axes {ends.tolist()} leave the slice of {plane.shape}. Check that table and "
            f"images belong together."
        )
    needed = math.ceil(MARGIN * float(np.ptp(ends.reshape(4, 2), axis=0).max())) + 2 * (radius + 1)
    if needed > size:
        raise ValueError(
            f"the lesion needs {needed} pixels with its margin, a crop has {size}. Make larger crops in another "
            f"folder: size={-(-needed // 16) * 16}."
        )
    image = _crop(plane, corner, size)
    if image.min() == image.max():
        raise ValueError(f"every pixel of the crop is {image.min():g} HU. Check that table and images belong together.")
    mask = mask_from_recist(image, *axes)
    long, short = (float(np.hypot(*np.subtract(*axis))) for axis in axes)
    ellipse = math.pi / 4 * long * short
    if mask.sum() < LEAST_SHARE * ellipse:
        raise ValueError(
            f"GrabCut found {int(mask.sum())} of about {ellipse:.0f} pixels between the axes: the lesion does not "
            f"stand out from its surroundings. Outline it by hand, or leave it out."
        )
    soft = soft_mask(image, trimap_from_mask(mask, radius, core=core), eps=eps)
    label = (soft >= 0.5).astype(np.uint8) if binary == "soft mask" else mask
    if label.sum() < LEAST_SHARE * ellipse:
        raise ValueError(
            f"matting leaves {int(label.sum())} of about {ellipse:.0f} pixels between the axes at one half or more: "
            f"the lesion is too faint. Outline it by hand, leave it out, or pass binary='GrabCut'."
        )
    return Case(lesion.name, image, label, lesion.spacing, {"soft": soft, "recist": recist})


def _crop(plane: np.ndarray, corner: np.ndarray, size: int) -> np.ndarray:
    """Outside the slice the border pixels are repeated, so that padding adds no edge."""
    rows, columns = (np.clip(np.arange(size) + at, 0, n - 1) for at, n in zip(corner, plane.shape, strict=True))
    return plane[np.ix_(rows, columns)]


def _save(folder: Path, case: Case) -> None:
    file = f"{case.name}.nii.gz"
    save_volume(folder / "imagesTr" / file, case.image, case)
    save_volume(folder / "softTr" / file, case.extras["soft"], case)
    save_label(folder / "labelsTr" / file, case.label, case)


def _earlier(folder: Path, settings: dict) -> dict[str, dict]:
    """The axes of the cases that the folder lists, made with the same settings."""
    path = folder / "dataset.json"
    if not path.is_file():
        return {}
    before = {"binary": "GrabCut", "core": 0.0} | (json.loads(path.read_text(encoding="utf-8")).get("made_with") or {})
    if before != settings:
        raise ValueError(
            f"{folder} was made with {before}, but {settings} came; a dataset needs one way of labelling. Pass another "
            f"folder, or the earlier settings."
        )
    recists = folder / "recistTr.json"
    return json.loads(recists.read_text(encoding="utf-8")) if recists.is_file() else {}


def _file(folder: Path, about: dict, recists: dict[str, dict]) -> None:
    names = sorted(recists)
    training = [{"image": f"./imagesTr/{one}.nii.gz", "label": f"./labelsTr/{one}.nii.gz"} for one in names]
    _write(folder / "recistTr.json", json.dumps({name: recists[name] for name in names}, indent=1))
    listed = about | {"numTraining": len(names), "training": training, "test": []}
    _write(folder / "dataset.json", json.dumps(listed, indent=1))


def _table(failed: dict[str, str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([("name", "reason"), *failed.items()])
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
    except OSError as error:
        raise OSError(
            f"{path} cannot be written ({error.strerror or error}). Pass a folder that you can write to and that has "
            f"space left."
        ) from error


def main() -> None:
    """python -m dsnotes.softmask.nodule_set --from data/deeplesion --output data/lnsm"""
    parser = ArgumentParser(description="Make a dataset like LNSM from one made by data_scripts/deeplesion.py.")
    parser.add_argument("--from", dest="source", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=1500, help="maximum number of cases (1500)")
    asked = parser.parse_args()
    data = open_dataset(asked.source)[: asked.cases]
    print(make_set(lesions_of(data), data, asked.output))


if __name__ == "__main__":
    main()
