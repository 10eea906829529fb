"""`dsnotes data` lists what lies on the disk, and says in one line when nothing does."""

from __future__ import annotations

import json

import numpy as np

from dsnotes.cli import main
from dsnotes.data import save_label, save_volume
from dsnotes.data.case import Case


def test_a_dataset_is_listed_with_the_systems_of_its_tables(tmp_path, capsys):
    folder = tmp_path / "kits"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    image = np.zeros((4, 6, 6), np.float32)
    case = Case("a", image, image.astype(np.uint8), (1.0, 1.0, 1.0))
    save_volume(folder / "imagesTr" / "a.nii.gz", image, case)
    save_label(folder / "labelsTr" / "a.nii.gz", case.label, case)
    about = {
        "name": "KiTS19",
        "labels": {"0": "background", "1": "kidney", "2": "tumour"},
        "modality": {"0": "CT"},
        "licence": "CC BY-NC-SA 4.0",
        "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
        "tables": ["mss-2"],
    }
    (folder / "dataset.json").write_text(json.dumps(about))
    assert main(["data", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"KiTS19  ({folder})" in said
    assert "1 cases" in said
    assert "CC BY-NC-SA 4.0" in said
    assert "mss-2: " in said
    assert "mss-unet" in said


def test_an_empty_disk_is_told_where_to_begin(tmp_path, capsys):
    assert main(["data", str(tmp_path / "nothing")]) == 2
    said = capsys.readouterr().err
    assert "fetch the smallest with: python data_scripts/decathlon.py hippocampus --out" in said
