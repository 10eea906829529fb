"""A run's folder gives its system back, and nothing that is not a run does."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import nn

import dsnotes
from dsnotes.data import phantoms
from dsnotes.data.preprocess import Preprocess
from dsnotes.data.task import Task
from dsnotes.networks.unet import UNet
from dsnotes.supervision import MultiScale

QUIET = {"device": "cpu", "amp": False, "progress": False, "epochs": 2, "iterations": 1, "patch": (32, 32)}
IMAGE = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def cases():
    return phantoms.nodules(2, seed=0)


@pytest.fixture(scope="module")
def run(cases, tmp_path_factory):
    """A trained system of `build`, and its folder."""
    folder = tmp_path_factory.mktemp("run") / "first"
    system = dsnotes.build("msds-unet", width=2, dims=2, sides="(34)")
    task = Task(labels={0: "background", 1: "nodule"}, preprocessing=(Preprocess(clip=(0.0, 1.0)),))
    system = dsnotes.System(**{**vars(system), "task": task})
    dsnotes.fit(system, cases, cases, out=folder, **QUIET)
    return system, folder


def test_a_built_system_comes_back_with_its_task_and_predicts_the_same(run):
    system, folder = run
    found = dsnotes.load(folder, weights="checkpoint.pt")
    assert torch.equal(found.probabilities(IMAGE), system.probabilities(IMAGE))  # the mean over sides, as deployed
    assert found.settings.patch == (32, 32)
    assert found.labels == {0: "background", 1: "nodule"}
    assert found.preprocessing == (Preprocess(clip=(0.0, 1.0)),)
    best = torch.load(folder / "best.pt", weights_only=True)
    assert all(torch.equal(value, best[key]) for key, value in dsnotes.load(folder).network.state_dict().items())


def test_what_is_trained_walks_out_as_a_plain_state_dict(run, tmp_path):
    system, folder = run
    dsnotes.build("msds-unet", width=2, dims=2, sides="(34)").network.load_state_dict(
        torch.load(folder / "best.pt", weights_only=True)
    )
    kept = torch.load(system.save(tmp_path / "out" / "weights.pt"), weights_only=True)
    assert all(torch.equal(value, kept[key]) for key, value in system.network.state_dict().items())


def test_a_zip_of_the_folder_is_the_folder_and_writes_nothing_elsewhere(run, tmp_path):
    system, folder = run
    path = tmp_path / "run.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for each in folder.iterdir():
            archive.write(each, f"../../{each.name}")
        archive.writestr("../evil.txt", "no")
    before = sorted(tmp_path.parent.rglob("evil.txt"))
    found = dsnotes.load(path, weights="checkpoint.pt", sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert torch.equal(found.probabilities(IMAGE), system.probabilities(IMAGE))
    assert sorted(tmp_path.parent.rglob("evil.txt")) == before == []
    with pytest.raises(ValueError, match="0000"):
        dsnotes.load(path, sha256="0" * 64)


def test_a_system_of_ones_own_is_loaded_into_its_backbone(cases, tmp_path):
    system = dsnotes.system("mine", UNet(width=2, depth=3), MultiScale(), lr=1e-3)
    dsnotes.fit(system, cases, out=tmp_path, **QUIET)
    with pytest.raises(ValueError, match=r"'mine'.*network=backbone"):
        dsnotes.load(tmp_path)
    found = dsnotes.load(tmp_path, network=UNet(width=2, depth=3))
    assert torch.equal(found.probabilities(IMAGE), system.probabilities(IMAGE))
    other = dsnotes.system("mine", UNet(width=2, depth=3), MultiScale())
    assert torch.equal(dsnotes.load(tmp_path, network=other).probabilities(IMAGE), system.probabilities(IMAGE))
    with pytest.raises(TypeError, match=r"dsnotes.wrap\("):
        dsnotes.load(tmp_path, network=nn.Conv2d(1, 1, 1))


def test_what_cannot_be_written_down_is_named(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run[1], folder)
    written = json.loads((folder / "settings.json").read_text())
    written["build"] = {"name": "dsnet", "teacher": "<System>"}
    (folder / "settings.json").write_text(json.dumps(written))
    with pytest.raises(ValueError, match=r"teacher=<System>.*teacher=…"):
        dsnotes.load(folder)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("http://example.org/run.zip", "https"),
        ("https://example.org/run.zip", "sha256="),
        ("{}/nowhere", "does not exist"),
        ("{}/empty", "settings.json"),
        ("{}/text.zip", "neither a folder nor a zip"),
    ],
)
def test_what_is_not_a_run_is_refused(given, said, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        dsnotes.load(given.format(tmp_path))


def test_the_folder_above_a_run_is_answered_with_the_run(run):
    with pytest.raises(FileNotFoundError, match=r"Did you mean .*first"):
        dsnotes.load(run[1].parent)


def test_a_dataset_on_disk_leaves_its_task_beside_the_weights(tmp_path):
    (tmp_path / "data" / "imagesTr").mkdir(parents=True)
    (tmp_path / "data" / "labelsTr").mkdir()
    pairs = []
    for name in ("a", "b"):
        image = np.random.default_rng(0).normal(size=(4, 32, 32)).astype(np.float32)
        sitk.WriteImage(sitk.GetImageFromArray(image), tmp_path / "data" / "imagesTr" / f"{name}.nii.gz")
        label = sitk.GetImageFromArray((image > 1).astype(np.uint8))
        sitk.WriteImage(label, tmp_path / "data" / "labelsTr" / f"{name}.nii.gz")
        pairs.append({"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"})
    about = {"name": "n", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "spot"}, "training": pairs}
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(about))
    data = dsnotes.open_dataset(tmp_path / "data", clip=(-1.0, 1.0))
    system = dsnotes.build("unet-2d", width=2)
    dsnotes.fit(system, data, out=tmp_path / "run", **QUIET)
    found = dsnotes.load(tmp_path / "run")
    assert found.labels == {0: "background", 1: "spot"}
    assert [step.clip for step in found.preprocessing] == [(-1.0, 1.0)]
