"""A course's folder: submissions, every attempt as JSON, and the tables, which are rewritten each time.

course/
  submitted/<student>/<lab>.ipynb      feedback/<student>/<lab>.html      attempts/<student>/<lab>.json
  dsnotes-grades.csv  reflections.csv  leaderboard.csv  canvas.csv  moodle-<lab>.csv      seed (of the hidden inputs)
"""

from __future__ import annotations

import csv
import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsnotes.labs.autograder import Attempt
from dsnotes.labs.intake import Student
from dsnotes.labs.source import Lab, id_of, is_locked, points_of
from dsnotes.labs.submission import Submission, is_empty
from dsnotes.runs.source import RefusedError
from dsnotes.safety.atomic import atomic

GRADES, REFLECTIONS, LEADERBOARD = "dsnotes-grades.csv", "reflections.csv", "leaderboard.csv"
MARKS = ("student", "lab", "cell", "most", "points", "comment", "answer")
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Row:
    """One student's points in one lab."""

    student: str
    lab: str
    automatic: float
    by_hand: float
    most: float
    to_mark: int  # answers not marked yet
    late_days: int
    percent: float  # percent taken off for being late
    attempt: dict

    @property
    def points(self) -> float:
        return round((self.automatic + self.by_hand) * max(0.0, 1 - self.percent / 100), 2)


class Course:
    def __init__(self, root: Path) -> None:
        if root.exists() and not root.is_dir():
            raise RefusedError(f"{root} is a file; name a folder for the course, such as --course course")
        self.root = root.absolute()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RefusedError(
                f"cannot create the folder {root} ({error.strerror}); name another one: --course FOLDER"
            ) from None

    def seed(self, given: int | None) -> int:
        """The seed of the hidden tests' inputs, drawn once per course, so that everybody gets the same inputs."""
        file = self.root / "seed"
        if given is not None or not file.is_file():
            file.write_text(str(secrets.randbelow(2**31) if given is None else given), encoding="utf-8")
        return int(file.read_text(encoding="utf-8"))

    def keep(self, submission: Submission, attempt: Attempt, file: bytes, page: str, late_days: int) -> None:
        where = (attempt.student, attempt.lab)
        answers = {id_of(c): c["source"] for c in submission.cells if id_of(c) and points_of(c) and not is_locked(c)}
        empty = [id_of(c) for c in submission.cells if id_of(c) in answers and is_empty(c)]
        told = attempt.to_dict() | {"outputs": {}, "answers": answers, "empty": empty, "late_days": late_days}
        self._write("submitted", *where, "ipynb", file)
        self._write("feedback", *where, "html", page.encode())
        self._write("attempts", *where, "json", json.dumps(told, indent=1).encode())

    def _write(self, kind: str, student: str, lab: str, suffix: str, content: bytes) -> None:
        place = self.root / kind / student / f"{lab}.{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic(place) as stream:
            stream.write(content)

    def attempts(self) -> list[dict]:
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.root.glob("attempts/*/*.json"))]

    def marks(self) -> dict[tuple[str, str, str], tuple[float, str]]:
        """The marks in reflections.csv; an invalid mark is reported before anything is graded."""
        marks = {}
        for line, row in enumerate(self._read(REFLECTIONS), start=2):
            if not (row.get("points") or "").strip():
                continue
            try:
                points, most = float(row["points"].replace(",", ".")), float(row["most"])
            except (ValueError, KeyError, TypeError):
                points, most = -1.0, 0.0
            if not 0 <= points <= most:
                where = f"{self.root / REFLECTIONS}, line {line}"
                raise RefusedError(f"{where}: points={row['points']!r}, but this answer has 0 to {most:g}; correct it")
            marks[row["student"], row["lab"], row["cell"]] = (points, row.get("comment") or "")
        return marks

    def _read(self, name: str) -> Iterator[dict[str, str]]:
        if (self.root / name).is_file():
            with (self.root / name).open(newline="", encoding="utf-8-sig") as stream:
                for row in csv.DictReader(stream):
                    yield {k: _unescape_formula(v) for k, v in row.items() if isinstance(k, str) and isinstance(v, str)}

    def publish(self, labs: Sequence[Lab], roster: Sequence[Student], late_percent: float) -> list[Row]:
        """Write all tables, from all attempts in this course, of these labs and of others."""
        marks, attempts = self.marks(), self.attempts()
        known = {lab.name: lab for lab in labs}
        rows = [_row(each, known[each["lab"]], marks, late_percent) for each in attempts if each["lab"] in known]
        table(self.root / GRADES, [_line(row) for row in rows])
        self._reflections([a for a in attempts if a["lab"] in known], known, marks)
        table(self.root / LEADERBOARD, leaderboard(attempts), ("rank", "score", "value", "student", "lab"))
        if roster:
            table(self.root / "canvas.csv", list(_canvas(rows, roster, labs)))
            for lab in labs:
                table(self.root / f"moodle-{lab.name}.csv", list(_moodle(rows, roster, lab)))
        return rows

    def _reflections(self, attempts: list[dict], labs: dict[str, Lab], marks: dict) -> None:
        """One line for each answer to mark by hand; lines of labs that are not in `labs` stay."""
        lines = [row for row in self._read(REFLECTIONS) if row["lab"] not in labs]
        for each in attempts:
            for cell, answer in each["answers"].items():
                key = (each["student"], each["lab"], cell)
                points, comment = marks.get(key, (0.0 if cell in each["empty"] else None, ""))
                most = points_of(labs[each["lab"]].cells[cell])
                given = "" if points is None else f"{points:g}"
                lines.append(dict(zip(MARKS, (*key, f"{most:g}", given, comment, answer), strict=True)))
        table(self.root / REFLECTIONS, lines, MARKS)


def _row(attempt: dict, lab: Lab, marks: dict, late_percent: float) -> Row:
    student, name = attempt["student"], attempt["lab"]
    given = {cell: marks.get((student, name, cell)) for cell in attempt["answers"]}
    by_hand = sum(mark[0] for mark in given.values() if mark)
    to_mark = sum(mark is None and cell not in attempt["empty"] for cell, mark in given.items())
    automatic, late = sum(attempt["points"].values()), attempt["late_days"]
    return Row(student, name, automatic, by_hand, lab.points, to_mark, late, late * late_percent, attempt)


def _line(row: Row) -> dict[str, Any]:
    told = row.attempt
    return {
        **{"student": row.student, "lab": row.lab, "points": f"{row.points:g}", "most": f"{row.most:g}"},
        **{"automatic": f"{row.automatic:g}", "by_hand": f"{row.by_hand:g}", "to_mark": row.to_mark},
        **{"late_days": row.late_days, "seconds": f"{told['seconds']:.1f}", "sandbox": told["sandbox"]},
        **{"notes": " ".join(told["notes"]), "tests": " ".join(f"{k}={v:g}" for k, v in told["points"].items())},
    }


def leaderboard(attempts: Iterable[dict]) -> list[dict[str, Any]]:
    """Every score that the labs' tests recorded, best first; ties share a rank."""
    board = sorted((a["lab"], name, -v, a["student"]) for a in attempts for name, v in a["scores"].items())
    lines = []
    for lab, score, value, student in board:
        better = sum(each[:2] == (lab, score) and each[2] < value for each in board)
        lines.append({"rank": better + 1, "score": score, "value": f"{-value:.4f}", "student": student, "lab": lab})
    return lines


def _canvas(rows: list[Row], roster: Sequence[Student], labs: Sequence[Lab]) -> Iterator[dict[str, Any]]:
    """Canvas's own columns; an id in an assignment's title, "Lab 1 (321)", matches it to the existing assignment."""
    points = {(row.student, row.lab): f"{row.points:g}" for row in rows}
    head = dict.fromkeys(("ID", "SIS User ID", "SIS Login ID", "Section"), "")
    yield {"Student": "Points Possible", **head} | {lab.title: f"{lab.points:g}" for lab in labs}
    for each in roster:
        if each.canvas_id:
            ids = dict(zip(head, (each.canvas_id, each.sis_id, each.login, each.section), strict=True))
            yield {"Student": each.name, **ids} | {lab.title: points.get((each.student, lab.name), "") for lab in labs}


def _moodle(rows: list[Row], roster: Sequence[Student], lab: Lab) -> Iterator[dict[str, Any]]:
    """Moodle's grading worksheet."""
    points = {row.student: f"{row.points:g}" for row in rows if row.lab == lab.name}
    for each in roster:
        if each.moodle_id and each.student in points:
            who = {"Identifier": f"Participant {each.moodle_id}", "Full name": each.name, "Email address": each.email}
            yield who | {"Grade": points[each.student], "Maximum Grade": f"{lab.points:g}"}


def table(file: Path, lines: list[dict], columns: Sequence[str] = ()) -> Path:
    """Write atomically. Text that a spreadsheet would read as a formula gets a leading apostrophe."""
    with atomic(file, "w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.DictWriter(stream, columns or tuple(lines[0] if lines else ()), extrasaction="ignore")
        writer.writeheader()
        writer.writerows({name: _escape_formula(value) for name, value in line.items()} for line in lines)
    return file


def _escape_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _unescape_formula(value: str) -> str:
    return value[1:] if value.startswith("'") and value[1:].startswith(FORMULA) else value
