"""What ITK reads without a word: cut and damaged files."""

import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from dsnotes.data import nifti
from dsnotes.data.files import open_case


def written(path, array):
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_truncated_nifti(tmp_path, ending, share):
    """ITK reads such a file without a word and fills the rest with what it finds in memory."""
    whole = written(tmp_path / f"a.{ending}", np.random.default_rng(0).random((9, 20, 20)).astype("f4")).read_bytes()
    (tmp_path / f"cut.{ending}").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=rf"cut\.{ending} is truncated or damaged: .*\. Download or copy it again\."):
        open_case(tmp_path / f"cut.{ending}")


def test_one_wrong_byte_in_a_compressed_nifti(tmp_path):
    path = written(tmp_path / "a.nii.gz", np.random.default_rng(0).random((9, 20, 20)).astype("f4"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.nii\.gz is truncated or damaged"):
        open_case(path)


def test_a_nifti_compressed_in_several_members_is_whole(tmp_path):
    """As bgzip and pigz write them."""
    ct = np.random.default_rng(0).integers(-1000, 1000, (3, 5, 7)).astype("i2")
    content = written(tmp_path / "a.nii", ct).read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content[:300]) + gzip.compress(content[300:]))
    np.testing.assert_array_equal(open_case(tmp_path / "a.nii.gz").image, ct)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("voxel", nifti.TYPES.values())
def test_shape_type_and_place_of_the_voxels_are_those_that_nibabel_reads(tmp_path, kind, order, voxel):
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(voxel))
    kind(np.ones((3, 4, 5, 2), voxel), np.eye(4), header=header).to_filename(tmp_path / "a.nii")
    proxy = nibabel.load(tmp_path / "a.nii").dataobj
    read = nifti._single_file((tmp_path / "a.nii").read_bytes()[:540])
    assert read == (proxy.shape, proxy.dtype, proxy.offset)
