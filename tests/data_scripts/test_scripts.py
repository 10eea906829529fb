"""Each script end to end: its source's own format from a server on this machine, to voxels that are what was put in."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import shlex
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import yaml
from fetch import run
from fetch.command import arguments
from made_here import nifti, read_nifti, tar, zipped

from dsnotes.data.dataset import open_dataset
from dsnotes.softmask import nodule_set

RNG = np.random.default_rng(0)


def go(script, out: Path, *argv: str) -> int:
    module = import_module(script) if isinstance(script, str) else script
    options = {"options": module.options} if hasattr(module, "options") else {}
    return run(module.plan, doc=module.__doc__, argv=[*argv, "--out", str(out)], **options)


def hu(*shape: int) -> np.ndarray:
    return RNG.integers(-1000, 1500, shape).astype(np.int16)


def label(*shape: int, most: int = 2) -> np.ndarray:
    return RNG.integers(0, most + 1, shape).astype(np.uint8)


def filed(out: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Image and label as nibabel reads them."""
    return tuple(read_nifti(out / where / f"{name}.nii.gz")[0] for where in ("imagesTr", "labelsTr"))


# Decathlon: a tar of NIfTI


@pytest.fixture
def spleen(web, monkeypatch):
    """The archive as the source has it, with macOS's leftovers; returns (images, labels)."""
    script = import_module("decathlon")
    images = {f"spleen_{k}": hu(4, 6, 5) for k in (2, 10, 3)}
    labels = {name: label(4, 6, 5, most=1) for name in images}
    files = {"Task09_Spleen/dataset.json": b"{}", "Task09_Spleen/._dataset.json": b"macOS"}
    for name in images:
        files[f"Task09_Spleen/imagesTr/{name}.nii.gz"] = nifti(images[name])
        files[f"Task09_Spleen/imagesTr/._{name}.nii.gz"] = b"macOS"
        files[f"Task09_Spleen/labelsTr/._{name}.nii.gz"] = b"macOS"
    for name in images:  # some label files of the source hold floats
        files[f"Task09_Spleen/labelsTr/{name}.nii.gz"] = nifti(labels[name].astype(np.float32))
    files["Task09_Spleen/imagesTs/spleen_99.nii.gz"] = nifti(hu(4, 6, 5))
    content = tar(files)
    monkeypatch.setattr(script, "URL", web.put("/Task09_Spleen.tar", content).replace("Task09_Spleen", "{}"))
    task = replace(script.TASKS["spleen"], md5=hashlib.md5(content).hexdigest())
    monkeypatch.setitem(script.TASKS, "spleen", task)
    return images, labels


def test_decathlon_whole(spleen, web, tmp_path, capsys):
    images, labels = spleen
    assert go("decathlon", tmp_path, "spleen") == 0
    for name in images:
        image, mask = filed(tmp_path, name)
        np.testing.assert_array_equal(image, images[name])
        np.testing.assert_array_equal(mask, labels[name])
        assert mask.dtype == np.uint8
    about = json.loads((tmp_path / "dataset.json").read_text())
    assert about["labels"] == {"0": "background", "1": "spleen"}
    assert (about["licence"], about["numTraining"]) == ("CC BY-SA 4.0", 3)
    assert about["tables"] == ["mu-net-1", "mu-net-2", "mu-net-3"]
    data = open_dataset(tmp_path)
    assert data.names == ("spleen_10", "spleen_2", "spleen_3")
    assert data[0].spacing == pytest.approx((3.0, 0.8, 0.7))
    receipt = json.loads((tmp_path / "provenance.json").read_text())["downloads"]["Task09_Spleen.tar"]
    content = web.files["/Task09_Spleen.tar"]
    assert receipt["bytes"] == len(content)
    assert receipt["sha256"] == hashlib.sha256(content).hexdigest()
    assert receipt["checked"].startswith("md5:")
    assert "3 cases of Decathlon spleen" in capsys.readouterr().out


def test_decathlon_two_cases_without_the_whole_archive(spleen, web, tmp_path, capsys):
    images, _ = spleen
    assert go("decathlon", tmp_path, "spleen", "--cases", "2") == 0
    assert open_dataset(tmp_path).names == ("spleen_2", "spleen_3")  # natural order: 10 comes after
    assert "only the members needed" in capsys.readouterr().out
    assert not (tmp_path / "downloads" / "Task09_Spleen.tar").exists()
    np.testing.assert_array_equal(filed(tmp_path, "spleen_3")[0], images["spleen_3"])
    assert go("decathlon", tmp_path, "spleen") == 0  # the rest later
    assert len(open_dataset(tmp_path)) == 3


def test_decathlon_where_the_server_sends_no_parts(spleen, web, tmp_path, capsys):
    web.ranges = False
    assert go("decathlon", tmp_path, "spleen", "--cases", "1") == 0
    assert "does not support partial downloads, so it is fetched whole" in capsys.readouterr().out
    assert open_dataset(tmp_path).names == ("spleen_2",)


def test_what_is_there_is_not_made_again(spleen, web, tmp_path, capsys):
    go("decathlon", tmp_path, "spleen")
    (tmp_path / "labelsTr" / "spleen_3.nii.gz").unlink()
    before = (tmp_path / "imagesTr" / "spleen_2.nii.gz").stat().st_mtime_ns
    web.asked.clear()
    capsys.readouterr()
    assert go("decathlon", tmp_path, "spleen") == 0
    said = capsys.readouterr().out
    assert "spleen_3: " in said
    assert "spleen_2: " not in said
    assert (tmp_path / "imagesTr" / "spleen_2.nii.gz").stat().st_mtime_ns == before
    assert (tmp_path / "labelsTr" / "spleen_3.nii.gz").is_file()
    assert web.asked == []


def test_ctrl_c_between_two_cases(spleen, tmp_path, capsys, monkeypatch):
    from fetch.layout import Folder

    add = Folder.add

    def interrupted(self, name, *args, **more):
        if name == "spleen_3":
            raise KeyboardInterrupt
        return add(self, name, *args, **more)

    monkeypatch.setattr(Folder, "add", interrupted)
    assert go("decathlon", tmp_path, "spleen") == 130
    assert "run the same command again to resume" in capsys.readouterr().err
    assert open_dataset(tmp_path).names == ("spleen_2",)  # whole, and a set already
    monkeypatch.setattr(Folder, "add", add)
    assert go("decathlon", tmp_path, "spleen") == 0
    assert len(open_dataset(tmp_path)) == 3


def test_discard_deletes_the_archive_once_all_is_converted(spleen, tmp_path):
    assert go("decathlon", tmp_path, "spleen", "--discard") == 0
    assert list((tmp_path / "downloads").iterdir()) == []
    assert len(open_dataset(tmp_path)) == 3


def test_an_archive_with_a_path_that_leads_out_gives_nothing(web, tmp_path, monkeypatch, capsys):
    script = import_module("decathlon")
    content = tar({"Task09_Spleen/labelsTr/../../../out.nii.gz": nifti(label(2, 2, 2))})
    monkeypatch.setattr(script, "URL", web.put("/Task09_Spleen.tar", content).replace("Task09_Spleen", "{}"))
    monkeypatch.setitem(script.TASKS, "spleen", replace(script.TASKS["spleen"], md5=hashlib.md5(content).hexdigest()))
    assert go("decathlon", tmp_path / "data", "spleen") == 1
    assert "leads out of the folder" in capsys.readouterr().out
    assert not list(tmp_path.rglob("out.nii.gz*"))


def test_a_damaged_case_is_left_out_and_the_others_are_not(web, tmp_path, monkeypatch, capsys):
    script = import_module("decathlon")
    files = {}
    for k in (1, 2):
        whole = nifti(hu(8, 9, 9))
        files[f"T/imagesTr/a_{k}.nii.gz"] = whole if k == 1 else whole[: len(whole) // 2]
        files[f"T/labelsTr/a_{k}.nii.gz"] = nifti(label(8, 9, 9, most=1))
    content = tar(files)
    monkeypatch.setattr(script, "URL", web.put("/Task09_Spleen.tar", content).replace("Task09_Spleen", "{}"))
    monkeypatch.setitem(script.TASKS, "spleen", replace(script.TASKS["spleen"], md5=hashlib.md5(content).hexdigest()))
    assert go("decathlon", tmp_path, "spleen") == 0
    assert "1 cases of Decathlon spleen" in (said := capsys.readouterr().out)
    assert "1 left out\n  a_2: " in said
    assert "truncated or damaged" in said
    assert open_dataset(tmp_path).names == ("a_1",)
    assert not (tmp_path / "imagesTr" / "a_2.nii.gz").exists()


def test_errors_of_the_source_end_the_script_in_one_line(spleen, web, tmp_path, capsys):
    web.status["/Task09_Spleen.tar"] = [(404, {})]
    assert go("decathlon", tmp_path, "spleen") == 1
    assert "stopped: http" in (said := capsys.readouterr().err)
    assert "answers 404 Not Found. The file has moved" in said


def test_another_set_in_the_folder_is_not_overwritten(spleen, tmp_path, capsys):
    (tmp_path / "dataset.json").write_text('{"name": "mine"}')
    assert go("decathlon", tmp_path, "spleen") == 1
    assert "holds 'mine' already, this script makes 'Decathlon spleen': pass another --out" in capsys.readouterr().err
    assert (tmp_path / "dataset.json").read_text() == '{"name": "mine"}'


@pytest.mark.parametrize("wrong", [["--cases", "0"], ["--cases", "many"], ["everything"]])
def test_wrong_arguments_are_answered_by_usage(wrong, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        go("promise12", tmp_path, *wrong)
    assert "error:" in capsys.readouterr().err


# KiTS19: NIfTI files one by one


@pytest.fixture
def kits(web, monkeypatch):
    """Images as float64 and labels as uint16, axes pointing (down, front, left), as in the source."""
    script = import_module("kits19")
    affine = np.array([[0, 0, -0.7, 10], [0, -0.8, 0, 20], [-3.0, 0, 0, 30], [0, 0, 0, 1]])
    images, labels = {}, {}
    for number in (61, 38):
        name = f"case_{number:05d}"
        images[name], labels[name] = hu(9, 7, 21), label(9, 7, 21)
        web.put(f"/{name}.nii.gz", nifti(images[name].astype(np.float64), affine=affine))
        content = nifti(labels[name].astype(np.uint16), affine=affine)
        web.put(f"/{name}/segmentation.nii.gz", content)
        monkeypatch.setitem(script.CHECKED, number, hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(script, "IMAGES", web.root + "/{}.nii.gz")
    monkeypatch.setattr(script, "LABELS", web.root + "/{}/{}")
    return images, labels, affine


def test_kits19(kits, web, tmp_path):
    images, labels, affine = kits
    assert go("kits19", tmp_path, "--cases", "2") == 0
    for name in images:
        image, mask = filed(tmp_path, name)
        np.testing.assert_array_equal(image, images[name])
        np.testing.assert_array_equal(mask, labels[name])
        assert (image.dtype, mask.dtype) == (np.int16, np.uint8)
        np.testing.assert_allclose(read_nifti(tmp_path / "imagesTr" / f"{name}.nii.gz")[1], affine, atol=1e-6)
    case = open_dataset(tmp_path)["case_00061"]
    # stored: x down, y to the front, z to the left, so ours is turned to (down → up, front → back, right → left)
    assert case.spacing == pytest.approx((3.0, 0.8, 0.7))
    np.testing.assert_array_equal(case.image, images["case_00061"].transpose(2, 1, 0)[::-1])


def test_kits19_goes_on_after_the_server_gave_up(kits, web, tmp_path, capsys):
    web.status["/case_00038.nii.gz"] = [(503, {})] * 6
    assert go("kits19", tmp_path, "--cases", "2") == 1
    assert "503" in capsys.readouterr().err
    assert open_dataset(tmp_path).names == ("case_00061",)
    asked = len(web.asked)
    assert go("kits19", tmp_path, "--cases", "2") == 0
    assert open_dataset(tmp_path).names == ("case_00038", "case_00061")
    assert [path for path, _ in web.asked[asked:]] == ["/case_00038.nii.gz", "/case_00038/segmentation.nii.gz"]


def test_kits19_one_case_that_is_gone_is_left_out_and_all_gone_stops(kits, web, tmp_path, capsys):
    gone = web.files.pop("/case_00061.nii.gz")
    assert go("kits19", tmp_path, "--cases", "1") == 0
    assert "case_00061: left out. http" in (said := capsys.readouterr().out)
    assert "answers 404 Not Found. The file has moved" in said
    assert open_dataset(tmp_path).names == ("case_00038",)
    web.asked.clear()
    assert go("kits19", tmp_path, "--cases", "9") == 1  # three others in a row: the source has moved
    assert "stopped: http" in capsys.readouterr().err
    assert {path for path, _ in web.asked} == {f"/case_00{k}.nii.gz" for k in ("061", "110", "148")}
    web.files["/case_00061.nii.gz"] = gone
    assert go("kits19", tmp_path, "--cases", "2") == 0
    assert open_dataset(tmp_path).names == ("case_00038", "case_00061")
    assert "case_00061" not in json.loads((tmp_path / "provenance.json").read_text())["refused"]


def test_kits19_label_with_a_wrong_checksum_stops(kits, web, tmp_path, capsys):
    web.put("/case_00061/segmentation.nii.gz", nifti(label(9, 7, 21)))
    assert go("kits19", tmp_path, "--cases", "1") == 1
    assert "published is" in capsys.readouterr().err
    assert not list(tmp_path.rglob("segmentation.nii.gz"))


def test_kits19_image_that_holds_no_hu_is_left_out(kits, web, tmp_path, capsys):
    web.put("/case_00061.nii.gz", nifti(RNG.random((9, 7, 21))))
    assert go("kits19", tmp_path, "--cases", "1") == 0
    assert "not all of them whole numbers that fit into int16" in capsys.readouterr().out
    assert open_dataset(tmp_path).names == ("case_00038",)  # the next one in its place


# PROMISE12: MHD and RAW in a zip


def test_promise12(web, tmp_path, monkeypatch):
    script = import_module("promise12")
    axes = np.array([[0.8, 0.0, 0.6], [0.0, 1.0, 0.0], [-0.6, 0.0, 0.8]])
    files, images, labels = {}, {}, {}
    for k in (0, 11):
        name = f"Case{k:02d}"
        images[name], labels[name] = hu(5, 8, 6), label(5, 8, 6, most=1)
        for kind, array in ((name, images[name]), (f"{name}_segmentation", labels[name].astype(np.int8))):
            files[f"TrainingData_Part1/{kind}.mhd"] = mhd(kind, array, axes)
            files[f"TrainingData_Part1/{kind}.raw"] = array.tobytes()
    content = zipped(files)
    url, checksum = web.put("/training_data.zip", content), f"sha256:{hashlib.sha256(content).hexdigest()}"
    monkeypatch.setattr(script, "ZIP", replace(script.ZIP, url=url + "?download=1", checksum=checksum))
    assert go(script, tmp_path) == 0
    assert open_dataset(tmp_path).names == ("Case00", "Case11")
    for name in images:
        np.testing.assert_array_equal(filed(tmp_path, name)[0], images[name])
        np.testing.assert_array_equal(filed(tmp_path, name)[1], labels[name])
    written = sitk.ReadImage(str(tmp_path / "imagesTr" / "Case00.nii.gz"))
    np.testing.assert_allclose(written.GetSpacing(), (0.6, 0.7, 3.6), atol=1e-6)
    np.testing.assert_allclose(np.array(written.GetDirection()).reshape(3, 3), axes, atol=1e-6)
    np.testing.assert_allclose(written.GetOrigin(), (1, -2, 3), atol=1e-5)
    assert not list((tmp_path / "downloads" / "unpacked").rglob("*.raw"))


def mhd(name: str, array: np.ndarray, axes: np.ndarray) -> bytes:
    """MetaImage keeps the directions one after the other: a column of the matrix a triple."""
    kind = {"int16": "MET_SHORT", "int8": "MET_CHAR"}[array.dtype.name]
    return (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        f"TransformMatrix = {' '.join(map(str, axes.T.ravel()))}\nOffset = 1 -2 3\n"
        f"ElementSpacing = 0.6 0.7 3.6\nDimSize = {' '.join(map(str, array.shape[::-1]))}\n"
        f"ElementType = {kind}\nElementDataFile = {name}.raw\n"
    ).encode()


# COVID-19-CT-Seg: two zips of NIfTI


def test_covid19_ct(web, tmp_path, monkeypatch):
    script = import_module("covid19_ct")
    grey = RNG.integers(0, 256, (3, 6, 5)).astype(np.uint8)
    grey[0, 0, :2] = 0, 255
    images = {"coronacases_001": hu(3, 6, 5), "radiopaedia_4_85506_1": grey}
    labels = {name: label(3, 6, 5, most=3) for name in images}
    for what, held in (("IMAGES", images), ("LABELS", labels)):
        content = zipped({f"{name}.nii.gz": nifti(array) for name, array in held.items()})
        old = getattr(script, what)
        checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
        monkeypatch.setattr(script, what, replace(old, url=web.put(f"/{what}.zip", content), checksum=checksum))
    assert go(script, tmp_path) == 0
    for name in images:
        np.testing.assert_array_equal(filed(tmp_path, name)[1], labels[name])
    np.testing.assert_array_equal(filed(tmp_path, "coronacases_001")[0], images["coronacases_001"])
    back = filed(tmp_path, "radiopaedia_4_85506_1")[0]
    assert (back.min(), back.max()) == (-1250, 250)
    np.testing.assert_allclose(back, grey.astype(float) * 1500 / 255 - 1250, atol=0.5)
    said = json.loads((tmp_path / "provenance.json").read_text())["cases"]
    assert said["radiopaedia_4_85506_1"]["said"] == ["grey values of a window converted to HU"]
    assert "said" not in said["coronacases_001"]


# ISBI 2012: HDF5, or TIFF stacks in a zip


@pytest.mark.parametrize("source", ["embl", "imagej"])
def test_isbi2012(web, tmp_path, monkeypatch, source):
    script = import_module("isbi2012")
    image = RNG.integers(0, 256, (4, 12, 10)).astype(np.uint8)
    interior = np.where(RNG.random(image.shape) < 0.8, 255, 0).astype(np.uint8)
    if source == "embl":
        held = io.BytesIO()
        with h5py.File(held, "w") as file:
            file["raw"], file["labels/membranes"] = image, interior
        content, what = held.getvalue(), "H5"
    else:
        start = "ISBI-2012-challenge/train-"
        content, what = zipped({f"{start}volume.tif": tiff(image), f"{start}labels.tif": tiff(interior)}), "ZIP"
    changed = replace(getattr(script, what), url=web.put(f"/{what}", content), checksum=None)
    monkeypatch.setattr(script, what, changed)
    assert go(script, tmp_path, "--source", source) == 0
    data = open_dataset(tmp_path)
    assert data.names == tuple(f"slice_{k:02d}" for k in range(4))
    assert data.labels == {0: "interior", 1: "membrane"}
    for case, grey, inside in zip(data, image, interior, strict=True):
        np.testing.assert_array_equal(case.image, grey)
        np.testing.assert_array_equal(case.label, inside == 0)
        assert case.spacing == (4, 4)


def tiff(stack: np.ndarray) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, stack, photometric="minisblack")
    return out.getvalue()


@pytest.mark.parametrize(("script", "module"), [("isbi2012", "h5py"), ("lidc_idri", "idc_index_data")])
def test_a_library_that_is_not_installed_is_named_with_its_command(web, tmp_path, monkeypatch, capsys, script, module):
    monkeypatch.setitem(sys.modules, module, None)
    assert go(script, tmp_path) == 1
    assert f'stopped: {module} is not installed: pip install -c constraints.txt -e ".[data]"' in capsys.readouterr().err


def test_isbi2012_file_of_another_kind(web, tmp_path, monkeypatch, capsys):
    script = import_module("isbi2012")
    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        file["volumes/raw"] = np.zeros((2, 3, 3))
    monkeypatch.setattr(script, "H5", replace(script.H5, url=web.put("/x", held.getvalue()), checksum=None))
    assert go(script, tmp_path) == 1
    assert "isbi.h5 is not the file expected" in capsys.readouterr().out


# DeepLesion: 16-bit PNG in zips, and a table


def test_deeplesion(web, tmp_path, monkeypatch, capsys):
    script = import_module("deeplesion")
    files, pixels = {}, {}
    for folder, number in (("000001_01_01", 109), ("000001_01_01", 110), ("000002_03_01", 7)):
        stored = RNG.integers(32768 - 1000, 32768 + 1500, (20, 24)).astype(np.uint16)
        stored[0, 0] = 0  # outside of what the scanner sees
        pixels[f"{folder}_{number:03d}.png"] = stored
        files[f"Images_png/{folder}/{number:03d}.png"] = png(stored, tmp_path)
    rows = [
        ("000001_01_01_109.png", "3.5, 5.25, 13.5, 6.25, 8.1, 2.1, 9.2, 11.3", 5),
        ("000001_01_01_109.png", "1, 2, 4, 3, 2, 4, 3, 1", -1),
        ("000002_03_01_007.png", "6, 6, 12, 6, 9, 4, 9, 9", 4),
        ("000099_01_01_001.png", "6, 6, 12, 6, 9, 4, 9, 9", 4),  # in another archive
    ]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["File_name", "Measurement_coordinates", "Coarse_lesion_type", "Possibly_noisy", "Spacing_mm_px_"])
    writer.writerows([file, points, kind, 0, "0.5, 0.6, 5"] for file, points, kind in rows)
    content = zipped(files)
    monkeypatch.setattr(script, "TABLE", replace(script.TABLE, url=web.put("/DL_info.csv", text.getvalue().encode())))
    listed = tmp_path / "zips.csv"
    md5 = hashlib.md5(content).hexdigest()
    listed.write_text(f"name,url,md5\nImages_png_01.zip,{web.put('/1.zip', content)},{md5}\n")
    monkeypatch.setattr(script, "ZIPS", listed)

    out = tmp_path / "out"
    assert go(script, out, "--cases", "1") == 0
    assert open_dataset(out).names == ("000001_01_01_109-1",)
    assert not (out / "downloads" / "Images_png_01.zip").exists()  # members alone
    assert go(script, out) == 0
    data = open_dataset(out)
    assert data.names == ("000001_01_01_109-1", "000001_01_01_109-2", "000002_03_01_007-1")
    case = data[0]
    expected = pixels["000001_01_01_109.png"].astype(int) - 32768
    assert expected[0, 0] == -32768
    np.testing.assert_array_equal(case.image, np.maximum(expected, -1024))
    assert read_nifti(out / "imagesTr" / f"{case.name}.nii.gz")[0].dtype == np.int16
    assert case.spacing == pytest.approx((0.6, 0.5))  # the table has x before y
    assert case.label is None
    recist = case.extras["recist"]  # rows and columns from 0, the table's from 1
    np.testing.assert_allclose(recist["long_axis"], ((4.25, 2.5), (5.25, 12.5)))
    np.testing.assert_allclose(recist["short_axis"], ((1.1, 7.1), (10.3, 8.2)))
    assert go(script, tmp_path / "liver", "--kind", "4") == 0
    assert open_dataset(tmp_path / "liver").names == ("000002_03_01_007-1",)
    assert go(script, out, "check") == 0
    assert (out / "contact-sheet-01.png").is_file()


def png(array: np.ndarray, folder: Path) -> bytes:
    sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / "x.png"))
    return (folder / "x.png").read_bytes()


def test_the_list_of_deeplesions_archives_is_whole():
    with import_module("deeplesion").ZIPS.open(newline="") as rows:
        listed = list(csv.DictReader(rows))
    assert [row["name"] for row in listed] == [f"Images_png_{k:02d}.zip" for k in range(1, 57)]
    assert len({row["url"] for row in listed}) == len({row["md5"] for row in listed}) == 56
    assert all(
        row["url"].startswith("https://nihcc.box.com/shared/static/") and len(row["md5"]) == 32 for row in listed
    )


# BraTS 2019: a folder that the user has


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_brats2019(tmp_path, ending):
    images = {sequence: hu(5, 6, 7) for sequence in ("flair", "t1", "t1ce", "t2")}
    truth = RNG.choice([0, 1, 2, 4], (5, 6, 7)).astype(np.uint8)
    folder = tmp_path / "MICCAI_BraTS_2019_Data_Training" / "HGG" / "HGG" / "BraTS19_2013_0_1"
    folder.mkdir(parents=True)
    for what, array in [*images.items(), ("seg", truth)]:
        content = nifti(array, (1, 1, 1))
        content = content if ending == ".nii.gz" else gzip.decompress(content)
        (folder / f"BraTS19_2013_0_1_{what}{ending}").write_bytes(content)
    assert go("brats2019", tmp_path / "out", "--from", str(tmp_path)) == 0
    image, mask = filed(tmp_path / "out", "BraTS19_2013_0_1")
    np.testing.assert_array_equal(image, np.stack(list(images.values())))
    np.testing.assert_array_equal(mask, np.choose(truth, [0, 1, 2, 9, 3]))
    (case,) = open_dataset(tmp_path / "out")
    assert case.extras["names"][3] == "enhancing tumour"


def test_brats2019_without_a_folder_says_how_to_get_one(tmp_path, capsys):
    assert go("brats2019", tmp_path / "out") == 1
    assert "register with the challenge" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert go("brats2019", tmp_path / "out", "--from", str(tmp_path / "empty")) == 1
    assert "Pass the folder with HGG/ and LGG/" in capsys.readouterr().err


SWEEPS = sorted((Path(__file__).resolve().parents[2] / "sweeps").glob("*.yml"))
COMMANDS = {
    ("data/deeplesion" if "deeplesion.py" in line else folder, line)
    for path in SWEEPS
    for folder, lines in yaml.safe_load(path.read_text(encoding="utf-8")).get("needs", {}).items()
    for line in lines.split(" && ")
    if line.startswith("python ")
}
IN_HEADERS = {
    ("data/deeplesion_all", line.strip())
    for path in SWEEPS
    for line in re.findall(r"^# (python data_scripts/[^&\n]+)", path.read_text(encoding="utf-8"), flags=re.M)
}


@pytest.mark.parametrize(("folder", "line"), sorted(COMMANDS | IN_HEADERS))
def test_the_commands_of_the_sweeps_are_ones_that_the_scripts_take(folder, line, monkeypatch):
    """Each writes the folder that the sweep reads, or that the command after it reads."""
    words = shlex.split(line)
    if words[1] == "-m":
        made = []
        monkeypatch.setattr(sys, "argv", words[2:])
        monkeypatch.setattr(nodule_set, "open_dataset", lambda source: [source])
        monkeypatch.setattr(nodule_set, "lesions_of", list)
        monkeypatch.setattr(nodule_set, "make_set", lambda lesions, data, out: made.extend([*data, out]))
        nodule_set.main()
        assert made == [Path("data/deeplesion"), Path(folder)]
    else:
        script = import_module(Path(words[1]).stem)
        parsed = arguments(script.__doc__, getattr(script, "options", lambda parser: None)).parse_args(words[2:])
        assert parsed.out == Path(folder)
