"""A dataset opens what is looked at, and refuses what does not agree with dataset.json."""

import json
import pickle

import numpy as np
import pytest
import torch

from dsnotes.data import dataset as module
from dsnotes.data.case import Case
from dsnotes.data.dataset import open_dataset
from dsnotes.data.files import open_case, save_label, save_volume
from dsnotes.data.patches import draw_batch
from dsnotes.data.preprocess import Preprocess, foreground_statistics
from dsnotes.data.splits import k_fold, split

SETTINGS = Preprocess(spacing=(2.0, 1.0, 1.5), clip=(-100.0, 100.0), normalise="window")


def test_cases_are_those_of_the_files(folder, phantom):
    data = open_dataset(folder)
    for case, name in zip(data, data.names, strict=True):
        truth = phantom(name)
        np.testing.assert_array_equal(case.image, truth.image)
        np.testing.assert_array_equal(case.label, truth.label)
        assert (case.name, case.spacing, case.extras["names"]) == (name, (3.0, 1.0, 1.0), data.labels)
    assert data["p2_a"].name == data[2].name == data[-2].name == data[np.int64(2)].name == "p2_a"


def test_nothing_is_opened_before_it_is_looked_at(folder, monkeypatch):
    monkeypatch.setattr(module, "open_case", lambda *_args, **_named: pytest.fail("opened"))
    data = open_dataset(folder)[1:].subset(["p3_a", 0])
    assert data.names == ("p3_a", "p1_b")
    assert "p1_b" not in repr(data)


def test_the_unlabelled_list(folder):
    (case,) = open_dataset(folder, split="test")
    assert (case.name, case.label) == ("p9", None)


def test_splits_of_a_dataset_are_datasets(folder):
    data = open_dataset(folder)

    def patient(name):
        return name[:2]

    parts = split(data, (0.4, 0.3, 0.3), seed=0, patient=patient)
    assert sorted(name for part in parts for name in part.names) == sorted(data.names)
    assert {"p1_a", "p1_b"} in [set(part.names) & {"p1_a", "p1_b"} for part in parts]
    assert k_fold(data, 3, seed=0, patient=patient)[0][0].labels == data.labels


def test_several_modalities(tmp_path, decathlon, phantom):
    data = open_dataset(decathlon(tmp_path / "a", channels=(2,), modality={"1": "T2", "0": "T1"}))
    assert data.modality == ("T1", "T2")
    assert data[0].channels == 2
    np.testing.assert_array_equal(data[0].image, phantom("p1_a", (2,)).image)
    second = data.preprocess(Preprocess(channels=(1,)))
    assert second.modality == ("T2",)
    np.testing.assert_array_equal(second[0].image, data[0].image[1:])


def test_extras_beside_the_images(folder, phantom):
    case = phantom("p1_a")
    soft = np.random.default_rng(0).random((4, 12, 10)).astype("f4")
    readers = np.stack([case.label, case.label * 0]).astype("f4")
    save_volume(folder / "softTr" / "p1_a.nii.gz", soft, case)
    save_volume(folder / "readersTr" / "p1_a.nii.gz", readers, case)
    (folder / "recistTr.json").write_text(json.dumps({"p1_a": {"slice": 2, "long_axis": [[1, 2], [3, 4]]}}))
    first, second = open_dataset(folder)[:2]
    np.testing.assert_array_equal(first.extras["soft"], soft[None])
    np.testing.assert_array_equal(first.extras["readers"], readers)
    assert first.extras["readers"].dtype == np.uint8
    assert first.extras["recist"] == {"slice": 2, "long_axis": ((1, 2), (3, 4))}
    assert not {"soft", "readers", "recist"} & set(second.extras)


def test_preprocessing_as_an_argument_or_a_step(folder):
    short = open_dataset(folder, spacing=(2.0, 1.0, 1.5), clip=(-100.0, 100.0), normalise="window")
    expected = SETTINGS(open_case(folder / "imagesTr" / "p1_a.nii.gz", folder / "labelsTr" / "p1_a.nii.gz"))
    for data in (short, open_dataset(folder).preprocess(SETTINGS)):
        np.testing.assert_array_equal(data[0].image, expected.image)
        np.testing.assert_array_equal(data[0].label, expected.label)
        assert data[0].spacing == (2.0, 1.0, 1.5)


def test_steps_follow_each_other(folder):
    statistics = foreground_statistics(open_dataset(folder))
    data = open_dataset(folder, spacing=(3.0, 2.0, 2.0)).preprocess(Preprocess(normalise=statistics.z_score))
    ((mean, std),) = statistics.z_score
    np.testing.assert_allclose(
        data[0].image,
        (data_before := open_dataset(folder, spacing=(3.0, 2.0, 2.0)))[0].image / std - mean / std,
        atol=1e-5,
    )
    assert data.names == data_before.names


def test_merged_labels(folder):
    data = open_dataset(folder).preprocess(Preprocess(relabel=(0, 1, 1)))
    assert data.labels == data[0].extras["names"] == {0: "background", 1: "organ+tumour"}
    assert data.classes == 2
    assert data[0].label.max() == 1
    for wrong in ((0, 1), (0, 2, 2)):
        with pytest.raises(ValueError, match=r"relabel=\(0, .*pass the new value of each.*such as \(0, 1, 1\)"):
            open_dataset(folder).preprocess(Preprocess(relabel=wrong))


def test_a_dataset_goes_to_another_process(folder, tmp_path):
    data = open_dataset(folder).preprocess(SETTINGS, cache=tmp_path / "cache")
    assert pickle.loads(pickle.dumps(data))[0].name == "p1_a"


def test_a_label_value_that_is_not_named(folder, phantom):
    case = phantom("p2_a")
    save_label(folder / "labelsTr" / "p2_a.nii.gz", case.label * 2, case)
    data = open_dataset(folder)
    assert data[0].name == "p1_a"
    with pytest.raises(ValueError, match=r"labelsTr.p2_a\.nii\.gz holds the label value 4, which dataset\.json does"):
        data[2]


def test_channels_that_are_not_named(tmp_path, decathlon):
    data = open_dataset(decathlon(tmp_path / "a", channels=(2,)))
    with pytest.raises(ValueError, match=r"p1_a\.nii\.gz has 2 channels, dataset\.json names 1 under 'modality'"):
        data[0]


def test_a_soft_mask_out_of_range_or_place(folder, phantom):
    case = phantom("p1_a")
    save_volume(folder / "softTr" / "p1_a.nii.gz", np.full((4, 12, 10), 255.0), case)
    with pytest.raises(ValueError, match=r"softTr.p1_a\.nii\.gz holds values from 255 to 255; .*Divide it"):
        open_dataset(folder)[0]
    moved = Case("a", case.image, None, (3.0, 1.0, 2.0))
    save_volume(folder / "softTr" / "p1_a.nii.gz", case.image * 0, moved)
    with pytest.raises(ValueError, match=r"a different spacing \(x first\).*softTr"):
        open_dataset(folder)[0]


def test_an_unknown_name(folder):
    with pytest.raises(KeyError, match=r"Phantom has no case 'p1_c'; the nearest names: p1_[ab], p1_[ab]"):
        open_dataset(folder)["p1_c"]
    with pytest.raises(IndexError):
        open_dataset(folder)[4]


def test_hippocampus(real_data, tmp_path):
    data = open_dataset(real_data("hippocampus_mr"))
    assert (len(data), data.labels[2], data.modality) == (160, "Posterior", ("MRI",))
    few = data[:4].preprocess(Preprocess(normalise="image"), cache=tmp_path)
    for case in few:
        assert set(np.unique(case.label)) == {0, 1, 2}
        assert abs(case.image.mean()) < 1e-4
    batch = draw_batch(few, patch=(48, 64, 48), batch=4, foreground=0.5, generator=torch.Generator().manual_seed(0))
    assert batch["image"].shape == (4, 1, 48, 64, 48)
    assert batch["label"].flatten(1).any(1).all()
    train, validation, test = split(data, (0.7, 0.1, 0.2), seed=0)
    assert [len(train), len(validation), len(test)] == [112, 16, 32]
