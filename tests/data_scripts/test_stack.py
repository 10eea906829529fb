"""DICOM series as scanners and archives leave them: mended where nothing is invented, else refused by their id."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fetch.stack import read_slices
from fetch.volume import write
from made_here import CORNER, OBLIQUE, PIXEL, ct_series, places, read_nifti

from dsnotes.data.files import read_volume

UID = "1.2.3.4.5"


@pytest.fixture
def ct() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, (6, 5, 7)).astype(np.int16)


@pytest.fixture
def filed(tmp_path):
    """Files of a series -> their paths."""

    def write_all(*series: list[bytes]) -> list[Path]:
        paths = []
        for content in (one for each in series for one in each):
            paths.append(tmp_path / f"{len(paths):03d}.dcm")
            paths[-1].write_bytes(content)
        return paths

    return write_all


def converted(slices, folder: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """(z, y, x) and the affine as nibabel reads what was written, and what was said."""
    volume, said = slices.volume()
    write(folder / "out.nii.gz", volume)
    return *read_nifti(folder / "out.nii.gz"), said


def world(affine: np.ndarray, z: int, y: int, x: int) -> np.ndarray:
    """DICOM's millimetres (LPS) of a voxel of a NIfTI file (RAS)."""
    return (affine @ [x, y, z, 1])[:3] * [-1, -1, 1]


@pytest.mark.parametrize("axes", [np.eye(3), OBLIQUE], ids=["axial", "oblique"])
def test_every_voxel_keeps_its_value_and_its_place(filed, tmp_path, ct, axes):
    at = places(6, axes=axes)
    slices = read_slices(filed(ct_series(ct, at, axes=axes, uid=UID)), UID)
    voxels, affine, said = converted(slices, tmp_path)
    np.testing.assert_array_equal(voxels, ct)
    assert voxels.dtype == np.int16
    assert said == ()
    for z, y, x in ((0, 0, 0), (5, 4, 6), (2, 3, 1)):
        expected = at[z] + axes[:, 0] * PIXEL[0] * x + axes[:, 1] * PIXEL[1] * y
        np.testing.assert_allclose(world(affine, z, y, x), expected, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), [*PIXEL, 2.5], atol=1e-5)  # not the thickness


def test_it_is_what_dsnotes_reads_of_the_folder_itself(filed, tmp_path, ct):
    files = filed(ct_series(ct, places(6, axes=OBLIQUE), axes=OBLIQUE, uid=UID))
    expected, geometry = read_volume(files[0].parent)
    volume, _ = read_slices(files).volume()
    write(tmp_path / "out" / "one.nii.gz", volume)
    found, other = read_volume(tmp_path / "out" / "one.nii.gz")
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(other.array_spacing, geometry.array_spacing, atol=1e-5)


def test_a_slice_that_came_twice_is_taken_once(filed, tmp_path, ct):
    at = places(6)
    files = filed(ct_series(ct, at, uid=UID), ct_series(ct[2:4], at[2:4], uid=UID))
    voxels, _, said = converted(read_slices(files), tmp_path)
    np.testing.assert_array_equal(voxels, ct)
    assert said == ("2 slices at a place that has one left out",)


def test_another_slice_at_the_same_place_is_left_out_and_said(filed, tmp_path, ct):
    at = places(6)
    later = ct_series(ct[3:4] // 2, at[3:4] + np.array([0, 0, 0.004]), uid=UID)
    item = pydicom.dcmread(io.BytesIO(later[0]))
    item.InstanceNumber = 99
    item.save_as(out := io.BytesIO())
    voxels, _, said = converted(read_slices(filed([out.getvalue()], ct_series(ct, at, uid=UID))), tmp_path)
    np.testing.assert_array_equal(voxels, ct)
    assert said == ("1 slices at a place that has one left out, 1 of them with other pixels",)


def test_two_volumes_in_one_series_are_refused(filed, ct):
    at = places(6)
    files = filed(ct_series(ct, at, uid=UID), ct_series(ct + 7, at, uid=UID))
    with pytest.raises(ValueError, match=rf"DICOM series {UID}: 6 of 6 places have two slices with different pixels"):
        read_slices(files)


def test_a_missing_slice_is_interpolated_and_said(filed, tmp_path, ct):
    """As in LIDC-IDRI-0672: one distance of 1.25 among 0.625 mm."""
    at = places(6)
    slices = read_slices(filed(ct_series(np.delete(ct, 2, 0), np.delete(at, 2, 0), uid=UID)))
    voxels, affine, said = converted(slices, tmp_path)
    np.testing.assert_array_equal(np.delete(voxels, 2, 0), np.delete(ct, 2, 0))
    np.testing.assert_allclose(voxels[2], (ct[1].astype(float) + ct[3]) / 2, atol=0.5)
    np.testing.assert_allclose(world(affine, 5, 0, 0), at[5], atol=1e-4)
    assert said == ("slices 2.5 to 5 mm apart: interpolated to 2.5 mm",)
    label = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((5, 5, 7), np.uint8)
    assert slices.even(label)[:, 0, 0].tolist() == [0, 1, 1, 2, 3, 4]  # a neighbour's, nothing between


def test_two_distances_in_a_series_become_the_finer_one(filed, tmp_path):
    """5 mm in the abdomen, 2.5 mm in the lungs; a ramp along z stays that ramp."""
    along = np.array([0, 5, 10, 15, 17.5, 20, 22.5])
    ramp = np.broadcast_to((10 * along)[:, None, None], (7, 4, 4)).astype(np.int16)
    voxels, _, said = converted(read_slices(filed(ct_series(ramp, places(7, along=along), uid=UID))), tmp_path)
    np.testing.assert_array_equal(voxels[:, 0, 0], np.arange(0, 226, 25))
    assert said == ("slices 2.5 to 5 mm apart: interpolated to 2.5 mm",)


def test_a_hole_is_refused(filed, ct):
    """As in LIDC-IDRI-0514: 38 mm among 2 mm."""
    at = places(6, along=[0, 2, 4, 42, 44, 46])
    slices = read_slices(filed(ct_series(ct, at, uid=UID)))
    with pytest.raises(ValueError, match=rf"series {UID}: slices are missing: 38 mm between slices 3 and 4 of 6"):
        slices.volume()


def test_a_tilted_gantry_is_put_upright(filed, tmp_path):
    """A rod along z, seen at rows that drift by one a slice, stands upright again, at its place in the patient."""
    rod = np.full((6, 9, 8), -1000, np.int16)
    for k in range(6):
        rod[k, 7 - k, 3] = 500  # the rows drift by PIXEL[1] a slice, so this is one place in the patient
    at = places(6, tilt=PIXEL[1])
    slices = read_slices(filed(ct_series(rod, at, uid=UID)))
    voxels, affine, said = converted(slices, tmp_path)
    where = np.argwhere(voxels == 500)
    assert len(where) == 6
    assert where[:, 0].tolist() == list(range(6))
    assert len(set(map(tuple, where[:, 1:]))) == 1
    expected = CORNER + np.array([3 * PIXEL[0], 7 * PIXEL[1], 0])
    np.testing.assert_allclose(world(affine, *where[0]), expected, atol=1e-4)
    angle = np.degrees(np.arctan2(PIXEL[1], 2.5))
    assert said == (f"gantry tilted by {angle:.1f} degrees: slices moved upright",)
    np.testing.assert_array_equal(slices.even((rod > 0).astype(np.uint8)), voxels == 500)


def test_scouts_are_left_out(filed, tmp_path, ct):
    scout = ct_series(np.zeros((1, 9, 9), "i2"), places(1, along=[100]), uid=UID, ImageType=["ORIGINAL", "LOCALIZER"])
    voxels, _, said = converted(read_slices(filed(ct_series(ct, places(6), uid=UID), scout)), tmp_path)
    np.testing.assert_array_equal(voxels, ct)
    assert said == ("1 scout left out",)
    with pytest.raises(ValueError, match=f"{UID} holds nothing but scouts"):
        read_slices(filed(scout))


def test_slices_that_do_not_belong_together_are_refused(filed, ct):
    other = ct_series(np.zeros((1, 9, 9), "i2"), places(1, along=[100]), uid=UID)
    with pytest.raises(ValueError, match=rf"{UID}: slices of different size \(\d+\.dcm, \d+\.dcm\)"):
        read_slices(filed(ct_series(ct, places(6), uid=UID), other))
    turned = ct_series(ct[:1], places(1, along=[100]), axes=OBLIQUE, uid=UID)
    with pytest.raises(ValueError, match=f"{UID}: slices of different orientation"):
        read_slices(filed(ct_series(ct, places(6), uid=UID), turned))
    with pytest.raises(ValueError, match=r"2 DICOM series came where one is needed: 1\.2\.3\.4\.5, 1\.9"):
        read_slices(filed(ct_series(ct, places(6), uid=UID), ct_series(ct, places(6), uid="1.9")))


def test_one_slice_alone_has_its_thickness(filed, tmp_path, ct):
    voxels, affine, _ = converted(read_slices(filed(ct_series(ct[:1], places(1), uid=UID))), tmp_path)
    np.testing.assert_array_equal(voxels, ct[:1])
    assert np.linalg.norm(affine[:3, 2]) == pytest.approx(5)
