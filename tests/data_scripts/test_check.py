"""What `check` says of a converted folder, and the picture it draws."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fetch import About, Converted, plain
from fetch.check import check, orientation
from fetch.layout import Folder
from made_here import OBLIQUE

from dsnotes.data.geometry import Geometry

ABOUT = About(
    "made here", "https://example.org", "CC0", "nobody", {0: "background", 1: "left atrium", 2: "lesion"}, ("CT",)
)
SCRIPTS = Path(__file__).resolve().parents[2] / "data_scripts"


def made(path: Path, count: int) -> Path:
    """The third of the cases has an empty label, the fourth is one grey."""
    rng = np.random.default_rng(0)
    filed = Folder(path, ABOUT)
    for k in range(count):
        image = rng.normal(0, 100, (4, 24, 20)).astype(np.int16) if k != 3 else np.zeros((4, 24, 20), np.int16)
        label = np.zeros((4, 24, 20), np.uint8)
        if k != 2:
            label[1:3, 4:15, 5:15], label[2, 8:12, 8:12] = 1, 2
        filed.add(f"case_{k:02d}", Converted(plain(image, (5.0, 0.8, 0.7)), label), piece="all")
    filed.save()
    return path


@pytest.fixture(scope="module")
def checked(tmp_path_factory) -> tuple[Path, str]:
    """Fourteen cases, so two sheets; the folder after the check, and what was printed."""
    folder, said = made(tmp_path_factory.mktemp("checked"), 14), io.StringIO()
    with contextlib.redirect_stdout(said):
        assert check(folder) == 0
    return folder, said.getvalue()


@pytest.fixture
def folder(tmp_path) -> Path:
    return made(tmp_path, 2)


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "check.csv").open(newline="", encoding="utf-8") as read:
        return {row["case"]: row for row in csv.DictReader(read)}


def test_values_spacings_orientation_and_trouble(checked):
    folder, said = checked
    table = rows(folder)
    assert len(table) == 14
    assert table["case_00"]["shape"] == "4×24×20"
    assert table["case_00"]["spacing_mm"] == "5×0.8×0.7"
    assert table["case_00"]["orientation"] == "LPS"
    assert table["case_00"]["label_voxels"] == f"background:{1920 - 220}, left atrium:{220 - 16}, lesion:16"
    assert table["case_02"]["trouble"] == "the label is empty"
    assert table["case_03"]["trouble"] == "the image is constant"
    assert "made here: 14 of 14 cases open" in said
    assert "in how many  background: 14, left atrium: 13, lesion: 13" in said
    assert "case_02: the label is empty" in said


def test_a_picture_of_every_case(checked):
    folder, _ = checked
    sheets = sorted(folder.glob("contact-sheet-*.png"))
    assert [sheet.name for sheet in sheets] == ["contact-sheet-01.png", "contact-sheet-02.png"]
    first, second = (sitk.GetArrayFromImage(sitk.ReadImage(str(sheet))) for sheet in sheets)
    assert len(np.unique(first.reshape(-1, first.shape[-1]), axis=0)) > 200
    assert first.shape[0] > second.shape[0]  # three rows of four, then two cases
    assert not list(folder.glob("*.csv.part")) + list(folder.glob("part-*"))
    assert {path.name for path in folder.glob("*.csv")} == {"check.csv"}  # nothing to be decided


def test_a_case_that_cannot_be_opened_is_a_row_with_its_trouble(folder, capsys):
    whole = (folder / "imagesTr" / "case_01.nii.gz").read_bytes()
    (folder / "imagesTr" / "case_01.nii.gz").write_bytes(whole[: len(whole) // 2])
    assert check(folder) == 1
    assert "truncated or damaged" in rows(folder)["case_01"]["trouble"]
    assert "1 of 2 cases open" in capsys.readouterr().out


def test_a_label_value_without_a_name_is_told(folder, capsys):
    about = json.loads((folder / "dataset.json").read_text())
    about["labels"].pop("2")
    (folder / "dataset.json").write_text(json.dumps(about))
    assert check(folder) == 1
    assert "holds the label value 2, which dataset.json does not name" in rows(folder)["case_00"]["trouble"]


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        (np.eye(3), "LPS"),
        (np.diag([-1.0, -1, 1]), "RAS"),
        (np.array([[0, 0, -1.0], [0, -1, 0], [-1, 0, 0]]), "IAR"),
        (OBLIQUE, "PRS oblique"),
    ],
)
def test_orientation_is_as_itk_names_it(direction, expected):
    """ITK's own three letters (SimpleITK's DICOMOrient), for where each axis of the file points to."""
    flat = tuple(float(cosine) for cosine in direction.ravel())
    assert orientation(Geometry((2, 2, 2), (1.0,) * 3, (0.0,) * 3, flat)) == expected
    assert sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(flat) == expected[:3]


def test_the_command_checks_a_folder(folder, capsys, monkeypatch):
    import promise12
    from fetch import run

    assert run(promise12.plan, doc=promise12.__doc__, argv=["check", "--out", str(folder)]) == 0
    assert (folder / "contact-sheet-01.png").is_file()
    assert run(promise12.plan, doc=promise12.__doc__, argv=["check", "--out", str(folder / "no")]) == 1
    assert "there is no " in capsys.readouterr().err


def test_a_script_runs_from_anywhere(tmp_path):
    import subprocess

    command = [sys.executable, str(SCRIPTS / "promise12.py"), "--out", str(tmp_path / "x"), "--dry-run"]
    ran = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=tmp_path, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("PROMISE12\n")
    assert list(tmp_path.iterdir()) == []
