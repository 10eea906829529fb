"""DeepLesion's table and slices, read as its own readme has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dsnotes.data.case import Case
from dsnotes.data.deeplesion import read_lesions, read_slice, write_deeplesion

HEADER = (
    "File_name,Patient_index,Study_index,Series_ID,Key_slice_index,Measurement_coordinates,Bounding_boxes,"
    "Lesion_diameters_Pixel_,Normalized_lesion_location,Coarse_lesion_type,Possibly_noisy,Slice_range,Spacing_mm_px_,"
    "Image_size,DICOM_windows,Patient_gender,Patient_age,Train_Val_Test"
)
ROW = (
    '{file},1,1,1,109,"{points}","226.2, 90.2, 241.4, 111.2","12.5, 9.7","0.4, 0.2, 0.3",5,{noisy},"103, 115",'
    '"0.488, 0.5, 5","512, 512","-175, 275",F,62,3'
)
POINTS = "233.5, 95.2, 234.5, 106.2, 231.2, 101.1, 236.4, 100.9"


def table(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "DL_info.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def row(file: str = "000001_02_03_109.png", points: str = POINTS, noisy: int = 0) -> str:
    return ROW.format(file=file, points=points, noisy=noisy)


def png(path: Path, pixels: np.ndarray) -> Path:
    import SimpleITK as sitk

    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(pixels), str(path))
    return path


def test_points_come_as_x_y_and_leave_as_row_column(tmp_path):
    (lesion,) = read_lesions(table(tmp_path, row(noisy=1)))
    np.testing.assert_allclose(lesion.long_axis, ((94.2, 232.5), (105.2, 233.5)))  # the table's first pixel is 1
    np.testing.assert_allclose(lesion.short_axis, ((100.1, 230.2), (99.9, 235.4)))
    assert lesion.spacing == (0.5, 0.488)
    assert (lesion.patient, lesion.kind, lesion.noisy, lesion.line) == ("000001", 5, True, 2)


def test_two_lesions_of_one_slice_have_two_names(tmp_path):
    lesions = read_lesions(table(tmp_path, row(), row("000002_01_01_007.png"), row()))
    assert [one.name for one in lesions] == ["000001_02_03_109-1", "000002_01_01_007-1", "000001_02_03_109-2"]


def test_an_odd_row_is_named_when_it_is_asked_and_not_before(tmp_path):
    first, second = read_lesions(table(tmp_path, row(points="1, 2, 3"), row(points="1,2,3,4,5,6,7,nan")))
    with pytest.raises(ValueError, match=r"line 2: Measurement_coordinates is '1, 2, 3'; needed are 8 numbers"):
        _ = first.long_axis
    with pytest.raises(ValueError, match=r"line 3: .*nan'; needed are 8 numbers"):
        _ = second.short_axis


def test_another_table_is_refused_with_the_column_it_lacks(tmp_path):
    with pytest.raises(ValueError, match=r"no column Measurement_coordinates, Spacing_mm_px_; its first line reads"):
        read_lesions(table(tmp_path, "a,b", header="File_name,label"))
    with pytest.raises(FileNotFoundError, match="nearest names there: DL_info.csv"):
        read_lesions(tmp_path / "DL_infos.csv")


@pytest.mark.parametrize("place", ["000001_02_03_109.png", "000001_02_03/109.png"])
def test_a_slice_is_found_in_either_place_and_is_in_hu(tmp_path, place):
    pixels = np.full((7, 9), 32768, np.uint16)
    pixels[2, 3], pixels[0, 0], pixels[6, 8] = 32768 + 55, 32768 - 900, 0
    png(tmp_path / place, pixels)
    found = read_slice(tmp_path, "000001_02_03_109.png")
    assert found.dtype == np.float32
    assert (found[2, 3], found[0, 0], found[6, 8], found[1, 1]) == (55, -900, -1024, 0)  # less than air is no tissue


def test_a_slice_that_is_missing_broken_or_windowed_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither .*000001_02_03_109\.png nor .*109\.png\. Fetch"):
        read_slice(tmp_path, "000001_02_03_109.png")
    noise = np.random.default_rng(0).integers(30_000, 34_000, (40, 40)).astype(np.uint16)
    whole = png(tmp_path / "a_1.png", noise)
    (tmp_path / "a_2.png").write_bytes(whole.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"a_2\.png: SimpleITK cannot read it"):
        read_slice(tmp_path, "a_2.png")
    png(tmp_path / "a_3.png", noise.astype(np.uint8))
    with pytest.raises(ValueError, match="uint8 .*needed is one channel of 16 bits.* use the folder Images_png"):
        read_slice(tmp_path, "a_3.png")


def test_what_is_filed_reads_back(tmp_path):
    image = np.random.default_rng(0).normal(-800, 60, (20, 30)).round().astype(np.float32)
    recist = {"long_axis": ((4.25, 6.5), (12.0, 7.0)), "short_axis": ((8.0, 3.0), (8.5, 10.0))}
    case = Case("one", image, None, (0.7, 0.6), {"recist": recist})
    (lesion,) = read_lesions(write_deeplesion([case], tmp_path))
    np.testing.assert_array_equal(read_slice(tmp_path / "Images_png", lesion.file), np.maximum(image, -1024))
    assert (lesion.long_axis, lesion.short_axis, lesion.spacing) == (*recist.values(), (0.7, 0.6))
    box = [float(one) for one in lesion.row["Bounding_boxes"].split(",")]
    assert box == [-1, 0.25, 16, 18]  # x before y, five pixels beyond the marks, the first pixel being 1


def test_a_case_without_axes_is_not_filed(tmp_path):
    with pytest.raises(ValueError, match=r"needed is one slice with extras\['recist'\]"):
        write_deeplesion([Case("one", np.zeros((4, 4), np.float32), None, (1, 1))], tmp_path)
    with pytest.raises(ValueError, match="no case came"):
        write_deeplesion([], tmp_path)
