"""Submissions as Canvas, Moodle and GitHub Classroom hand them over, and grades as the first two want them back."""

from __future__ import annotations

import csv
import datetime
import zipfile
from pathlib import Path

import pytest
from coursework import LABS, handed_in

from dsnotes.labs.autograder import Attempt
from dsnotes.labs.feedback import page
from dsnotes.labs.grade import Lateness
from dsnotes.labs.gradebook import Course, leaderboard
from dsnotes.labs.intake import Handed, find, read_roster, safe
from dsnotes.labs.submission import LARGEST, submission_of
from dsnotes.runs.source import RefusedError

LAB, SECOND = LABS["lab1_dice"], LABS["lab2_depths"]
ROSTER = "\n".join(
    [
        "student,name,canvas_id,moodle_id,github,email,login",
        'ada,"Lovelace, Ada ""AL""",123,789,octocat,ada@uni.example,ada',
        "eve,\"=cmd|' /C calc'!A0\",124,790,Mallory,eve@uni.example,=1+1",
    ]
)


def put(folder: Path, *places: str) -> Path:
    for place in places:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(place.encode())
    return folder


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ("ada/lab1_dice.ipynb", ("ada", "lab1_dice")),
        ("ben/lab1_dice/lab1_dice.ipynb", ("ben", "lab1_dice")),
        ("loveladeada_123_4567_lab1_dice.ipynb", ("ada", "lab1_dice")),
        ("strangeruser_999_4567_lab1_dice-2.ipynb", ("strangeruser_999", "lab1_dice")),
        ("loveladeada_LATE_123_4567_lab2_depths (1).ipynb", ("ada", "lab2_depths")),
        ("Ada Lovelace_789_assignsubmission_file_/lab1_dice.ipynb", ("ada", "lab1_dice")),
        ("lab1-octocat/lab1_dice.ipynb", ("ada", "lab1_dice")),
        ("lab1-submissions/lab1-mallory/lab1_dice.ipynb", ("=1+1", "lab1_dice")),
        ("lab2-new-user/lab2_depths.ipynb", ("new-user", "lab2_depths")),
        ("lab1_dice.ipynb", None),
        ("eve/other.ipynb", None),
        ("eve/lab12_dice.ipynb", None),
        ("eve/.ipynb_checkpoints/lab1_dice.ipynb", None),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_every_layout_is_found(tmp_path, place, key, zipped):
    (tmp_path / "roster.csv").write_text(ROSTER)
    folder = put(tmp_path / "in", place, "zed/lab1_dice.ipynb")
    if zipped:
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
            for path in folder.rglob("*.ipynb"):
                archive.write(path, path.relative_to(folder))
        folder = tmp_path / "in.zip"
    found, _ = find(folder, [LAB, SECOND], read_roster(tmp_path / "roster.csv"))
    assert set(found) == {("zed", "lab1_dice"), *([key] if key else [])}
    if key:
        assert found[key].content == place.encode()
        assert found[key].late == ("LATE" in place)


def test_the_latest_of_several_counts_and_nothing_leaves_the_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        names = {2: "ada_1_2_lab1_dice-1.ipynb", 1: "ada_1_1_lab1_dice.ipynb", 3: "../../x/lab1_dice.ipynb"}
        for day, name in names.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, day, 0, 0, 0)), name)
        archive.writestr("bomb/lab1_dice.ipynb", bytes(LARGEST + 2))
    found, _ = find(tmp_path / "in.zip", [LAB])
    assert found["ada_1", "lab1_dice"].content == b"ada_1_2_lab1_dice-1.ipynb"
    assert found["bomb", "lab1_dice"].content == b"too large for a notebook"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.zip"]


def test_a_damaged_zip_costs_what_is_damaged(tmp_path):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr("ada/lab1_dice.ipynb", handed_in(LAB))
    content = bytearray((tmp_path / "in.zip").read_bytes())
    content[200] ^= 255
    (tmp_path / "in.zip").write_bytes(content)
    found, _ = find(tmp_path / "in.zip", [LAB])
    submission = submission_of("ada", LAB, found["ada", "lab1_dice"].content)
    assert not submission.read


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "secret.ipynb").write_bytes(handed_in(LAB))
    (tmp_path / "in" / "eve").mkdir(parents=True)
    (tmp_path / "in" / "eve" / "lab1_dice.ipynb").symlink_to(tmp_path / "secret.ipynb")
    found, _ = find(tmp_path / "in", [LAB])
    assert not submission_of("eve", LAB, found["eve", "lab1_dice"].content).read


def test_a_name_is_one_folder_and_two_names_are_two():
    assert safe('Ada, the "first"') != safe("Ada, the 'first'")
    assert safe("ada") == "ada"
    for name in ("../..", "a/b", "", "..\\x", ".ssh"):
        assert "/" not in safe(name)
        assert not safe(name).startswith(".")
    assert len({safe(name) for name in ("a/b", "a\\b", "a_b")}) == 3


def test_what_cannot_be_is_said(tmp_path):
    with pytest.raises(RefusedError, match="is neither a folder nor a zip"):
        find(tmp_path / "nowhere", [LAB])
    with pytest.raises(RefusedError, match=r"holds no submission.*put each student's file into"):
        find(tmp_path, [LAB])
    (tmp_path / "roster.csv").write_text("a,b\n1,2\n")
    with pytest.raises(RefusedError, match="its first line needs some of the columns student,"):
        read_roster(tmp_path / "roster.csv")


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def course_of(tmp_path: Path, points: dict[str, int], **more) -> Course:
    course = Course(tmp_path / "course")
    for student, value in points.items():
        submission = submission_of(student, LAB, handed_in(LAB))
        attempt = Attempt(student, LAB.name, {"test-dice": value}, scores=more.get("scores", {}).get(student, {}))
        course.keep(submission, attempt, b"file", page(submission, attempt, LAB), more.get("late", 0))
    return course


def test_grades_go_back_by_ids_with_names_that_a_spreadsheet_would_compute(tmp_path):
    (tmp_path / "roster.csv").write_text(ROSTER)
    roster = read_roster(tmp_path / "roster.csv")
    course = course_of(tmp_path, {"ada": 3, "=1+1": 1})
    course.publish([LAB], roster, 0)
    possible, ada, eve = read(course.root / "canvas.csv")
    assert (possible["Student"], possible[LAB.title]) == ("Points Possible", "20")
    assert (ada["ID"], ada["Student"], ada[LAB.title]) == ("123", 'Lovelace, Ada "AL"', "3")
    assert (eve["ID"], eve["Student"], eve[LAB.title]) == ("124", "'=cmd|' /C calc'!A0", "1")
    moodle = read(course.root / "moodle-lab1_dice.csv")
    assert [(row["Identifier"], row["Grade"], row["Maximum Grade"]) for row in moodle] == [
        ("Participant 789", "3", "20"),
        ("Participant 790", "1", "20"),
    ]
    raw = (course.root / "dsnotes-grades.csv").read_text("utf-8-sig")
    assert "\n'=1+1," in raw
    assert not (course.root / "grades.csv").exists()  # the name that `nbgrader export` writes to


def test_canvas_s_own_gradebook_is_a_roster(tmp_path):
    text = 'Student,ID,SIS User ID,SIS Login ID,Section\nPoints Possible,,,,\n"Lovelace, Ada",123,s1,ada,A\n'
    (tmp_path / "canvas.csv").write_text(text, encoding="utf-8-sig")
    (student,) = read_roster(tmp_path / "canvas.csv")
    assert (student.student, student.name, student.canvas_id, student.sis_id) == ("ada", "Lovelace, Ada", "123", "s1")


def test_marks_by_hand_survive_and_a_wrong_one_is_refused(tmp_path):
    course = course_of(tmp_path, {"ada": 3, "=1+1": 1})
    (ada,) = (row for row in course.publish([LAB], [], 0) if row.student == "ada")
    assert (ada.points, ada.to_mark) == (3, 1)
    lines = read(course.root / "reflections.csv")
    for name, points in (("ada", "3,5"), ("'=1+1", "2")):
        next(line for line in lines if line["student"] == name)["points"] = points
    write(course.root / "reflections.csv", lines)
    rows = {row.student: row for row in course.publish([LAB], [], 0)}
    assert (rows["ada"].points, rows["ada"].to_mark, rows["=1+1"].points) == (6.5, 0, 3)
    assert rows == {row.student: row for row in course.publish([LAB], [], 0)}
    for wrong in ("99", "-1", "many", "nan"):
        lines[0]["points"] = wrong
        write(course.root / "reflections.csv", lines)
        with pytest.raises(RefusedError, match=f"points='{wrong}', but this answer has 0 to .*; correct it"):
            course.marks()


def write(file: Path, lines: list[dict[str, str]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def test_late_days_cost_their_share(tmp_path):
    due = datetime.datetime(2026, 11, 30, 23, 59)
    late = Lateness(due, {"ben": 0}, 10)
    at = {"ada": due + datetime.timedelta(hours=1), "ben": due + datetime.timedelta(days=9), "cem": due}
    assert {name: late.of(name, Handed(b"", time)) for name, time in at.items()} == {"ada": 1, "ben": 0, "cem": 0}
    assert late.of("dan", Handed(b"", due + datetime.timedelta(days=1, seconds=1))) == 2
    (row,) = course_of(tmp_path, {"ada": 3}, late=2).publish([LAB], [], 10)
    assert row.points == pytest.approx(2.4)


def test_the_leaderboard_shares_ranks(tmp_path):
    scores = {name: {"Dice": value} for name, value in (("ada", 0.5), ("ben", 0.7), ("cem", 0.5), ("dan", 0.1))}
    course = course_of(tmp_path, dict.fromkeys(scores, 1), scores=scores)
    assert [(row["student"], row["rank"]) for row in leaderboard(course.attempts())] == [
        *(("ben", 1), ("ada", 2), ("cem", 2), ("dan", 4))
    ]
