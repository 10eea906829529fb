"""Every notebook that takes a dataset folder runs on one: a few small volumes with two labels, written here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import papermill
import pytest
import SimpleITK as sitk

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
SIZE = (24, 72, 72)


def takes_a_folder(notebook: Path) -> bool:
    """Whether it has a parameter `data` that is empty by default."""
    parameters = papermill.inspect_notebook(str(notebook))
    return parameters.get("data", {}).get("default") in ('""', "''")


FOUND = [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb")) if takes_a_folder(path)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Seven volumes: an ellipsoid with a brighter ball in it, elsewhere in each, and noise."""
    root, rng = tmp_path_factory.mktemp("blobs"), np.random.default_rng(0)
    z, y, x = np.ogrid[tuple(slice(0, n) for n in SIZE)]
    training = []
    for number in range(7):
        dz, dy, dx = rng.integers(-3, 4, 3)
        organ = ((z - 12 - dz) / 8) ** 2 + ((y - 36 - dy) / 16) ** 2 + ((x - 36 - dx) / 20) ** 2 < 1
        ball = (z - 12 - dz) ** 2 + (y - 38 - dy) ** 2 + (x - 42 - dx) ** 2 < 5**2
        label = organ.astype(np.uint8) + (ball & organ)
        image = (60 * label + rng.normal(0, 10, SIZE)).astype(np.float32)
        files = {part: root / part / f"case_{number}.nii.gz" for part in ("imagesTr", "labelsTr")}
        for array, file in zip((image, label), files.values(), strict=True):
            file.parent.mkdir(exist_ok=True)
            volume = sitk.GetImageFromArray(array)
            volume.SetSpacing((3.0, 3.0, 3.0))
            sitk.WriteImage(volume, str(file))
        names = [f"./{file.relative_to(root)}" for file in files.values()]
        training.append({"image": names[0], "label": names[1]})
    labels = {"0": "background", "1": "organ", "2": "ball"}
    about = {"name": "Blobs", "labels": labels, "modality": {"0": "CT"}, "training": training}
    (root / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    return root


def test_the_notebooks_of_the_3_d_papers_take_a_folder():
    assert {"20_msds_unet", "21_gradnorm", "30_dsms_unet", "40_mss_unet"} <= set(FOUND)


@pytest.mark.notebook
@pytest.mark.parametrize("name", FOUND)
def test_it_runs_on_a_folder_of_images(name, folder, tmp_path):
    executed = tmp_path / f"{name}.ipynb"
    command = [
        *(sys.executable, "-m", "papermill", str(NOTEBOOKS / f"{name}.ipynb"), str(executed)),
        *("-p", "data", str(folder), "-y", "{smoke: true}", "--cwd", str(NOTEBOOKS)),
        *("--execution-timeout", "180", "--no-progress-bar"),
    ]
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    ran = subprocess.run(command, env=environment, timeout=420, capture_output=True, text=True, encoding="utf-8")
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "case_" in executed.read_text(encoding="utf-8")  # a figure's title or a table names one of the cases
