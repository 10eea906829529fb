"""Volumes read and written with their place, in the smallest type, whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from fetch.download import DownloadError
from fetch.volume import fitting, plain, read, whole_numbers, write
from made_here import nifti, read_nifti

from dsnotes.safety import atomic


def test_an_oblique_file_keeps_voxels_and_affine(tmp_path):
    rng = np.random.default_rng(0)
    array = rng.integers(-1000, 1000, (40, 6, 5)).astype(np.float64)  # more slabs than one
    turned = np.array([[0.0, -0.96, 0.28], [0.8, -0.168, -0.576], [0.6, 0.224, 0.768]]) * [0.7, 0.8, 3.0]
    affine = np.block([[turned, np.array([[10.0], [-20.0], [30.0]])], [np.zeros((1, 3)), np.ones((1, 1))]])
    (tmp_path / "in.nii.gz").write_bytes(nifti(array, affine=affine))
    volume = read(tmp_path / "in.nii.gz", "int16")
    assert volume.voxels.dtype == np.int16
    write(tmp_path / "out.nii.gz", volume)
    found, of_found = read_nifti(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(found, array)
    np.testing.assert_allclose(of_found, affine, atol=1e-5)


def test_a_scaled_file_is_read_with_its_slope(tmp_path):
    stored = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = nibabel.Nifti1Image(stored.T, np.eye(4))
    image.header.set_slope_inter(2, -1024)
    nibabel.save(image, tmp_path / "in.nii")
    expected = np.asarray(nibabel.load(tmp_path / "in.nii").dataobj).T
    np.testing.assert_array_equal(read(tmp_path / "in.nii", "int16").voxels, expected)


def test_channels_become_the_fourth_axis(tmp_path):
    array = np.random.default_rng(0).integers(0, 9, (2, 3, 4, 5)).astype(np.int16)
    write(tmp_path / "out.nii.gz", plain(array, (3.0, 0.8, 0.7)))
    np.testing.assert_array_equal(read_nifti(tmp_path / "out.nii.gz")[0], array)
    assert sitk.ReadImage(str(tmp_path / "out.nii.gz")).GetSize() == (5, 4, 3, 2)


@pytest.mark.parametrize("values", [[0.5, 1], [0, 256], [-1, 2]])
def test_values_that_do_not_fit_are_refused_with_their_range(values):
    low, high = values
    with pytest.raises(ValueError, match=f"x holds values from {low:g} to {high:g}, not all .* fit into uint8"):
        fitting(np.array(values, np.float64), "uint8", "x")


def test_dust_of_a_scaled_label_is_whole():
    np.testing.assert_array_equal(fitting(np.array([0.9999998, 2.0000002]), "uint8", "x"), [1, 2])


def test_whole_numbers_take_the_smaller_type():
    assert whole_numbers(np.array([-1024.0, 3071.0])).dtype == np.int16
    assert whole_numbers(np.array([0.5, 1.0])).dtype == np.float32
    assert whole_numbers(np.array([0, 40_000])).dtype == np.float32


def test_a_file_that_is_cut_is_refused(tmp_path):
    content = nifti(np.random.default_rng(0).integers(0, 99, (9, 9, 9)).astype(np.int16))
    (tmp_path / "in.nii.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="truncated or damaged"):
        read(tmp_path / "in.nii.gz", "int16")
    (tmp_path / "in.mhd").write_text("ObjectType = Image\nNDims = 3\n")
    with pytest.raises(ValueError, match=r"in\.mhd cannot be read"):
        read(tmp_path / "in.mhd")


def test_no_room_for_a_case_is_said_before_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(DownloadError, match=r"a\.nii\.gz needs 128 B, but .* has 100 B left"):
        write(tmp_path / "a.nii.gz", plain(np.zeros((4, 4, 4), np.int16), (1, 1, 1)))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full, a disk that is always full")
def test_a_disk_that_fills_while_a_case_is_written_leaves_none(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic.secrets, "token_hex", lambda size: "0")
    (tmp_path / f"part-{os.getpid()}-0-a.nii.gz").symlink_to("/dev/full")
    noise = np.random.default_rng(0).integers(-999, 999, (20, 64, 64)).astype(np.int16)
    with pytest.raises(OSError, match="cannot be written: is the disk full"):
        write(tmp_path / "a.nii.gz", plain(noise, (1, 1, 1)))
    assert list(tmp_path.iterdir()) == []
