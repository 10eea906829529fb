"""A small folder in the Decathlon's layout: read lazily, preprocessed once, refused where it is wrong."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from dsnotes.data import dataset as module
from dsnotes.data.case import Case
from dsnotes.data.dataset import open_dataset
from dsnotes.data.files import open_case, save_label, save_volume
from dsnotes.data.foreground import class_counts, lowest
from dsnotes.data.patches import draw_batch
from dsnotes.data.preprocess import Preprocess, foreground_statistics
from dsnotes.data.resample import restore
from dsnotes.data.splits import k_fold, split

SETTINGS = Preprocess(spacing=(2.0, 1.0, 1.5), clip=(-100.0, 100.0), normalise="window")


def phantom(name: str, channels: tuple[int, ...] = ()) -> Case:
    rng = np.random.default_rng(sum(map(ord, name)))
    image = rng.normal(0, 100, (*channels, 4, 12, 10)).astype("f4")
    label = np.zeros((4, 12, 10), "u1")
    label[1:3, 3:7, 2:6] = 1
    label[2, 4, 4] = 2
    return Case(name, image, label, (3.0, 1.0, 1.0))


@pytest.fixture
def folder(tmp_path) -> Path:
    return write(tmp_path / "Task99_Phantom")


def write(folder: Path, names=("p1_a", "p1_b", "p2_a", "p3_a"), *, channels=(), **changed) -> Path:
    cases = [phantom(name, channels) for name in names]
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


def test_what_dataset_json_says(folder):
    data = open_dataset(folder)
    assert (data.name, data.labels, data.modality) == ("Phantom", {0: "background", 1: "organ", 2: "tumour"}, ("CT",))
    assert data.classes == 3
    assert data.names == ("p1_a", "p1_b", "p2_a", "p3_a")
    assert len(data) == 4


def test_cases_are_those_of_the_files(folder):
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


def test_several_modalities(tmp_path):
    data = open_dataset(write(tmp_path / "a", channels=(2,), modality={"1": "T2", "0": "T1"}))
    assert data.modality == ("T1", "T2")
    assert data[0].channels == 2
    np.testing.assert_array_equal(data[0].image, phantom("p1_a", (2,)).image)
    second = data.preprocess(Preprocess(channels=(1,)))
    assert second.modality == ("T2",)
    np.testing.assert_array_equal(second[0].image, data[0].image[1:])


def test_extras_beside_the_images(folder):
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


def test_cached_cases_are_the_same_and_memory_mapped(folder, tmp_path):
    save_volume(folder / "softTr" / "p1_a.nii.gz", np.ones((4, 12, 10), "f4"), phantom("p1_a"))
    (folder / "recistTr.json").write_text(json.dumps({"p1_a": {"slice": 2, "long_axis": [[1, 2], [3, 4]]}}))
    plain = open_dataset(folder).preprocess(SETTINGS)
    data = open_dataset(folder).preprocess(SETTINGS, cache=tmp_path / "cache")
    for _ in ("written", "read"):
        for ours, truth in zip(data, plain, strict=True):
            assert isinstance(ours.image, np.memmap)
            assert isinstance(ours.label, np.memmap)
            np.testing.assert_array_equal(ours.image, truth.image)
            np.testing.assert_array_equal(ours.label, truth.label)
            assert (ours.name, ours.spacing) == (truth.name, truth.spacing)
            assert set(ours.extras) == set(truth.extras)
            for name in ("geometry", "grid", "names", "recist"):
                assert ours.extras.get(name) == truth.extras.get(name)
            np.testing.assert_array_equal(class_counts(ours), class_counts(truth))
            np.testing.assert_array_equal(lowest(ours), lowest(truth))
    assert isinstance(data[0].extras["soft"], np.memmap)
    assert restore(np.array(data[0].label), data[0]).shape == (4, 12, 10)
    saved = save_label(tmp_path / "back.nii.gz", restore(np.array(data[0].label), data[0]), data[0])
    assert open_case(saved).space == (4, 12, 10)


def test_a_cached_case_is_made_once(folder, tmp_path, monkeypatch):
    data = open_dataset(folder).preprocess(SETTINGS, cache=tmp_path / "cache")
    assert len(list(data)) == 4
    monkeypatch.setattr(module, "open_case", lambda *_args, **_named: pytest.fail("opened again"))
    monkeypatch.setattr(np, "bincount", lambda *_args, **_named: pytest.fail("counted again"))
    again = open_dataset(folder).preprocess(SETTINGS, cache=tmp_path / "cache")
    batch = draw_batch(again, patch=(8, 16, 4), batch=4, foreground=1.0, generator=torch.Generator().manual_seed(0))
    assert batch["label"].flatten(1).any(1).all()


def test_other_settings_or_files_make_a_case_anew(folder, tmp_path):
    cache = tmp_path / "cache"

    def folders() -> int:
        return len(list(cache.iterdir()))

    open_dataset(folder).preprocess(SETTINGS, cache=cache)[0]
    assert folders() == 1
    open_dataset(folder).preprocess(Preprocess(normalise="image"), cache=cache)[0]
    assert folders() == 2
    path = folder / "imagesTr" / "p1_a.nii.gz"
    case = phantom("p1_a")
    save_volume(path, case.image + 1, case)
    os.utime(path, (1, 1))
    changed = open_dataset(folder).preprocess(Preprocess(clip=(0.0, 1.0)), cache=cache)
    changed[0]
    assert folders() == 3
    open_dataset(folder).preprocess(SETTINGS, cache=cache)[0]
    assert folders() == 4
    save_volume(folder / "softTr" / "p1_a.nii.gz", np.ones((4, 12, 10), "f4"), case)
    assert "soft" in open_dataset(folder).preprocess(SETTINGS, cache=cache)[0].extras
    assert folders() == 5


def test_an_unlabelled_case_is_cached_too(folder, tmp_path):
    (case,) = open_dataset(folder, split="test", spacing=(3.0, 2.0, 2.0), cache=tmp_path / "cache")
    assert case.label is None
    assert isinstance(case.image, np.memmap)


def test_what_is_interrupted_leaves_no_half_case(folder, tmp_path, monkeypatch):
    data = open_dataset(folder).preprocess(SETTINGS, cache=tmp_path / "cache")
    data[0]
    save, written = np.save, []

    def full(path, array):
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        save(path, array)

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match=r"case p1_b cannot be cached in .*cache \(No space left on device\)\. Free some"):
        data[1]
    monkeypatch.undo()
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert data[1].name == "p1_b"
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_two_processes_at_once(folder, tmp_path):
    """The second finds, when it is ready, that the first has stored the case: it takes that one."""
    data = open_dataset(folder).preprocess(SETTINGS, cache=tmp_path / "cache")
    opened = module.Dataset._opened

    def slow(self, entry):
        module.Dataset._opened = opened
        data[0]
        return opened(self, entry)

    module.Dataset._opened = slow
    assert data[0].name == "p1_a"
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_dataset_goes_to_another_process(folder, tmp_path):
    data = open_dataset(folder).preprocess(SETTINGS, cache=tmp_path / "cache")
    assert pickle.loads(pickle.dumps(data))[0].name == "p1_a"


def test_a_label_value_that_is_not_named(folder):
    case = phantom("p2_a")
    save_label(folder / "labelsTr" / "p2_a.nii.gz", case.label * 2, case)
    data = open_dataset(folder)
    assert data[0].name == "p1_a"
    with pytest.raises(ValueError, match=r"labelsTr/p2_a\.nii\.gz holds the label value 4, which dataset\.json does"):
        data[2]


def test_a_missing_file(folder):
    (folder / "labelsTr" / "p2_a.nii.gz").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"lists under 'training' a file that is missing: .*nearest names there: p3_a\.nii\.gz"
    ):
        open_dataset(folder)
    with pytest.raises(FileNotFoundError, match=r"there is no 'Task99_Phantoms'; the nearest names there: Task99_Phan"):
        open_dataset(folder.with_name("Task99_Phantoms"))


def test_a_folder_of_another_layout(folder):
    with pytest.raises(FileNotFoundError, match=r"holds no dataset\.json\. .*Folders below that have one: .*Task99_Ph"):
        open_dataset(folder.parent)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": {"0": "background", "4": "tumour"}}, r"names the label values \[0, 4\].*Renumber"),
        ({"labels": {"background": 0}}, r"has \{'background': 0\} under 'labels'; needed is a name for each number"),
        ({"modality": None}, r"has None under 'modality'.*\"CT\""),
        ({"training": "all"}, r"has no list 'training'; pass split= one of \['test'\]"),
        (
            {"training": [{"image": "imagesTr/p1_a.nii.gz"}, {"image": "imagesTs/../imagesTr/p1_a.nii.gz"}]},
            r"lists 'p1_a' more than once under 'training'",
        ),
    ],
)
def test_a_wrong_dataset_json(tmp_path, changed, message):
    write(tmp_path / "a", **changed)
    with pytest.raises(ValueError, match=message):
        open_dataset(tmp_path / "a")


def test_a_dataset_json_that_is_none(folder):
    (folder / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match=r"dataset\.json is no valid JSON .*Correct it there"):
        open_dataset(folder)
    (folder / "dataset.json").write_text("[]")
    with pytest.raises(ValueError, match=r"holds a list; needed are keys: labels, modality, training"):
        open_dataset(folder)


def test_channels_that_are_not_named(tmp_path):
    data = open_dataset(write(tmp_path / "a", channels=(2,)))
    with pytest.raises(ValueError, match=r"p1_a\.nii\.gz has 2 channels, dataset\.json names 1 under 'modality'"):
        data[0]


def test_a_soft_mask_out_of_range_or_place(folder):
    case = phantom("p1_a")
    save_volume(folder / "softTr" / "p1_a.nii.gz", np.full((4, 12, 10), 255.0), case)
    with pytest.raises(ValueError, match=r"softTr/p1_a\.nii\.gz holds values from 255 to 255; .*Divide it"):
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
