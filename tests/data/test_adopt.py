"""A folder of somebody's scans becomes a dataset: what was understood is said, and what is wrong is refused."""

import json
import re

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import CORONAL, FIRST, OBLIQUE, PIXEL, STRAIGHT, write_outlines, write_segments, write_series

from dsnotes.cli import main
from dsnotes.data import open_case, open_dataset
from dsnotes.data.adopt import understand, write

SHAPE = (6, 12, 10)
TURNED = np.diag([-1.0, -1, 1])


def save(path, array, *, spacing=(1.0, 1.0, 3.0), direction=None, origin=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[: image.GetDimension()])
    if direction is not None:
        image.SetDirection(np.ravel(direction).tolist())
    if origin is not None:
        image.SetOrigin(origin)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def scans(tmp_path):
    """Three pairs: one upright, one turned, one oblique."""
    rng = np.random.default_rng(0)
    for number, axes in enumerate((np.eye(3), TURNED, OBLIQUE)):
        label = np.zeros(SHAPE, "u1")
        label[2:4, 3:8, 2:6] = 1
        label[3, 4, 4] = 2
        save(tmp_path / "scans" / f"p{number}.nii.gz", rng.normal(0, 50, SHAPE).astype("i2"), direction=axes)
        save(tmp_path / "scans" / f"p{number}_seg.nii.gz", label, direction=axes)
    return tmp_path / "scans"


NAMES = {"1": "kidney", "2": "tumour"}


def test_pairs_become_a_dataset_voxel_for_voxel(scans, tmp_path):
    found = understand(scans, labels=NAMES)
    assert not found.wrong
    assert [case.voxels for case in found.cases] == [{0: 680, 1: 39, 2: 1}] * 3
    assert [case.axes for case in found.cases] == ["LPS", "RAS", found.cases[2].axes]
    assert found.cases[2].axes.endswith("oblique")
    table = str(found)
    for said in (
        "pairs by name, 3 cases",
        "6×12×10",
        "3×1×1",
        "1:39 2:1",
        "1 kidney, 2 tumour",
        "differ in orientation",
    ):
        assert said in table
    data = open_dataset(write(found, tmp_path / "mine"))
    assert data.labels == {0: "background", 1: "kidney", 2: "tumour"}
    assert data.names == ("p0", "p1", "p2")
    for number in range(3):
        filed = sitk.GetArrayFromImage(sitk.ReadImage(str(scans / f"p{number}.nii.gz")))
        assert sorted(data[number].image.ravel()) == sorted(filed.astype("f4").ravel())
        assert int((data[number].label == 2).sum()) == 1


def test_links_or_copies(scans, tmp_path):
    found = understand(scans, labels=NAMES)
    linked = write(found, tmp_path / "linked", link=True) / "imagesTr" / "p0.nii.gz"
    copied = write(found, tmp_path / "copied") / "imagesTr" / "p0.nii.gz"
    assert linked.resolve() == scans / "p0.nii.gz"
    assert not copied.is_symlink()


def test_a_value_without_a_name_is_refused_and_nothing_is_written(scans, tmp_path):
    found = understand(scans, labels={"1": "kidney"})
    assert any("2 (in 3 cases). Add --label 2=NAME" in line for line in found.wrong)
    with pytest.raises(ValueError, match=r"nothing was written"):
        write(found, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_values_with_gaps_are_renumbered_and_ignore_becomes_the_highest(tmp_path):
    label = np.zeros((8, 9), "u1")
    label[2:4, 2:5], label[5, :] = 255, 7
    save(tmp_path / "in" / "images" / "a.png", np.arange(72, dtype="u1").reshape(8, 9))
    save(tmp_path / "in" / "masks" / "a.png", label)
    found = understand(tmp_path / "in", labels={"7": "ignore", "255": "lesion"})
    assert found.renumbered == {0: 0, 255: 1, 7: 2}
    assert "1 lesion (was 255)" in str(found)
    data = open_dataset(write(found, tmp_path / "mine"))
    assert data.labels == {0: "background", 1: "lesion"}
    assert data.ignore == 2
    np.testing.assert_array_equal(data[0].label, (label == 255).astype("u1"))
    np.testing.assert_array_equal(data[0].extras["valid"], label != 7)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda at: save(at / "p1_seg.nii.gz", np.zeros((6, 12, 9), "u1")), r"case p1: .*different size"),
        (lambda at: save(at / "p1_seg.nii.gz", np.zeros(SHAPE, "u1"), spacing=(1, 1, 2)), r"case p1: .*different spac"),
        (
            lambda at: save(at / "p1_seg.nii.gz", np.full(SHAPE, 0.5, "f4"), direction=TURNED),
            r"case p1: .*whole numbers",
        ),
        (lambda at: save(at / "p1_img.nii.gz", np.zeros(SHAPE, "i2")), r"case p1: 2 images for one label"),
        (lambda at: (at / "p1.nii.gz").write_bytes(b"x"), r"case p1: .*damaged"),
        (lambda at: save(at / "p1_t2.nii.gz", np.zeros(SHAPE, "i2")), r"p0: lacks the channel t2"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(scans, tmp_path, spoil, said):
    spoil(scans)
    found = understand(scans, labels=NAMES)
    assert any(re.search(said, line) for line in found.wrong), found.wrong
    with pytest.raises(ValueError, match="nothing was written"):
        write(found, tmp_path / "mine")
    assert not list(tmp_path.glob("mine*"))


def test_a_wrong_case_can_be_left_out(scans):
    save(scans / "p1_seg.nii.gz", np.zeros((6, 12, 9), "u1"))
    found = understand(scans, labels=NAMES, leave_out=["p1"])
    assert not found.wrong
    assert [case.candidate.name for case in found.cases] == ["p0", "p2"]
    with pytest.raises(ValueError, match=r"there is no case p9\. The cases are p0, p1"):
        understand(scans, labels=NAMES, leave_out=["p9"])


def test_an_empty_label_and_a_name_for_nothing_are_noted(scans):
    save(scans / "p1_seg.nii.gz", np.zeros(SHAPE, "u1"), direction=TURNED)
    found = understand(scans, labels=NAMES | {"3": "cyst"})
    assert found.cases[1].note == "empty label"
    assert not found.wrong
    assert "label 3 (cyst) occurs in no case" in str(found)
    assert "1 of 3 labels are empty: p1" in str(found)


def test_an_output_that_holds_something_is_refused(scans, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("")
    with pytest.raises(ValueError, match="is not empty. Pass another --output"):
        write(understand(scans, labels=NAMES), tmp_path / "mine")


def nnunet(folder, *, cases=("a", "b"), channels=2, **about):
    """nnU-Net's raw layout, version 2, four-valued labels."""
    rng = np.random.default_rng(1)
    for name in cases:
        for channel in range(channels):
            save(folder / "imagesTr" / f"{name}_{channel:04d}.nrrd", rng.normal(channel, 1, SHAPE).astype("f4"))
        label = np.zeros(SHAPE, "u1")
        label[1:5, 2:9, 2:8], label[2:4, 3:7, 3:6], label[2, 4, 4], label[5] = 1, 2, 3, 4
        save(folder / "labelsTr" / f"{name}.nrrd", label)
    said = {
        "channel_names": {str(k): ("T1", "T2")[k] for k in range(channels)},
        "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4},
        "regions_class_order": [1, 2, 3],
        "file_ending": ".nrrd",
        "numTraining": len(cases),
    }
    (folder / "dataset.json").write_text(json.dumps(said | about))
    return folder


def test_nnunets_raw_folder_is_read_as_it_is(tmp_path):
    data = open_dataset(nnunet(tmp_path / "Dataset007_Brain"))
    assert (data.names, data.modality, data.ignore, data.order) == (("a", "b"), ("T1", "T2"), 4, (1, 2, 3))
    assert data.regions == {"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}
    assert data.classes == 4  # background and three regions
    case = data["a"]
    assert case.channels == 2
    assert case.image[1].mean() > case.image[0].mean() + 0.5
    assert case.label.max() == 3
    assert int((case.extras["valid"] == 0).sum()) == 120


def test_nnunets_raw_folder_is_adopted_and_reads_the_same(tmp_path):
    raw = nnunet(tmp_path / "raw")
    found = understand(raw)
    assert "region:   core = labels 2, 3" in str(found)
    assert "channels: 0 T1, 1 T2" in str(found)
    assert not found.wrong
    here, there = open_dataset(raw), open_dataset(write(found, tmp_path / "mine"))
    assert (here.regions, here.order, here.ignore, here.labels) == (
        there.regions,
        there.order,
        there.ignore,
        there.labels,
    )
    for name in here.names:
        np.testing.assert_array_equal(here[name].image, there[name].image)
        np.testing.assert_array_equal(here[name].label, there[name].label)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"labels": {"background": 0, "a": 1, "c": 3}, "regions_class_order": []}, r"label values \[0, 1, 3\]"),
        ({"labels": {"background": 0, "ignore": 1, "a": 2}}, r"names 1 'ignore', but the highest label is 2"),
        ({"regions_class_order": [1, 2]}, r"3 regions and regions_class_order \[1, 2\]"),
        ({"labels": {"0": "background"}}, r"maps names to numbers"),
        ({"channel_names": {"0": "T1", "1": "T2", "2": "FLAIR"}}, r"case a .*2 of the 3 channels"),
        ({"file_ending": ".nii.gz"}, r"holds no file that ends in \.nii\.gz"),
    ],
)
def test_a_wrong_dataset_json_of_nnunet(tmp_path, about, said):
    with pytest.raises((ValueError, OSError), match=said):
        open_dataset(nnunet(tmp_path / "raw", **about))


def test_the_first_version_of_nnunet_is_recognised(tmp_path):
    save(tmp_path / "Task7" / "imagesTr" / "a_0000.nii.gz", np.zeros(SHAPE, "i2"))
    save(tmp_path / "Task7" / "labelsTr" / "a.nii.gz", np.zeros(SHAPE, "u1"))
    item = {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}
    about = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "x"}, "training": [item], "test": []}
    (tmp_path / "Task7" / "dataset.json").write_text(json.dumps(about))
    for look in (open_dataset, understand):
        with pytest.raises(ValueError, match=r"nnU-Net version 1.*nnUNetv2_convert_old_nnUNet_dataset"):
            look(tmp_path / "Task7")


@pytest.mark.parametrize("axes", [STRAIGHT, CORONAL, OBLIQUE])
def test_a_series_with_outlines(tmp_path, axes):
    """A box from pixel 2 to 5 (columns) and 1 to 3 (rows) of slices 1 and 2, with a hole of one pixel in slice 2."""
    volume = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype("i2")
    uid = write_series(tmp_path / "study" / "ct", volume, axes=axes)

    def contour(left, top, right, bottom, number):
        pixels = np.array([(left, top), (right, top), (right, bottom), (left, bottom)]) - 0.5
        return FIRST + pixels * PIXEL[::-1] @ axes[:, :2].T + 2.5 * number * axes[:, 2]

    drawn = {
        "GTV": [contour(2, 1, 6, 4, 1), contour(2, 1, 6, 4, 2), contour(3, 2, 4, 3, 2)],
        "body": [contour(0, 0, 9, 9, 3)],
    }
    write_outlines(tmp_path / "study" / "rt.dcm", drawn, series=uid)
    found = understand(tmp_path / "study", labels={"GTV": "tumour"})
    assert not found.wrong
    assert "regions body are left out" in str(found)
    data = open_dataset(write(found, tmp_path / "mine"))
    assert data.labels == {0: "background", 1: "tumour"}
    assert data.names == ("p1",)
    filed = sitk.GetArrayFromImage(sitk.ReadImage(str(next((tmp_path / "mine" / "labelsTr").iterdir()))))
    expected = np.zeros(SHAPE, "u1")
    expected[1:3, 1:4, 2:6], expected[2, 2, 3] = 1, 0
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(next((tmp_path / "mine" / "imagesTr").iterdir()))))
    if (image.astype(int) != volume).any():  # written from the other end: the same patient
        expected, image = expected[::-1], image[::-1]
    np.testing.assert_array_equal(image, volume)
    np.testing.assert_array_equal(filed, expected)


def test_a_series_without_a_drawing_is_listed(tmp_path):
    write_series(tmp_path / "ct", np.zeros(SHAPE, "i2"))
    found = understand(tmp_path)
    assert "has no RTSTRUCT or SEG" in str(found)
    assert found.wrong


@pytest.mark.parametrize("axes", [STRAIGHT, OBLIQUE])
def test_a_series_with_segments_that_highdicom_wrote(tmp_path, axes):
    """By the command: two of three segments are named, and lie on the voxels where they were drawn."""
    volume = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype("i2")
    write_series(tmp_path / "study" / "ct", volume, axes=axes)
    drawn = {name: np.zeros(SHAPE, bool) for name in ("Kidney", "Cyst", "Spine")}
    drawn["Kidney"][1:4, 2:8, 3:7], drawn["Cyst"][4, 5, 5:9], drawn["Spine"][:, 10:, :2] = True, True, True
    write_segments(tmp_path / "study" / "seg.dcm", drawn, folder=tmp_path / "study" / "ct")
    names = ["--label", "Kidney=kidney", "--label", "Cyst=cyst"]
    assert main(["adopt", str(tmp_path / "study"), *names, "--output", str(tmp_path / "mine")]) == 0
    data = open_dataset(tmp_path / "mine")
    assert data.labels == {0: "background", 1: "kidney", 2: "cyst"}
    geometry = open_case(tmp_path / "study" / "ct").extras["geometry"]
    expected = geometry.canonical(drawn["Kidney"] + 2 * drawn["Cyst"].astype("u1"))
    np.testing.assert_array_equal(data[0].label, expected)
    np.testing.assert_array_equal(data[0].image, geometry.canonical(volume))
    assert data[0].extras["geometry"].origin == pytest.approx(geometry.origin)


BRATS = {"whole tumour": (1, 2, 4), "core": (1, 4), "enhancing": (4,)}  # before 2023 enhancing tumour was 4


def test_regions_are_given_and_renumbered(tmp_path):
    label = np.zeros(SHAPE, "u1")
    label[1:5, 2:9, 2:8], label[2:4, 3:7, 3:6], label[2, 4, 4], label[5] = 2, 1, 4, 9
    save(tmp_path / "in" / "a.nii.gz", np.zeros(SHAPE, "i2"))
    save(tmp_path / "in" / "a_seg.nii.gz", label)
    named = {"1": "necrosis", "2": "oedema", "4": "enhancing tumour", "9": "ignore"}
    data = open_dataset(write(understand(tmp_path / "in", labels=named, regions=BRATS), tmp_path / "mine"))
    assert data.regions == {"whole tumour": (1, 2, 3), "core": (1, 3), "enhancing": (3,)}
    assert (data.order, data.ignore, data.classes) == ((2, 1, 3), 4, 4)
    np.testing.assert_array_equal(data[0].label, np.choose(label.clip(0, 5), (0, 1, 2, 0, 3, 0)))
    for wrong, said in (
        ({"whole": (1, 2, 4)}, r"region whole has 3 labels .*largest region first"),
        ({"core": (1,), "all": (1, 2)}, r"region core has 0 labels"),
        ({"whole": (1, 3)}, r"region whole joins \[3\].*--label"),
        ({"whole": (1, 9)}, r"region whole joins \[9\].*ignore belong to no region"),
    ):
        with pytest.raises(ValueError, match=said):
            understand(tmp_path / "in", labels=named, regions=wrong)


def test_regions_are_typed(scans, tmp_path, capsys):
    names = ["--label", "1=kidney", "--label", "2=tumour"]
    typed = ["--region", "whole=1,2", "--region", "tumour=2", "--dry-run"]
    assert main(["adopt", str(scans), *names, *typed]) == 0
    assert "region:   whole = labels 1, 2" in capsys.readouterr().out
    assert main(["adopt", str(scans), *names, "--region", "whole=1;2", "--dry-run"]) == 2
    assert "needed is 'whole tumour=1,2,3'" in capsys.readouterr().err
