"""Grades all submissions: reads, runs, saves and publishes them."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsnotes.labs import feedback
from dsnotes.labs.autograder import autograde
from dsnotes.labs.gradebook import Course, Row
from dsnotes.labs.intake import Handed, find, read_roster
from dsnotes.labs.sandbox import Limits, Sandbox
from dsnotes.labs.source import Lab
from dsnotes.labs.submission import submission_of
from dsnotes.runs.source import RefusedError


@dataclass(frozen=True)
class Lateness:
    """Days late by the file's time, or as given for a student; each costs a percentage of the points."""

    due: datetime.datetime | None = None
    days: Mapping[str, int] | None = None
    percent: float = 0

    def of(self, student: str, handed: Handed) -> int:
        if student in (self.days or {}):
            return self.days[student]
        if self.due is None or handed.time <= self.due:
            return 0
        return -(-(handed.time - self.due) // datetime.timedelta(days=1))


def grade(
    submissions: Path | None,
    folder: Path,
    labs: Sequence[Lab],
    *,
    course: Path,
    sandbox: Sandbox,
    limits: Limits,
    workers: int = 1,
    roster: Path | None = None,
    students: Sequence[str] = (),
    lateness: Lateness | None = None,
    seed: int | None = None,
    tell: Callable[[str], object] = lambda line: None,
) -> tuple[list[Row], list[str]]:
    """The rows of the submissions graded now, and notes; the course's tables contain everybody's."""
    listed = read_roster(roster)
    room, lateness = Course(course), lateness or Lateness()
    files, others = find(submissions or room.root / "submitted", labs, listed)
    told = [f"{other} was skipped: it matches no lab or no student" for other in others]
    if unknown := set(students) - {student for student, _ in files}:
        known = ", ".join(sorted({student for student, _ in files})[:10])
        raise RefusedError(f"no submission from {', '.join(sorted(unknown))}; there are {known}")
    room.marks()  # a wrong mark is reported before anything runs
    by_name = {lab.name: lab for lab in labs}
    chosen = {key: handed for key, handed in files.items() if not students or key[0] in students}
    jobs = [submission_of(student, by_name[lab], handed.content) for (student, lab), handed in chosen.items()]
    graded = autograde(jobs, folder, sandbox=sandbox, seed=room.seed(seed), limits=limits, workers=workers)
    for at, (submission, attempt) in enumerate(zip(jobs, graded, strict=True), start=1):
        key = (submission.student, submission.lab)
        page = feedback.page(submission, attempt, by_name[submission.lab])
        days = lateness.of(submission.student, chosen[key])
        room.keep(submission, attempt, chosen[key].content, page, days)
        if chosen[key].late and not days:
            told.append(f"Canvas marks {key[0]}, {key[1]} as late; give --late {key[0]}=DAYS, or --due")
        tell(f"{at}/{len(jobs)} graded  {key[0]}, {key[1]}")
    rows = room.publish(labs, listed, lateness.percent)
    if listed and (strangers := sorted({row.student for row in rows} - {each.student for each in listed})):
        told.append(f"not in the roster: {', '.join(strangers)}")
    return [row for row in rows if (row.student, row.lab) in chosen], told
