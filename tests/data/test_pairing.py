"""Which files belong together, by names as people write them."""

from pathlib import Path

import pytest

from dsnotes.data.pairing import pair


@pytest.fixture
def paired(tmp_path):
    def make(*names: str, labels: str | None = None):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        found = pair(tmp_path if labels is None else tmp_path / "scans", None if labels is None else tmp_path / labels)
        short = {
            one.name: ([path.name for path in one.images], one.label.relative_to(tmp_path).as_posix(), one.channels)
            for one in found.pairs
        }
        return short, {path.name: why for path, why in found.unpaired.items()}, found.wrong

    return make


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("case01.nii.gz", "case01_seg.nii.gz"),
        ("case01.nii.gz", "case01-label.nii.gz"),
        ("case01.nrrd", "case01_Segmentation.nii"),
        ("img_case01.png", "mask_case01.png"),
        ("images/case01.png", "labels/case01.png"),
        ("imagesTr/case01_0000.nii.gz", "labelsTr/case01.nii.gz"),
        ("case01/image.nii.gz", "case01/label.nii.gz"),
        ("case01/imaging.nii.gz", "case01/segmentation.nii.gz"),
        ("case01/case01_image.mha", "case01/case01_gt.mha"),
    ],
)
def test_a_pair(paired, image, label):
    pairs, unpaired, wrong = paired(image, label)
    assert not unpaired
    assert not wrong
    assert list(pairs) == ["case01"]
    assert pairs["case01"][:2] == ([Path(image).name], label)


def test_labels_in_a_folder_of_their_own(paired):
    pairs, unpaired, wrong = paired("scans/a.nii.gz", "drawn/a.nii.gz", labels="drawn")
    assert list(pairs) == ["a"]
    assert pairs["a"][1] == "drawn/a.nii.gz"
    assert not unpaired
    assert not wrong


def test_channels_by_number_and_by_sequence(paired):
    pairs, *_ = paired("images/a_0001.nii.gz", "images/a_0000.nii.gz", "labels/a.nii.gz")
    assert pairs["a"][0] == ["a_0000.nii.gz", "a_0001.nii.gz"]
    assert pairs["a"][2] == ("0000", "0001")
    brats = [f"BraTS_1/BraTS_1_{mark}.nii.gz" for mark in ("flair", "t1", "t1ce", "t2", "seg")]
    pairs, *_ = paired(*brats)
    assert pairs["BraTS_1"][2] == ("t1", "t1ce", "t2", "flair")


def test_a_number_of_the_patient_is_not_a_channel(paired):
    pairs, unpaired, wrong = paired(*(f"{n}{end}.nii.gz" for n in ("s_0001", "s_0002", "0003") for end in ("", "_seg")))
    assert sorted(pairs) == ["0003", "s_0001", "s_0002"]
    assert not unpaired
    assert not wrong


def test_the_same_name_in_two_folders_is_two_cases(paired):
    pairs, *_ = paired("a/scan1.nii.gz", "a/scan1_seg.nii.gz", "b/scan1.nii.gz", "b/scan1_seg.nii.gz")
    assert sorted(pairs) == ["a_scan1", "b_scan1"]


def test_what_cannot_be_paired_is_listed_with_the_nearest_name(paired):
    pairs, unpaired, _ = paired("case02.nii.gz", "case2_seg.nii.gz")
    assert not pairs
    assert unpaired["case02.nii.gz"] == "no label of this name; the nearest is case2_seg.nii.gz"
    assert unpaired["case2_seg.nii.gz"].startswith("no image of this name")


def test_two_images_for_one_label_and_two_labels_for_one_image(paired):
    _, _, wrong = paired("c.nii.gz", "c_img.nii.gz", "c_mask.nii.gz", "e.nii.gz", "e_seg.nii.gz", "e_label.nii.gz")
    assert "2 images for one label: c.nii.gz, c_img.nii.gz" in wrong["c"]
    assert "2 labels for one image" in wrong["e"]
    _, _, wrong = paired("p.nii.gz", "p_0000.nii.gz", "p_mask.nii.gz")
    assert "2 images for one label: p.nii.gz, p_0000.nii.gz. Keep one" in wrong["p"]


def test_a_channel_that_some_cases_lack(paired):
    _, _, wrong = paired("a_0000.nii.gz", "a_0001.nii.gz", "a_seg.nii.gz", "b_0000.nii.gz", "b_seg.nii.gz")
    assert wrong == {"b": "lacks the channel 0001 that other cases have. Add it, or leave it out"}
