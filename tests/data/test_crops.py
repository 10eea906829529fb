"""A dataset folder read as crops that the notebooks take for phantoms."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from dsnotes.data.crops import read_crops


def folder_of(path, labels, *, spacing=(1.0, 1.0, 1.0)):
    """A Decathlon folder of volumes with these labels; grey values rise along the last axis."""
    training = []
    for number, label in enumerate(labels):
        image = np.broadcast_to(np.arange(label.shape[-1], dtype=np.float32) * 10, label.shape)
        files = {part: path / part / f"case_{number}.nii.gz" for part in ("imagesTr", "labelsTr")}
        for array, file in zip((image, label), files.values(), strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            volume = sitk.GetImageFromArray(array)
            volume.SetSpacing(spacing[::-1])
            sitk.WriteImage(volume, str(file))
        names = [f"./{file.relative_to(path)}" for file in files.values()]
        training.append({"image": names[0], "label": names[1]})
    named = {"0": "background", "1": "organ", "2": "lesion"}
    about = {"name": "small", "labels": named, "modality": {"0": "CT"}, "training": training}
    (path / "dataset.json").write_text(json.dumps(about))
    return path


def two_lesions() -> np.ndarray:
    label = np.zeros((12, 20, 30), np.uint8)
    label[2:8, 4:16, 10:24] = 1
    label[3:6, 5:8, 12:15] = 2  # 27 voxels
    label[3:5, 12:14, 20:22] = 2  # 8 voxels
    return label


def test_a_crop_is_centred_on_the_foreground_and_scaled_from_0_to_1(tmp_path):
    (case,), names = read_crops(folder_of(tmp_path, [two_lesions()]), size=(8, 16, 16), labels=2)
    assert names == {1: "organ", 2: "lesion"}
    assert case.space == (8, 16, 16)
    assert (case.label == two_lesions()[1:9, 2:18, 9:25]).all()
    assert 0 <= case.image.min() < case.image.max() <= 1
    steps = np.diff(case.image[0, 0])
    assert np.allclose(steps, steps[0])  # linear in the grey value
    assert [one["volume_mm3"] for one in case.extras["tumours"]] == [27, 8]
    assert case.extras["tumours"][0]["centre"] == (3 + 1 - 1, 6 - 2, 13 - 9)
    assert case.extras["alpha"].sum() == 35
    assert case.extras["organ_alpha"].sum() == (two_lesions() > 0).sum()


def test_one_label_merges_all_and_a_box_beyond_the_image_is_padded(tmp_path):
    (case,), names = read_crops(folder_of(tmp_path, [two_lesions()]), size=(16, 16, 16))
    assert names == {1: "organ or lesion"}
    assert set(np.unique(case.label)) == {0, 1}
    assert case.label.sum() == (two_lesions() > 0).sum()
    assert (case.image[0] == 0).all()  # two slices above the first
    assert len(case.extras["tumours"]) == 1


def test_spacing_resamples_before_the_crop(tmp_path):
    folder = folder_of(tmp_path, [two_lesions()], spacing=(2.0, 1.0, 1.0))
    (case,), _ = read_crops(folder, size=(12, 12, 14), spacing=(1.0, 1.0, 1.0))
    assert case.spacing == (1.0, 1.0, 1.0)
    assert case.label.all()  # 6 slices of 2 mm are 12 of 1 mm


def test_cases_without_foreground_are_left_out_and_missing_labels_are_an_error(tmp_path):
    empty = np.zeros((4, 8, 8), np.uint8)
    folder = folder_of(tmp_path, [empty, two_lesions(), two_lesions()])
    assert [case.name for case in read_crops(folder, size=(4, 4, 4), most=1)[0]] == ["case_1"]
    with pytest.raises(ValueError, match="foreground labels .*needed here"):
        read_crops(folder, size=(4, 4, 4), labels=3)
    with pytest.raises(ValueError, match="one number per axis"):
        read_crops(folder, size=(4, 4))
