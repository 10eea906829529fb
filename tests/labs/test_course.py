"""From a folder of submissions to points, feedback and tables, as an instructor types it."""

from __future__ import annotations

import csv
import json
import time
import zipfile
from pathlib import Path

import pytest
from coursework import IN_CI, LABS, SOURCE, WRONG, handed_in, real, wrong_one

from dsnotes.cli import main
from dsnotes.labs.source import open_labs

LAB = LABS["lab1_dice"]
HOSTILE = """
import os, shutil, time
shutil.rmtree(COURSE, ignore_errors=True)
for _ in range(1000):
    if os.fork() == 0:
        time.sleep(600)
"""


def hand_in(folder: Path, student: str, lab: str, file: bytes) -> None:
    place = folder / student / f"{lab}.ipynb"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(file)


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def test_a_class_is_graded_in_one_command_and_one_student_again(tmp_path, monkeypatch, capsys):
    """With a good one, an empty one, a wrong one, one that is not a notebook and a hostile one."""
    real()
    monkeypatch.chdir(tmp_path)
    course = tmp_path / "course"
    wrong = next(each for each in WRONG[LAB.name] if each["name"] == "tests edited")
    files = {
        "ada": handed_in(LAB),
        "ben": handed_in(LAB, empty=True),
        "cem": wrong_one(LAB, wrong),
        "dan": b"no notebook",
    }
    files["eve"] = handed_in(LAB, {"dice": f"COURSE = {str(course)!r}{HOSTILE}"})
    for student, file in files.items():
        hand_in(tmp_path / "in", student, LAB.name, file)
    command = ["labs", "grade", "in", "--lab", "lab1", "--workers", "2", "--cell-seconds", "3"]
    assert main(command) == 0
    rows = {row["student"]: row for row in read(course / "dsnotes-grades.csv")}
    automatic = sum(LAB.tests.values())
    points = {name: float(row["automatic"]) for name, row in rows.items()}
    assert points == {
        "ada": automatic,
        "ben": 0,
        "cem": automatic - LAB.tests["test-dice-each"],
        "dan": 0,
        "eve": points["eve"],
    }
    assert points["eve"] < automatic
    assert {name: row["to_mark"] for name, row in rows.items()} == dict(zip(files, "10101", strict=True))
    page = {name: (course / "feedback" / name / f"{LAB.name}.html").read_text("utf-8") for name in files}
    assert "No problems." in page["ada"]
    assert "replaced by the instructor" in page["cem"]
    assert "could not be read as a notebook" in page["dan"]
    assert "In dice: PermissionError" in page["eve"]
    assert all("HIDDEN TESTS" not in each and "Content-Security-Policy" in each for each in page.values())

    hand_in(tmp_path / "in", "ben", LAB.name, handed_in(LAB))
    capsys.readouterr()
    assert main([*command, "--student", "ben", "--late", "ben=1", "--late-percent", "50"]) == 0
    assert "ben " in (out := capsys.readouterr().out)
    assert "1 graded in" in out
    again = {row["student"]: row for row in read(course / "dsnotes-grades.csv")}
    assert (float(again["ben"]["points"]), again["ben"]["late_days"]) == (automatic / 2, "1")
    assert again["ada"] == rows["ada"]
    assert main([*command, "--student", "zoe"]) == 2
    assert "no submission from zoe; there are ada, ben" in capsys.readouterr().err


def test_without_a_sandbox_only_when_asked_and_every_page_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    hand_in(tmp_path / "in", "ada", LAB.name, handed_in(LAB, empty=True))
    assert main(["labs", "grade", "in", "--lab", "lab1", "--unsafe-no-sandbox"]) == 0
    assert "WARNING: no sandbox" in capsys.readouterr().err
    assert "Graded without a sandbox" in (tmp_path / f"course/feedback/ada/{LAB.name}.html").read_text("utf-8")
    assert read(tmp_path / "course/dsnotes-grades.csv")[0]["sandbox"] == "none"


def test_build_writes_student_versions_without_solutions(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["labs", "build", "--lab", "lab1"]) == 0
    text = (tmp_path / "build/labs/lab1_dice.ipynb").read_text("utf-8")
    assert "SOLUTION" not in text
    assert "HIDDEN" not in text
    assert "nothing is written here yet" in text
    assert zipfile.ZipFile(tmp_path / "build/labs/dsnotes-labs.zip").namelist() == ["dsnotes-labs/lab1_dice.ipynb"]
    assert "20 points" in capsys.readouterr().out
    assert json.loads(text)["metadata"]["kernelspec"]["name"] == "python3"
    (tmp_path / "file").write_text("")
    assert main(["labs", "build", "--output", "file"]) == 2
    assert "cannot write to file" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_student_checks_without_the_hidden_tests(tmp_path, monkeypatch, capsys):
    """Hard-coded answers pass what is visible; a failing test says its hint."""
    monkeypatch.chdir(tmp_path)
    known = next(each for each in WRONG[LAB.name] if each["name"] == "hard-coded answers")
    (tmp_path / "lab1_dice.ipynb").write_bytes(wrong_one(LAB, known))
    assert main(["labs", "check", "lab1_dice.ipynb"]) == 0
    out = capsys.readouterr().out
    assert "passed   test-best" in out
    assert "by hand  reflection" in out
    (tmp_path / "lab1_dice (1).ipynb").write_bytes(handed_in(LAB, {"loss": "dice_loss = lambda *a, **k: -1.0"}))
    assert main(["labs", "check", "lab1_dice (1).ipynb"]) == 1
    assert "must have a lower loss than a poor one: check the sign" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["grade", "nowhere", "--unsafe-no-sandbox"], "nowhere is neither a folder nor a zip"),
        (["grade", "nowhere", "--lab", "lab9"], "'lab9' matches none of the labs"),
        (["grade", "nowhere", "--workers", "0"], "--workers must be positive, got 0; for instance 60"),
        (["grade", "nowhere", "--seconds", "nan"], "--seconds must be positive, got nan"),
        (["grade", "nowhere", "--late-percent", "200"], "--late-percent must be from 0 to 100, got 200"),
        (["grade", "nowhere", "--late", "ada"], "--late 'ada' is not NAME=DAYS"),
        (["grade", "nowhere", "--source", "empty"], "there are no labs in empty"),
        (["grade", "nowhere", "--sandbox", "docker"], "docker"),
        (["check", "mine.ipynb"], "mine.ipynb does not match any of the labs"),
        (["check", "lab1_dice.ipynb"], "there is no file lab1_dice.ipynb"),
        (["check", "folder/lab1_dice.ipynb"], "there is no file folder/lab1_dice.ipynb"),
        (["doctor", "--unsafe-no-sandbox"], "leave out --unsafe-no-sandbox"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder" / "lab1_dice.ipynb").mkdir(parents=True)
    assert main(["labs", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_thirty_submissions_in_one_command(tmp_path, monkeypatch, capsys):
    """Of all labs, good and wrong, one of them hostile; prints how long it took."""
    real()
    monkeypatch.chdir(tmp_path)
    assert set(IN_CI) < set(LABS)
    made = [(lab, None) for lab in LABS.values()] + [(lab, w) for lab in LABS.values() for w in WRONG[lab.name]]
    for at, (lab, wrong) in enumerate(made[:29]):
        hand_in(tmp_path / "in", f"student{at:02}", lab.name, wrong_one(lab, wrong) if wrong else handed_in(lab))
    hand_in(tmp_path / "in", "zoe", LAB.name, handed_in(LAB, {"dice": f"COURSE = {str(tmp_path)!r}{HOSTILE}"}))
    began = time.monotonic()
    assert main(["labs", "grade", "in", "--seed", "1"]) == 0
    rows = read(tmp_path / "course" / "dsnotes-grades.csv")
    assert len(rows) == 30
    whole = {name: sum(lab.tests.values()) for name, lab in LABS.items()}
    good = [row for row in rows if row["student"] < f"student{len(LABS):02}"]
    assert all(float(row["automatic"]) == whole[row["lab"]] for row in good)
    board = read(tmp_path / "course" / "leaderboard.csv")
    assert board[0]["rank"] == "1"
    assert [float(row["value"]) for row in board] == sorted((float(row["value"]) for row in board), reverse=True)
    with capsys.disabled():
        print(f"\nthirty submissions in {time.monotonic() - began:.0f} s")


def test_every_source_opens():
    assert len(open_labs(SOURCE)) == len(list(SOURCE.glob("lab*.py")))
