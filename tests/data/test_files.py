"""Files in and out, voxel for voxel, with nibabel and SimpleITK as oracles; and every way a file can be wrong."""

import re
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from dsnotes.data.case import Case
from dsnotes.data.files import open_case, read_volume, save_label, save_volume, stem

OBLIQUE = np.array([[0.0, -0.96, 0.28], [0.8, -0.168, -0.576], [0.6, 0.224, 0.768]])


def written(path, array, *, spacing=(0.7, 0.8, 5.0), origin=(-3.0, 20.0, 100.0), direction=None, vector=False):
    image = sitk.GetImageFromArray(array, isVector=vector)
    n = image.GetDimension()
    image.SetSpacing(spacing[:n])
    image.SetOrigin(origin[:n])
    if direction is not None:
        image.SetDirection(np.asarray(direction, float).ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def ct() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, (3, 5, 7)).astype("i2")


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "mha", "mhd", "nrrd"])
def test_formats(tmp_path, ct, ending):
    case = open_case(written(tmp_path / f"scan.{ending}", ct))
    np.testing.assert_array_equal(case.image, ct)
    assert case.image.dtype == np.float32
    assert case.spacing == pytest.approx((5.0, 0.8, 0.7))
    assert (case.name, case.label) == ("scan", None)


def test_orientation_against_nibabel(tmp_path):
    """A file in nibabel's RAS, its first axis to the left: ours is feet to head, front to back, right to left."""
    array = np.random.default_rng(0).random((4, 5, 6)).astype("f4")
    affine = np.array([[-2.0, 0, 0, 50], [0, 0, 3, -10], [0, -1.5, 0, 7], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / "scan.nii.gz")
    case = open_case(tmp_path / "scan.nii.gz")
    towards_lps = nibabel.orientations.axcodes2ornt("LPS")
    turned = nibabel.load(tmp_path / "scan.nii.gz").as_reoriented(
        nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), towards_lps)
    )
    np.testing.assert_array_equal(case.image, turned.get_fdata().transpose(2, 1, 0).astype("f4"))
    assert case.spacing == pytest.approx(turned.header.get_zooms()[::-1]) == (1.5, 3.0, 2.0)


@pytest.mark.parametrize("ending", ["nii.gz", "mha", "nrrd"])
@pytest.mark.parametrize("direction", [np.eye(3), np.diag([-1.0, 1, -1]), np.eye(3)[[2, 0, 1]], OBLIQUE])
def test_a_label_goes_back_to_the_file_it_came_from(tmp_path, ct, ending, direction):
    path = written(tmp_path / f"scan.{ending}", ct, direction=direction)
    label = (ct > 0).astype("u1")
    case = open_case(path, written(tmp_path / f"label.{ending}", label, direction=direction))
    saved = sitk.ReadImage(str(save_label(tmp_path / "new" / f"saved.{ending}", case.label, case)))
    filed = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(saved), label)
    assert saved.GetPixelID() == sitk.sitkUInt8
    for what in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(saved, what)(), getattr(filed, what)(), atol=1e-5)
    volume = save_volume(tmp_path / f"volume.{ending}", case.image, case)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(volume))), ct)
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == [f"saved.{ending}"]


def test_channels_of_a_volume(tmp_path):
    """The Decathlon's fourth axis and vector pixels both become channels, and probabilities go back as the former."""
    array = np.random.default_rng(0).random((4, 5, 6, 2)).astype("f4")
    nibabel.save(nibabel.Nifti1Image(array, np.diag([-2.0, -2, 3, 1])), tmp_path / "fourth.nii.gz")
    vector = written(tmp_path / "vector.mha", array.transpose(2, 1, 0, 3), vector=True)
    for case in (open_case(tmp_path / "fourth.nii.gz"), open_case(vector)):
        assert (case.channels, case.space) == (2, (6, 5, 4))
        np.testing.assert_array_equal(case.image, array.transpose(3, 2, 1, 0))
    saved = save_volume(tmp_path / "saved.nii.gz", case.image, case)
    np.testing.assert_array_equal(nibabel.load(saved).get_fdata(dtype="f4"), array)


def test_pictures(tmp_path):
    grey = np.arange(12, dtype="u1").reshape(3, 4)
    colour = np.random.default_rng(0).integers(0, 255, (3, 4, 3)).astype("u1")
    for ending in ("png", "tiff"):
        case = open_case(
            written(tmp_path / f"grey.{ending}", grey, spacing=(1.0, 1.0)),
            written(tmp_path / f"label.{ending}", grey // 4, spacing=(1.0, 1.0)),
        )
        assert (case.space, case.channels) == ((3, 4), 1)
        np.testing.assert_array_equal(case.image, grey)
        np.testing.assert_array_equal(case.label, grey // 4)
    case = open_case(written(tmp_path / "colour.png", colour, spacing=(1.0, 1.0), vector=True))
    assert (case.space, case.channels, case.spacing) == ((3, 4), 3, (1.0, 1.0))
    np.testing.assert_array_equal(case.image, colour.transpose(2, 0, 1))
    saved = open_case(save_volume(tmp_path / "saved.mha", case.image, case))
    np.testing.assert_array_equal(saved.image, case.image)
    np.testing.assert_array_equal(read_volume(save_label(tmp_path / "label.png", grey, case))[0], grey)


def test_one_slice_of_a_volume_stays_a_volume(tmp_path):
    case = open_case(written(tmp_path / "slice.nii.gz", np.ones((1, 4, 5), "f4")))
    assert case.space == (1, 4, 5)


def test_a_nifti_of_two_axes_is_turned_and_goes_back(tmp_path):
    """In nibabel's terms its axes run to the right and to the front, so both are flipped."""
    array = np.random.default_rng(0).random((4, 5)).astype("f4")
    nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 3, 1, 1])), tmp_path / "flat.nii.gz")
    case = open_case(tmp_path / "flat.nii.gz")
    np.testing.assert_array_equal(case.image, array.T[::-1, ::-1])
    assert case.spacing == (3.0, 2.0)
    saved = nibabel.load(save_volume(tmp_path / "saved.nii.gz", case.image, case))
    np.testing.assert_array_equal(saved.get_fdata(dtype="f4"), array)


def test_a_case_that_came_from_no_file(tmp_path):
    case = Case("phantom", np.ones((2, 3, 4), "f4"), None, (5.0, 1.0, 2.0))
    image = sitk.ReadImage(str(save_volume(tmp_path / "phantom.nii.gz", case.image, case)))
    assert image.GetSize() == (4, 3, 2)
    assert image.GetSpacing() == (2.0, 1.0, 5.0)


def test_names():
    assert [stem(f"a/b.c_01{ending}") for ending in (".nii.gz", ".NII.GZ", ".mha", "")] == ["b.c_01"] * 4


def test_a_missing_file_is_answered_with_the_nearest(tmp_path, ct):
    written(tmp_path / "liver_012.nii.gz", ct)
    written(tmp_path / "spleen_4.nii.gz", ct)
    with pytest.raises(FileNotFoundError, match=r"no 'liver_12.nii.gz'; the nearest names there: liver_012.nii.gz"):
        open_case(tmp_path / "liver_12.nii.gz")
    with pytest.raises(FileNotFoundError, match=rf"In {re.escape(str(tmp_path))} there is no 'imagesTr'; the near"):
        open_case(tmp_path / "imagesTr" / "liver_012.nii.gz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"that folder is empty"):
        open_case(tmp_path / "empty" / "a.nii.gz")


@pytest.mark.parametrize("ending", ["mha", "nrrd"])
def test_truncated_files_of_other_formats(tmp_path, ct, ending):
    path = written(tmp_path / f"a.{ending}", ct)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=rf"a\.{ending}: SimpleITK cannot read it \(.+\)\. Pass one of \.nii\.gz"):
        open_case(path)


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "notes.txt").write_text("not an image")
    with pytest.raises(ValueError, match=r"notes\.txt: SimpleITK cannot read it.*or the folder of a DICOM series"):
        open_case(tmp_path / "notes.txt")


def test_a_sheared_nifti(tmp_path):
    sheared = np.eye(4)
    sheared[0, 1] = 0.1
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), "f4"), sheared), tmp_path / "sheared.nii")
    with pytest.raises(ValueError, match=r"not at right angles: set the environment variable ITK_NIFTI_SFORM_PERM"):
        open_case(tmp_path / "sheared.nii")


def test_time_series_of_vectors(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4, 5, 6), "f4"), np.eye(4)), tmp_path / "five.nii")
    with pytest.raises(ValueError, match=r"five\.nii: the image has the axes .*at most three axes in space"):
        open_case(tmp_path / "five.nii")


@pytest.mark.parametrize(
    ("what", "changed"),
    [
        ("size", {"array": np.zeros((3, 5, 6), "u1")}),
        ("size", {"array": np.zeros((5, 7), "u1")}),
        ("spacing", {"spacing": (0.7, 0.8, 4.0)}),
        ("direction", {"direction": np.diag([-1, 1, 1])}),
        ("origin", {"origin": (-3.0, 20.1, 100.0)}),
    ],
)
def test_image_and_label_that_do_not_fit(tmp_path, ct, what, changed):
    image = written(tmp_path / "image.mha", ct)
    label = written(tmp_path / "label.mha", **{"array": np.zeros((3, 5, 7), "u1"), **changed})
    with pytest.raises(ValueError, match=rf"a different {what} \(x first\).*image\.mha.*label\.mha.*SimpleITK\.Resam"):
        open_case(image, label)


def test_rounding_in_a_header_is_no_difference(tmp_path, ct):
    image = written(tmp_path / "image.mha", ct)
    label = written(
        tmp_path / "label.mha", np.zeros((3, 5, 7), "u1"), spacing=(0.70001, 0.8, 5), origin=(-3.01, 20, 100)
    )
    assert open_case(image, label).label.shape == (3, 5, 7)


@pytest.mark.parametrize(("value", "kind"), [(0.5, "f4"), (-1, "i2"), (256, "i2")])
def test_label_values(tmp_path, ct, value, kind):
    array = np.zeros((3, 5, 7), kind)
    array[0, 0, 0] = value
    label = written(tmp_path / "label.nii.gz", array)
    with pytest.raises(ValueError, match=rf"label\.nii\.gz: the label holds {value} in 1 voxels"):
        open_case(written(tmp_path / "image.nii.gz", ct), label)


def test_whole_numbers_stored_as_floats_are_class_indices(tmp_path, ct):
    label = written(tmp_path / "label.nii.gz", (ct > 0).astype("f8"))
    case = open_case(written(tmp_path / "image.nii.gz", ct), label)
    assert case.label.dtype == np.uint8
    np.testing.assert_array_equal(case.label, ct > 0)


def test_a_coloured_label(tmp_path):
    picture = written(tmp_path / "image.png", np.zeros((3, 4), "u1"), spacing=(1.0, 1.0))
    label = written(tmp_path / "label.png", np.zeros((3, 4, 3), "u1"), vector=True)
    with pytest.raises(ValueError, match=r"label\.png: a label with 3 channels came.*argmax"):
        open_case(picture, label)


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "mha", "nrrd"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_voxels(tmp_path, ending, value):
    """ITK reads NaN in a NIfTI as 0 without a word."""
    array = np.zeros((3, 5, 7), "f4")
    array[1, 2, 3] = value
    path = written(tmp_path / f"a.{ending}", array, direction=np.diag([-1, 1, 1]))
    with pytest.raises(
        ValueError, match=rf"a\.{ending}: 1 of 105 voxels are NaN or infinite, the first at \(1, 2, 3\)"
    ):
        open_case(path)


def test_nan_in_one_of_several_channels(tmp_path):
    array = np.zeros((4, 5, 6, 2), "f4")
    array[1, 2, 3, 1] = np.nan
    nibabel.save(nibabel.Nifti1Image(array, np.diag([-2.0, -2, 3, 1])), tmp_path / "fourth.nii.gz")
    with pytest.raises(ValueError, match=r"1 of 240 voxels are NaN or infinite, the first at \(1, 3, 2, 1\)"):
        open_case(tmp_path / "fourth.nii.gz")


def test_nan_in_a_label(tmp_path, ct):
    label = np.full((3, 5, 7), np.nan, "f4")
    with pytest.raises(ValueError, match=r"label\.nii\.gz: the label holds nan"):
        open_case(written(tmp_path / "image.nii.gz", ct), written(tmp_path / "label.nii.gz", label))


def test_saving_what_does_not_fit(tmp_path, ct):
    case = open_case(written(tmp_path / "image.nii.gz", ct))
    with pytest.raises(ValueError, match=r"shape \(3, 5\) came for case image, whose file has the grid \(3, 5, 7\)"):
        save_label(tmp_path / "label.nii.gz", np.zeros((3, 5), "u1"), case)
    with pytest.raises(ValueError, match=r"label for .*label\.nii\.gz: the label holds 0\.5"):
        save_label(tmp_path / "label.nii.gz", np.full((3, 5, 7), 0.5), case)
    with pytest.raises(
        ValueError, match=r"label\.mhd: dsnotes does not write this format\. End the name in one of \.nii\.gz"
    ):
        save_label(tmp_path / "label.mhd", np.zeros((3, 5, 7), "u1"), case)
    with pytest.raises(ValueError, match=r"volume\.png cannot be written \(.*float values as \.nii\.gz"):
        save_volume(tmp_path / "volume.png", case.image, case)
    coarse = Case("coarse", np.zeros((2, 3, 4), "f4"), None, (7.0, 1.0, 1.0), case.extras)
    with pytest.raises(ValueError, match=r"preprocessed grid: save dsnotes\.data\.preprocess\.restore\(array, case\)"):
        save_label(tmp_path / "label.nii.gz", np.zeros((2, 3, 4), "u1"), coarse)
    assert [entry.name for entry in tmp_path.iterdir()] == ["image.nii.gz"]


def test_real_ct_goes_through_unchanged(real_data, tmp_path):
    folder = real_data("spleen_ct_crop")
    image, label = (folder / part / "spleen_2_crop.nii.gz" for part in ("imagesTr", "labelsTr"))
    case = open_case(image, label)
    assert case.space == (26, 166, 164)
    assert case.spacing == pytest.approx((5.0, 0.795, 0.795), abs=1e-3)
    assert int(case.label.sum()) == 96672
    assert case.image[case.label > 0].mean() == pytest.approx(85.6, abs=0.05)
    saved = nibabel.load(save_label(tmp_path / "label.nii.gz", case.label, case))
    np.testing.assert_array_equal(np.asarray(saved.dataobj), np.asarray(nibabel.load(label).dataobj))
    np.testing.assert_allclose(saved.affine, nibabel.load(label).affine, atol=1e-4)
    shutil.copy(image, tmp_path / "copy.nii.gz")
    np.testing.assert_array_equal(open_case(tmp_path / "copy.nii.gz").image, case.image)
