"""The four-channel brain through everything: regions trained, ignored voxels left out, labels written back."""

from dataclasses import replace

import numpy as np
import pytest

import dsnotes
from dsnotes.data import phantoms
from dsnotes.data.phantoms.brain import CHANNELS, LABELS, ORDER, REGIONS
from dsnotes.data.preprocess import Preprocess
from dsnotes.data.task import Task
from dsnotes.inference.scan import predict_scan


def brains(n: int):
    return [Preprocess(normalise="nonzero")(case) for case in phantoms.brain(n, seed=0, size=(16, 32, 32))]


def test_a_brain_has_regions_within_regions():
    (case,) = phantoms.brain(1, seed=1, size=(24, 64, 56))
    assert case.image.shape == (4, 24, 64, 56)
    sizes = [np.isin(case.label, values).sum() for values in REGIONS.values()]
    assert sizes[0] > sizes[1] > sizes[2] > 0
    assert set(np.unique(case.label)) == set(LABELS)
    rim, oedema = (case.image[:, case.label == value].mean(1) for value in (3, 2))
    contrast, flair = CHANNELS.index("T1ce"), CHANNELS.index("FLAIR")
    assert rim[contrast] > 1.3 * oedema[contrast]  # it takes up contrast
    assert oedema[flair] > 1.2 * case.image[flair][(case.label == 0) & (case.image[flair] > 0)].mean()
    again = phantoms.brain(2, seed=1, size=(24, 64, 56))[0]
    np.testing.assert_array_equal(case.image, again.image)


def test_regions_are_trained_loaded_and_written_back_as_labels(tmp_path):
    cases = brains(2)
    valid = np.ones(cases[0].space, np.uint8)
    valid[:, :8] = 0
    cases = [replace(case, extras={"valid": valid}) for case in cases]
    task = Task(dict(LABELS), channels=CHANNELS, regions=dict(REGIONS), order=ORDER)
    system = replace(dsnotes.build("unet-3d", in_channels=4, width=4, regions=REGIONS), task=task)
    how = {"patch": (16, 32, 32), "epochs": 2, "iterations": 2, "batch": 1, "device": "cpu", "progress": False}
    history = dsnotes.fit(system, cases, cases, out=tmp_path / "run", augment=True, **how)
    assert {"val_dice_1", "val_dice_2", "val_dice_3", "whole tumour: dice"} <= set(history[-1])
    loaded = dsnotes.load(tmp_path / "run", weights="checkpoint.pt")
    label, p = predict_scan([(loaded, loaded.task)], cases[0], probabilities=True, device="cpu", progress=False)
    assert p.shape == (3, 16, 32, 32)
    expected = np.zeros(label.shape, np.uint8)
    for channel, value in zip(p, ORDER, strict=True):
        expected[channel > 0.5] = value
    np.testing.assert_array_equal(label, expected)


def test_what_cannot_leave_voxels_out_or_train_regions_says_so():
    case = brains(1)[0]
    case = replace(case, image=case.image[:1], label=(case.label > 0).astype("u1"))
    case = replace(case, extras={"valid": np.ones(case.space, np.uint8)})
    system = dsnotes.build("mu-net-hyb", width=4, dims=3)
    with pytest.raises(ValueError, match=r"labelled 'ignore', .*'mu-net-hyb'.*unet-3d"):
        dsnotes.fit(system, [case], [case], patch=(16, 32, 32), epochs=1, device="cpu", progress=False)
    with pytest.raises(ValueError, match="mu-net-hyb cannot be trained on regions"):
        dsnotes.build("mu-net-hyb", width=4, regions=REGIONS)
