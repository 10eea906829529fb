"""DICOM series written with pydicom, slice by slice and out of order."""

import numpy as np
import pydicom
import pytest
from dicom_files import CORONAL, OBLIQUE, write_series

from dsnotes.data.files import open_case, read_volume, save_label


@pytest.fixture
def ct() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, (6, 5, 7)).astype("i2")


def test_a_series(tmp_path, ct):
    write_series(tmp_path / "scan", ct)
    case = open_case(tmp_path / "scan")
    np.testing.assert_array_equal(case.image, ct)
    assert case.spacing == pytest.approx((2.5, 0.8, 0.7))
    assert case.name == "scan"


def test_a_coronal_series_is_turned(tmp_path, ct):
    """Stored: (front to back, head to feet, right to left). Ours: (feet to head, front to back, right to left)."""
    write_series(tmp_path / "scan", ct, axes=CORONAL)
    case = open_case(tmp_path / "scan")
    np.testing.assert_array_equal(case.image, ct.transpose(1, 0, 2)[::-1])
    assert case.spacing == pytest.approx((0.8, 2.5, 0.7))


def test_an_oblique_series_places_every_voxel(tmp_path, ct):
    """The saved label holds, at each stored slice's own position, that slice's own voxels."""
    write_series(tmp_path / "scan", ct, axes=OBLIQUE)
    case = open_case(tmp_path / "scan")
    path = save_label(tmp_path / "label.mha", (case.image > 0).astype("u1"), case)
    import SimpleITK as sitk

    saved = sitk.ReadImage(str(path))
    for file in (tmp_path / "scan").iterdir():
        item = pydicom.dcmread(file)
        at = saved.TransformPhysicalPointToIndex([float(mm) for mm in item.ImagePositionPatient])
        assert at[:2] == (0, 0)
        stored = item.pixel_array.astype(int) - 1024
        np.testing.assert_array_equal(sitk.GetArrayFromImage(saved)[at[2]], stored > 0)
    np.testing.assert_array_equal(read_volume(path)[0], case.image > 0)


def test_two_series_in_a_folder(tmp_path, ct):
    first = write_series(tmp_path / "scan", ct)
    second = write_series(tmp_path / "scan", ct[:4] + 1, description="bone")
    with pytest.raises(ValueError, match=r"holds 2 DICOM series:\n(.|\n)*slices  CT (.|\n)*series='") as error:
        open_case(tmp_path / "scan")
    assert f"{first}  6 slices  CT thorax" in str(error.value)
    assert f"{second}  4 slices  CT bone" in str(error.value)
    np.testing.assert_array_equal(open_case(tmp_path / "scan", series=second).image, ct[:4] + 1)
    with pytest.raises(ValueError, match=r"holds no series '1\.2\.3'\. It holds:\n"):
        open_case(tmp_path / "scan", series="1.2.3")


def test_a_folder_without_dicom(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ValueError, match=r"holds no DICOM series; it holds notes\.txt\. Pass the folder that holds"):
        open_case(tmp_path)


def test_a_missing_slice(tmp_path, ct):
    uid = write_series(tmp_path / "scan", ct, steps=[0, 2.5, 5, 10, 12.5, 15])
    with pytest.raises(ValueError, match=rf"{uid} .*missing or uneven: usually 2\.5 mm apart, but 5 mm between .*dcm"):
        open_case(tmp_path / "scan")


def test_two_slices_at_one_position(tmp_path, ct):
    write_series(tmp_path / "scan", ct, steps=[0, 2.5, 5, 5, 7.5, 10])
    with pytest.raises(ValueError, match=r"2 of 6 slices share a position, first .*dcm and .*dcm\. Keep one slice"):
        open_case(tmp_path / "scan")


def test_a_tilted_gantry(tmp_path, ct):
    write_series(tmp_path / "scan", ct, drift=2.5 * np.tan(np.radians(15)))
    with pytest.raises(ValueError, match=r"the gantry was tilted by 15\.0 degrees.*dcm2niix"):
        open_case(tmp_path / "scan")


def test_a_scout_among_the_slices(tmp_path, ct):
    uid = write_series(tmp_path / "scan", ct)
    write_series(tmp_path / "scan", np.zeros((1, 9, 9), "i2"), uid=uid, steps=[100.0], description="scout")
    with pytest.raises(ValueError, match=r"slices of different size \[\(7, 5\), \(9, 9\)\]\. Move those"):
        open_case(tmp_path / "scan")


def test_one_slice_alone(tmp_path, ct):
    write_series(tmp_path / "scan", ct[:1])
    assert open_case(tmp_path / "scan").space == (1, 5, 7)
    (file,) = (tmp_path / "scan").iterdir()
    np.testing.assert_array_equal(open_case(file).image, ct[:1])
