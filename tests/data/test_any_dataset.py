"""What becomes a case when `fit` is handed it, and what is answered instead."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

import dsnotes
from dsnotes.data.any_dataset import as_cases

IMAGE = np.arange(64, dtype=np.float32).reshape(8, 8)
LABEL = (IMAGE > 40).astype(np.uint8)
FLAT = {"dims": 2, "channels": 1}


class Dicts(Dataset):
    def __init__(self, **more):
        self.more = more

    def __len__(self):
        return 3

    def __getitem__(self, place):
        return {"image": torch.from_numpy(IMAGE)[None] + place, "label": torch.from_numpy(LABEL)[None]} | self.more


def test_dicts_become_cases_with_their_names_and_millimetres():
    plain = as_cases("train", Dicts(), **FLAT)
    assert (len(plain), plain[2].name, plain[2].spacing, plain[2].image.shape) == (3, "train[2]", (1.0, 1.0), (1, 8, 8))
    assert plain[2].label.shape == (8, 8)
    np.testing.assert_array_equal(plain[2].image[0], IMAGE + 2)
    named = as_cases("train", Dicts(name="p1", spacing=(0.5, 0.25)), **FLAT)[0]
    assert (named.name, named.spacing) == ("p1", (0.5, 0.25))
    with pytest.raises(IndexError):
        plain[3]


def test_pairs_of_tensors_become_cases():
    pairs = TensorDataset(torch.rand(4, 1, 8, 8), torch.randint(0, 2, (4, 8, 8)))
    found = as_cases("val", pairs, **FLAT)
    assert [case.image.shape for case in found] == [(1, 8, 8)] * 4
    np.testing.assert_array_equal(found[1].label, pairs[1][1].numpy())
    listed = as_cases("val", [(IMAGE, LABEL)], **FLAT)
    assert isinstance(listed, list)
    assert listed[0].image.shape == (8, 8)


def test_cases_stay_as_they_are():
    case = dsnotes.Case.from_arrays(IMAGE, LABEL, spacing=(1, 1))
    cases = [case]
    assert as_cases("train", cases, **FLAT) is cases


def test_fit_trains_on_dicts_and_pairs():
    system = dsnotes.build("unet-2d", width=2)
    quiet = {"device": "cpu", "amp": False, "progress": False, "epochs": 1, "iterations": 1, "patch": (16, 16)}
    pairs = TensorDataset(torch.rand(2, 1, 16, 16), torch.randint(0, 2, (2, 16, 16)))
    history = dsnotes.fit(system, pairs, pairs, **quiet)
    assert np.isfinite(history[-1]["loss"])


def test_from_arrays_takes_a_label_with_a_channel_and_keeps_extras():
    case = dsnotes.Case.from_arrays(torch.rand(2, 8, 8), LABEL[None], spacing=(1, 2), name="a", soft=IMAGE / 64)
    assert (case.name, case.channels, case.label.shape, case.spacing) == ("a", 2, (8, 8), (1.0, 2.0))
    assert case.extras["soft"].shape == (8, 8)
    with pytest.raises(ValueError, match=r"spacing=\(0.8, 0.8\)"):
        dsnotes.Case.from_arrays(IMAGE)


WRONG = {
    "a loader": (lambda: DataLoader(Dicts()), "loader.dataset"),
    "a generator": (lambda: (case for case in []), r"list\(cases\)"),
    "other keys": (lambda: [{"img": IMAGE, "seg": LABEL}], r"\['img', 'seg'\].*'image' and 'label'"),
    "an array": (lambda: [IMAGE], "from_arrays"),
    "a volume for a 2-D network": (lambda: [(np.zeros((4, 8, 8)), np.zeros((4, 8, 8)))], r"\(4, 8, 8\).*'spacing'"),
    "a path": (lambda: "data", "open_dataset"),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_rest_is_answered_with_what_to_pass(what):
    made, said = WRONG[what]
    with pytest.raises((TypeError, ValueError), match=said):
        as_cases("train", made(), **FLAT)
