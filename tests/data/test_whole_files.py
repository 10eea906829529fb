"""A file that is cut anywhere is refused, whatever its format; and none takes its voxels or its size from elsewhere."""

from __future__ import annotations

import gzip
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from dsnotes.data.files import read_volume
from dsnotes.data.whole_files import require_whole

VOXELS = np.random.default_rng(0).integers(0, 200, (5, 40, 50), np.uint8)
KINDS = ("tif", "bmp", "jpg", "png", "gipl", "gipl.gz", "mha", "nrrd", "nii.gz")
CUT = "truncated or damaged|cannot read it"


def written(path, voxels=VOXELS):
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
    return path


@pytest.mark.parametrize("name", [f"a.{kind}" for kind in KINDS])
def test_a_file_cut_at_any_place_is_refused(tmp_path, name):
    voxels = VOXELS[0] if name in ("a.bmp", "a.jpg", "a.png") else VOXELS
    path = written(tmp_path / name, voxels)
    array, _ = read_volume(path)
    assert array.shape[-voxels.ndim :] == voxels.shape  # ITK writes BMP in colour
    whole = path.read_bytes()
    for keep in np.linspace(0.02, 0.98, 13):
        path.write_bytes(whole[: int(keep * len(whole))])
        with pytest.raises(ValueError, match=CUT):
            read_volume(path)


@pytest.mark.parametrize(
    "more", [{}, {"compression": "zlib"}, {"bigtiff": True}, {"tile": (16, 16)}, {"byteorder": ">"}]
)
def test_every_page_of_a_tiff_is_looked_at(tmp_path, more):
    """As tifffile writes them, with the list of each page behind its voxels."""
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, **{k: more[k] for k in ("bigtiff", "byteorder") if k in more}) as file:
        for page in VOXELS:
            file.write(page, contiguous=False, **{k: more[k] for k in ("compression", "tile") if k in more})
    require_whole(path)
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        ends = [max(o + n for o, n in zip(p.dataoffsets, p.databytecounts, strict=True)) for p in file.pages]
    for end in ends:
        path.write_bytes(whole[: end - 1])
        with pytest.raises(ValueError, match="truncated or damaged"):
            require_whole(path)


def test_slices_that_only_imagej_finds_are_not_dropped(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOXELS[0], description="ImageJ=1.53\nimages=5\nslices=5\n", metadata=None)
    with pytest.raises(ValueError, match="ImageJ named 5 slices, 1 are listed; save it in ImageJ"):
        require_whole(path)


def test_a_tiff_whose_pages_go_round_in_a_circle_ends(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<IHI", 8, 0, 8))
    with pytest.raises(ValueError, match="repeats an earlier page"):
        require_whole(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.raw", "sub/../../secret.raw", "C:\\secret.raw"])
@pytest.mark.parametrize("how", ["{}", "LIST\n{}", "LIST 2D\n{}"])
def test_a_header_takes_its_voxels_from_its_own_folder_alone(tmp_path, name, how):
    (tmp_path / "secret.raw").write_bytes(bytes(64))
    folder = tmp_path / "set"
    (folder / "sub").mkdir(parents=True)
    path = folder / "a.mhd"
    head = "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\nElementDataFile = "
    path.write_text(head + how.format(name))
    with pytest.raises(ValueError, match="is not in the header's folder.*beside the header"):
        read_volume(path)
    nrrd = folder / "a.nrrd"
    nrrd.write_text(
        f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 4 4\nencoding: raw\ndata file: {how.format(name)}\n"
    )
    with pytest.raises(ValueError, match="is not in the header's folder"):
        read_volume(nrrd)
    (folder / "own.raw").write_bytes(bytes(64))
    path.write_text(head + "own.raw")
    assert read_volume(path)[0].shape == (4, 4, 4)


def test_a_link_beside_a_header_does_not_lead_elsewhere(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "secret").write_bytes(bytes(64))
    (tmp_path / "set" / "own.raw").symlink_to(tmp_path / "secret")
    head = "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\nElementDataFile = own.raw"
    (tmp_path / "set" / "a.mhd").write_text(head)
    with pytest.raises(ValueError, match="is not in the header's folder"):
        read_volume(tmp_path / "set" / "a.mhd")


def test_an_image_that_unpacks_to_gigabytes_is_refused_by_its_header(tmp_path):
    """3 GB of zeros: 3 MB as .nii.gz, and still none in memory."""
    header = nibabel.Nifti1Header()
    header.set_data_shape((1024, 1024, 1500))
    header.set_data_dtype(np.int16)
    header["vox_offset"] = 352
    path = tmp_path / "a.nii.gz"
    with gzip.open(path, "wb", 6) as file:
        file.write(header.binaryblock + bytes(4))
        block = bytes(1 << 20)
        for _ in range(50):
            file.write(block)
    with pytest.raises(ValueError, match="announces an image of .* more than 500 times.*save it cropped"):
        read_volume(path)


@pytest.mark.parametrize("mm", [0.0, np.nan, np.inf, -np.inf])
def test_a_nifti_without_millimetres_is_refused(tmp_path, mm):
    image = nibabel.Nifti1Image(VOXELS.T, np.eye(4))
    image.header["pixdim"][2] = mm
    nibabel.save(image, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[80 + 4 : 80 + 8] = struct.pack("<f", mm)
    (tmp_path / "a.nii").write_bytes(raw)
    with pytest.raises(ValueError, match="as the millimetres between voxels; needed are positive.*set_zooms"):
        read_volume(tmp_path / "a.nii")


def test_a_complex_image_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(VOXELS.T.astype(np.complex64), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(ValueError, match="complex numbers; .*Save the magnitude"):
        read_volume(tmp_path / "a.nii.gz")
