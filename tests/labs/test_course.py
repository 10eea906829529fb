"""From a folder of submissions to points, feedback and a gradebook, as an instructor types it."""

from __future__ import annotations

import csv
import json
import time
import zipfile
from pathlib import Path

import pytest
from coursework import IN_CI, LABS, WRONG, handed_in, needs_linux, points_by_test, wrong_one

from dsnotes.cli import main
from dsnotes.labs.source import open_labs

pytestmark = [needs_linux, pytest.mark.filterwarnings("ignore")]  # nbgrader's own dependencies warn
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


def test_a_class_is_graded_in_one_command(tmp_path, monkeypatch, capsys):
    """With a good one, an empty one, a wrong one, one that is no notebook and a hostile one; then marked by hand."""
    monkeypatch.chdir(tmp_path)
    submissions, course = tmp_path / "submissions", tmp_path / "course"
    wrong = next(each for each in WRONG[LAB.name] if each["name"] == "tests edited")
    hostile = f"COURSE = {str(course)!r}{HOSTILE}"
    files = {
        "ada": handed_in(LAB),
        "ben": handed_in(LAB, empty=True),
        "cem": wrong_one(LAB, wrong),
        "dan": b"no notebook",
    }
    files["eve"] = handed_in(LAB, {"dice": hostile})
    for student, file in files.items():
        hand_in(submissions, student, LAB.name, file)
    command = ["labs", "grade", "submissions", "--lab", "lab1", "--workers", "2", "--cell-seconds", "3"]
    assert main(command) == 0
    rows = {row["student"]: row for row in read(course / "grades.csv")}
    automatic = sum(points_by_test(LAB).values())
    assert {name: float(row["points"]) for name, row in rows.items()} == {
        "ada": automatic,
        "ben": 0,
        "cem": automatic - points_by_test(LAB)["test-dice-each"],
        "dan": 0,
        "eve": float(rows["eve"]["automatic"]),
    }
    assert float(rows["eve"]["automatic"]) < automatic
    assert {name: row["to_mark"] for name, row in rows.items()} == {
        "ada": "1",
        "ben": "0",
        "cem": "1",
        "dan": "0",
        "eve": "1",
    }
    page = {name: (course / "feedback" / name / LAB.name / f"{LAB.name}.html").read_text("utf-8") for name in files}
    assert "Nothing out of the ordinary happened" in page["ada"]
    assert "Changed by you, and replaced by the instructor" in page["cem"]
    assert "could not be read as a notebook" in page["dan"]
    assert "In the cell dice" in page["eve"]
    assert all("HIDDEN TESTS" not in each for each in page.values())
    _mark_by_hand(course, command, automatic, capsys)


def _mark_by_hand(course: Path, command: list[str], automatic: float, capsys) -> None:
    """Marks are entered by filling in a column, and survive a second round."""
    file = course / "reflections.csv"
    lines = read(file)
    assert {line["student"]: line["points"] for line in lines} == dict.fromkeys(("ada", "cem", "eve"), "") | {
        "ben": "0",
        "dan": "0",
    }
    for line in lines:
        line["points"] = {"ada": "3.5", "eve": "99"}.get(line["student"], line["points"])
    _write(file, lines)
    assert main(command) == 2
    assert "points=99, but this answer has 0 to 4; correct it" in capsys.readouterr().err
    _write(file, [line for line in lines if line["student"] != "eve"])
    assert main(command) == 0
    rows = {row["student"]: row for row in read(course / "grades.csv")}
    assert float(rows["ada"]["points"]) == automatic + 3.5
    assert rows["ada"]["to_mark"] == "0"
    assert {line["student"]: line["points"] for line in read(file)}["ada"] == "3.5"


def _write(file: Path, lines: list[dict[str, str]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def test_build_writes_student_versions_without_solutions(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["labs", "build", "--lab", "lab1"]) == 0
    text = (tmp_path / "build/labs/lab1_dice.ipynb").read_text("utf-8")
    assert "SOLUTION" not in text
    assert "HIDDEN" not in text
    assert "nothing is written here yet" in text
    assert zipfile.ZipFile(tmp_path / "build/labs/dsnotes-labs.zip").namelist() == ["dsnotes-labs/lab1_dice.ipynb"]
    assert "20 points" in capsys.readouterr().out
    notebook = json.loads(text)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


def test_a_student_checks_without_the_hidden_tests(tmp_path, monkeypatch, capsys):
    """Hard-coded answers pass what is visible; a failing test says its hint."""
    monkeypatch.chdir(tmp_path)
    known = next(each for each in WRONG[LAB.name] if each["name"] == "hard-coded answers")
    (tmp_path / "lab1_dice.ipynb").write_bytes(wrong_one(LAB, known))
    assert main(["labs", "check", "lab1_dice.ipynb"]) == 0
    out = capsys.readouterr().out
    assert "passed   test-best" in out
    assert "by hand  reflection" in out
    (tmp_path / "lab1_dice.ipynb").write_bytes(handed_in(LAB, {"loss": "dice_loss = lambda *a, **k: -1.0"}))
    assert main(["labs", "check", "lab1_dice.ipynb"]) == 1
    assert "a perfect answer must cost less than a poor one: mind the sign" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["grade", "nowhere"], "there is no folder nowhere; put each student's file into nowhere/<student>/"),
        (["grade", "nowhere", "--lab", "lab7"], "'lab7' names none of the labs"),
        (["grade", "nowhere", "--workers", "0"], "--workers 0 leaves nothing to grade with; give 1 or more"),
        (["grade", "nowhere", "--source", "empty"], "there are no labs in empty"),
        (["check", "mine.ipynb"], "mine.ipynb is none of the labs"),
        (["check", "lab1_dice.ipynb"], "there is no file lab1_dice.ipynb"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert main(["labs", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_name_that_a_spreadsheet_would_compute_is_tamed(tmp_path):
    from dsnotes.labs.results import _tame

    assert _tame("=1+1") == "'=1+1"
    assert _tame("ada") == "ada"


@pytest.mark.slow
def test_thirty_submissions_in_one_command(tmp_path, monkeypatch, capsys):
    """Of all labs, good and wrong, one of them hostile; prints how long it took."""
    monkeypatch.chdir(tmp_path)
    assert set(IN_CI) < set(LABS)
    made = [(lab, None) for lab in LABS.values()] + [(lab, w) for lab in LABS.values() for w in WRONG[lab.name]]
    for at, (lab, wrong) in enumerate(made[:29]):
        hand_in(tmp_path / "in", f"student{at:02}", lab.name, wrong_one(lab, wrong) if wrong else handed_in(lab))
    hand_in(tmp_path / "in", "zoe", LAB.name, handed_in(LAB, {"dice": f"COURSE = {str(tmp_path)!r}{HOSTILE}"}))
    began = time.monotonic()
    assert main(["labs", "grade", "in", "--cell-seconds", "60"]) == 0
    rows = read(tmp_path / "course" / "grades.csv")
    assert len(rows) == 30
    whole = {name: sum(points_by_test(lab).values()) for name, lab in LABS.items()}
    assert all(
        float(row["automatic"]) == whole[row["lab"]] for row in rows if row["student"] < f"student{len(LABS):02}"
    )
    board = read(tmp_path / "course" / "leaderboard.csv")
    assert board[0]["rank"] == "1"
    assert [float(row["value"]) for row in board] == sorted((float(row["value"]) for row in board), reverse=True)
    with capsys.disabled():
        print(f"\nthirty submissions in {time.monotonic() - began:.0f} s")


def test_every_source_opens():
    assert len(open_labs(LAB.path.parent)) == 5


@pytest.mark.slow
def test_a_course_of_nbgrader_s_own_is_graded_where_it_lies(tmp_path, monkeypatch):
    """Its configuration is heeded, what was handed in stays as it was, and nbgrader finds the points."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "spring" / "submitted" / "ada" / LAB.name / f"{LAB.name}.ipynb"
    place.parent.mkdir(parents=True)
    place.write_bytes(handed_in(LAB))
    config = "c = get_config()\nc.CourseDirectory.db_url = 'sqlite:///" + str(tmp_path / "elsewhere.db") + "'\n"
    (tmp_path / "spring" / "nbgrader_config.py").write_text(config)
    assert main(["labs", "grade", "--course", "spring", "--lab", "lab1"]) == 0
    assert place.read_bytes() == handed_in(LAB)
    assert (tmp_path / "elsewhere.db").is_file()
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{tmp_path / 'elsewhere.db'}") as book:
        assert book.find_submission(LAB.name, "ada").score == sum(points_by_test(LAB).values())
