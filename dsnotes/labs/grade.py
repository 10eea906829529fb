"""Everything handed in, graded in one go: read, run, entered, written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dsnotes.labs import results
from dsnotes.labs.course import Course, CourseError
from dsnotes.labs.examine import Sitting, examine
from dsnotes.labs.source import folder_of_labs, open_labs
from dsnotes.labs.submission import find, paper_of
from dsnotes.labs.wall import Limits


@dataclass(frozen=True)
class Graded:
    rows: list[results.Row]
    sittings: list[Sitting]
    failed: list[str]  # what nbgrader could not enter
    others: list[str]  # notebooks that are no submission
    grades: Path
    reflections: Path
    wall: str


def grade(
    submissions: str | os.PathLike | None,
    *,
    course: str | os.PathLike = "course",
    source: str | os.PathLike | None = None,
    names: list[str] | None = None,
    limits: Limits | None = None,
    workers: int = 1,
    namespaces: bool = True,
    tell: Callable[[str], object] | None = None,
) -> Graded:
    """Points in the gradebook and in CSV, a page of feedback for everyone.

    Nothing is written into the course while a submission runs: whatever one of them does, the gradebook is not open.
    """
    folder = folder_of_labs(source)
    labs = open_labs(folder, names)
    by_name = {lab.name: lab for lab in labs}
    taken = Path(submissions) if submissions is not None else Path(course) / "submitted"
    files, others = find(taken, labs)
    room = Course(Path(course))
    marks = results.read_marks(room)
    room.release(labs)
    papers = [paper_of(student, by_name[lab], file) for (student, lab), file in files.items()]
    sittings = []
    hidden = [folder.resolve(), taken.resolve(), room.root]
    for sitting in examine(papers, limits=limits, workers=workers, hidden=_apart(hidden), namespaces=namespaces):
        sittings.append(sitting)
        if tell is not None:
            tell(f"{len(sittings)}/{len(papers)} run  {sitting.paper.student}, {sitting.paper.lab}")
    failed = []
    for at, sitting in enumerate(sittings, start=1):
        paper = sitting.paper
        room.keep_submission(paper.student, paper.lab, files[paper.student, paper.lab])
        try:
            room.mark(sitting)
        except CourseError as error:
            failed.append(str(error))
        if tell is not None:
            tell(f"{at}/{len(papers)} entered  {paper.student}, {paper.lab}")
    results.enter_marks(room, marks)
    rows = results.rows(room, labs, {paper.student for paper in papers})
    results.write_leaderboard(room, sittings)
    return Graded(
        rows,
        sittings,
        failed,
        others,
        results.write_grades(room, rows, sittings),
        results.write_reflections(room, labs, sittings, marks),
        ", ".join(sorted({each.wall for each in sittings if each.paper.read})),
    )


def _apart(folders: list[Path]) -> list[Path]:
    """Without those that lie within another of them, and never the temporary folder that submissions run in."""
    temporary = Path(tempfile.gettempdir()).resolve()
    kept = [f for f in folders if not any(f != other and f.is_relative_to(other) for other in folders)]
    return [f for f in dict.fromkeys(kept) if not temporary.is_relative_to(f)]
