"""A small folder in the Decathlon's layout, for whoever reads one."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dsnotes.data.case import Case
from dsnotes.data.files import save_label, save_volume


def make(name: str, channels: tuple[int, ...] = ()) -> Case:
    rng = np.random.default_rng(sum(map(ord, name)))
    image = rng.normal(0, 100, (*channels, 4, 12, 10)).astype("f4")
    label = np.zeros((4, 12, 10), "u1")
    label[1:3, 3:7, 2:6] = 1
    label[2, 4, 4] = 2
    return Case(name, image, label, (3.0, 1.0, 1.0))


@pytest.fixture
def phantom() -> Callable[..., Case]:
    """phantom("p1_a") -> the case that the folder holds under that name."""
    return make


@pytest.fixture
def decathlon() -> Callable[..., Path]:
    """decathlon(folder, names, channels=(2,), labels=…) writes such a folder; any key of dataset.json may change."""
    return write


@pytest.fixture
def folder(tmp_path) -> Path:
    return write(tmp_path / "Task99_Phantom")


def write(folder: Path, names=("p1_a", "p1_b", "p2_a", "p3_a"), *, channels=(), **changed) -> Path:
    cases = [make(name, channels) for name in names]
    for case in cases:
        save_volume(folder / "imagesTr" / f"{case.name}.nii.gz", case.image, case)
        save_label(folder / "labelsTr" / f"{case.name}.nii.gz", case.label, case)
    save_volume(folder / "imagesTs" / "p9.nii.gz", cases[0].image, cases[0])
    about = {
        "name": "Phantom",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "organ", "2": "tumour"},
        "training": [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names],
        "test": ["./imagesTs/p9.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(about | changed))
    return folder
