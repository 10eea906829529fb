"""The experiment's notebook on a folder with regions and ignored voxels, and its run on a new scan, by the commands."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from dsnotes import runs
from dsnotes.cli import main
from dsnotes.data import open_dataset, phantoms
from dsnotes.data.phantoms.brain import CHANNELS, LABELS, ORDER, REGIONS
from dsnotes.inference.scan import predict_scan
from dsnotes.metrics import score
from dsnotes.runs.predict_command import load_run

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "80_experiment.py"
IGNORED = 4
SMALL = {"system": "unet-3d", "width": 4, "folds": 3, "validation": 0.3, "patch": [16, 32, 32], "batch": 1, "epochs": 1}
SMALL |= {"iterations": 1, "normalise": "nonzero", "settings": {"validation_iterations": 1}, "device": "cpu"}


@pytest.fixture
def brains(tmp_path):
    """Six brains in nnU-Net's raw layout, one file a channel; the first rows of each were never drawn."""
    folder = tmp_path / "Dataset001_Brain"
    for case in phantoms.brain(6, seed=0, size=(16, 32, 32)):
        label = case.label.copy()
        label[:, :12] = IGNORED
        files = {f"imagesTr/{case.name}_{number:04d}": channel for number, channel in enumerate(case.image)}
        for name, array in (files | {f"labelsTr/{case.name}": label}).items():
            path = folder / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = sitk.GetImageFromArray(array)
            image.SetSpacing(case.spacing[::-1])
            sitk.WriteImage(image, str(path))
    labels = {"background": 0, **{name: list(values) for name, values in REGIONS.items()}, "ignore": IGNORED}
    about = {"channel_names": dict(enumerate(CHANNELS)), "labels": labels, "regions_class_order": list(ORDER)}
    (folder / "dataset.json").write_text(json.dumps(about | {"file_ending": ".nii.gz", "numTraining": 6}))
    return folder


@pytest.mark.notebook
def test_regions_are_trained_scored_without_ignored_voxels_and_predicted(brains, tmp_path):
    done = runs.run(NOTEBOOK, {"data": str(brains), **SMALL}, out=tmp_path / "runs")
    system = load_run(str(done.folder))
    task = system.task
    assert (task.regions, task.order, task.ignore) == (REGIONS, ORDER, IGNORED)
    assert (len(task.labels), task.channels) == (len(LABELS), CHANNELS)
    data = open_dataset(brains)
    assert len(done.result["cases"]) == 2
    for name, row in done.result["cases"].items():
        label, _ = predict_scan([(system, task)], data[name], device="cpu", progress=False)
        drawn = sitk.GetArrayFromImage(sitk.ReadImage(str(brains / "labelsTr" / f"{name}.nii.gz")))
        rest = drawn != IGNORED
        expected = score(label[rest], drawn[rest], spacing=(1.0,), regions=REGIONS)
        for region in REGIONS:
            for figure in ("dice", "sensitivity", "accuracy"):
                assert row[f"{figure}_{region}"] == pytest.approx(expected[f"{figure}_{region}"], abs=1e-6)
        assert row["dice"] == pytest.approx(np.mean([row[f"dice_{region}"] for region in REGIONS]))
    scans = [str(path) for path in sorted((brains / "imagesTr").glob(f"{name}_*"))]
    assert main(["predict", str(done.folder), *scans, "--output", str(tmp_path / "out"), "--device", "cpu"]) == 0
    filed = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / f"{name}.nii.gz")))
    np.testing.assert_array_equal(filed, label)
