"""What people read and fill in: grades.csv, reflections.csv, leaderboard.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from dsnotes.labs.course import Course
from dsnotes.labs.examine import Sitting
from dsnotes.labs.source import Lab, is_locked, points_of
from dsnotes.labs.submission import is_empty
from dsnotes.runs.source import RefusedError
from dsnotes.safety.atomic import atomic

GRADES, REFLECTIONS, LEADERBOARD = "grades.csv", "reflections.csv", "leaderboard.csv"
TO_MARK = ("student", "lab", "cell", "most", "points", "comment", "answer")


@dataclass(frozen=True)
class Row:
    """One student's points in one lab, as the gradebook has them."""

    student: str
    lab: str
    automatic: float
    by_hand: float
    most: float
    to_mark: int  # answers that nobody has marked yet
    tests: dict[str, float]

    @property
    def points(self) -> float:
        return self.automatic + self.by_hand


def read_marks(course: Course) -> dict[tuple[str, str, str], tuple[float, str]]:
    """What was filled into reflections.csv; a mark that cannot be is refused before anything is graded."""
    file, marks = course.root / REFLECTIONS, {}
    if not file.is_file():
        return marks
    with file.open(newline="", encoding="utf-8-sig") as stream:
        for line, row in enumerate(csv.DictReader(stream), start=2):
            if not (row.get("points") or "").strip():
                continue
            try:
                points = float(row["points"].replace(",", "."))
                most = float(row["most"])
            except (ValueError, KeyError, TypeError):
                raise RefusedError(
                    f"{file}, line {line}: points={row['points']!r} is no number; write such as 2.5"
                ) from None
            if not 0 <= points <= most:
                raise RefusedError(
                    f"{file}, line {line}: points={points:g}, but this answer has 0 to {most:g}; correct it"
                )
            marks[row["student"], row["lab"], row["cell"]] = (points, row.get("comment") or "")
    return marks


def enter_marks(course: Course, marks: dict[tuple[str, str, str], tuple[float, str]]) -> None:
    with course.book() as book:
        for (student, lab, cell), (points, comment) in marks.items():
            try:
                grade = book.find_grade(cell, lab, lab, student)
            except Exception as error:
                if type(error).__name__ != "MissingEntry":
                    raise
                continue  # a mark of somebody whose submission is gone is kept in the file
            grade.manual_score, grade.needs_manual_grade = points, False
            if comment:
                book.find_comment(cell, lab, lab, student).manual_comment = comment
        book.db.commit()


def rows(course: Course, labs: list[Lab], students: set[str] | None = None) -> list[Row]:
    found, wanted = [], {lab.name: lab for lab in labs}
    with course.book() as book:
        for name, lab in wanted.items():
            for submission in book.assignment_submissions(name):
                if students is not None and submission.student.id not in students:
                    continue
                grades = [
                    grade for notebook in submission.notebooks for grade in notebook.grades if grade.name in lab.cells
                ]
                tests = {grade.name: _score(grade) for grade in grades if is_locked(lab.cells[grade.name])}
                by_hand = sum(_score(grade) for grade in grades if grade.name not in tests)
                to_mark = sum(bool(grade.needs_manual_grade) for grade in grades)
                most, automatic = lab.points, sum(tests.values())
                found.append(Row(submission.student.id, name, automatic, by_hand, most, to_mark, tests))
    return sorted(found, key=lambda row: (row.lab, row.student))


def _score(grade) -> float:
    score = grade.manual_score if grade.manual_score is not None else grade.auto_score
    return float(score or 0)


def write_grades(course: Course, found: list[Row], sittings: list[Sitting]) -> Path:
    ran = {(each.paper.student, each.paper.lab): each for each in sittings}
    lines = []
    for row in found:
        sitting = ran.get((row.student, row.lab))
        lines.append(
            {"student": row.student, "lab": row.lab, "points": f"{row.points:g}", "most": f"{row.most:g}"}
            | {"automatic": f"{row.automatic:g}", "by_hand": f"{row.by_hand:g}", "to_mark": row.to_mark}
            | {"seconds": f"{sitting.seconds:.1f}" if sitting else ""}
            | {"happened": " ".join(sitting.paper.happened) if sitting else ""}
            | {"tests": " ".join(f"{name}={points:g}" for name, points in row.tests.items())}
        )
    return _write(course.root / GRADES, lines, tuple(lines[0]) if lines else ("student", "lab", "points"))


def write_reflections(
    course: Course, labs: list[Lab], sittings: list[Sitting], marks: dict[tuple[str, str, str], tuple[float, str]]
) -> Path:
    """One line an answer that a person has to mark; what was filled in stays, also that of students not in this run."""
    lines = {}
    file = course.root / REFLECTIONS
    if file.is_file():
        with file.open(newline="", encoding="utf-8-sig") as stream:
            lines = {(row["student"], row["lab"], row["cell"]): row for row in csv.DictReader(stream)}
    for sitting in sittings:
        paper = sitting.paper
        (lab,) = (lab for lab in labs if lab.name == paper.lab)
        for name, cell in lab.cells.items():
            if is_locked(cell) or not points_of(cell):
                continue
            key = (paper.student, paper.lab, name)
            (mine,) = (c for c in paper.notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == name)
            points, comment = marks.get(key, ("0" if is_empty(mine) else "", ""))
            given = f"{points:g}" if isinstance(points, float) else points
            lines[key] = dict(zip(TO_MARK, (*key, f"{points_of(cell):g}", given, comment, mine["source"]), strict=True))
    return _write(file, [lines[key] for key in sorted(lines)], TO_MARK)


def write_leaderboard(course: Course, sittings: list[Sitting]) -> list[tuple[str, str, float]]:
    """Every figure that a lab records, best first; lines of labs that were not graded now stay."""
    file, columns = course.root / LEADERBOARD, ("rank", "score", "value", "student", "lab")
    now = {(s.paper.student, s.paper.lab) for s in sittings}
    kept = []
    if file.is_file():
        with file.open(newline="", encoding="utf-8-sig") as stream:
            kept = [r for r in csv.DictReader(stream) if (r["student"], r["lab"]) not in now]
    board = [(row["score"], float(row["value"]), row["student"], row["lab"]) for row in kept]
    board += [(name, v, s.paper.student, s.paper.lab) for s in sittings for name, v in s.scores.items() if v == v]
    board.sort(key=lambda row: (row[3], row[0], -row[1], row[2]))
    lines, rank, before = [], 0, None
    for score, value, student, lab in board:
        rank = rank + 1 if (lab, score) == before else 1
        before = (lab, score)
        lines.append(dict(zip(columns, (rank, score, f"{value:.4f}", student, lab), strict=True)))
    if lines:
        _write(file, lines, columns)
    return [(row[2], row[0], row[1]) for row in board]


def _write(file: Path, lines: list[dict], columns: tuple[str, ...]) -> Path:
    """Whole or not at all. A text that a spreadsheet would take for a formula is led by an apostrophe."""
    with atomic(file, "w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({name: _tame(value) for name, value in line.items()} for line in lines)
    return file


def _tame(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
