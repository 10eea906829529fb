"""nbgrader's course folder: its assignments, its gradebook, its feedback; but what runs a submission is `examine`.

course/
  source/    the labs with solutions             submitted/   what was handed in, untouched
  release/   the student versions                executed/    the same, run, with the instructor's cells
  autograded/ feedback/ gradebook.db             grades.csv, reflections.csv, leaderboard.csv
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dsnotes.labs.examine import Sitting
from dsnotes.labs.source import STUB, UNANSWERED, Lab, is_locked, visible
from dsnotes.runs.source import RefusedError

GRADEBOOK = "gradebook.db"


class Course:
    """An nbgrader course, made where there is none; a `nbgrader_config.py` in it is heeded."""

    def __init__(self, root: Path) -> None:
        try:
            with quiet():
                import nbgrader  # noqa: F401
        except ModuleNotFoundError:
            raise RefusedError('this needs nbgrader; type: pip install -e ".[course]"') from None
        if root.exists() and not root.is_dir():
            raise RefusedError(f"{root} is a file; name a folder for the course, such as --course course")
        self.root = root.absolute()
        self.root.mkdir(parents=True, exist_ok=True)

    def release(self, labs: list[Lab]) -> dict[str, Path]:
        """The student version of each, its cells in the gradebook."""
        from nbgrader.converters import GenerateAssignment

        for lab in labs:
            place = self.root / "source" / lab.name / f"{lab.name}.ipynb"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(lab.notebook, indent=1, ensure_ascii=False), encoding="utf-8")
            self._convert(GenerateAssignment, lab.name)
        return {lab.name: self.root / "release" / lab.name / f"{lab.name}.ipynb" for lab in labs}

    def keep_submission(self, student: str, lab: str, file: bytes) -> None:
        place = self.root / "submitted" / student / lab / f"{lab}.ipynb"
        if not place.exists() or place.read_bytes() != file:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file)

    def mark(self, sitting: Sitting) -> None:
        """The points of what was run into the gradebook, and the page of feedback."""
        from nbgrader.converters import Autograde, GenerateFeedback

        paper = sitting.paper
        place = self.root / "executed" / paper.student / paper.lab / f"{paper.lab}.ipynb"
        shutil.rmtree(place.parent, ignore_errors=True)
        place.parent.mkdir(parents=True)
        notebook = {**paper.notebook, "cells": [_account(sitting), *paper.notebook["cells"]]}
        place.write_text(json.dumps(notebook), encoding="utf-8")
        stamp = self.root / "submitted" / paper.student / paper.lab / "timestamp.txt"
        if stamp.is_file():
            shutil.copy(stamp, place.parent)
        self._convert(Autograde, paper.lab, paper.student, submitted_directory="executed")
        shown = self.root / "autograded" / paper.student / paper.lab / f"{paper.lab}.ipynb"
        kept = shown.read_bytes()
        with _writable(shown):
            shown.write_text(_without_hidden(json.loads(kept)), encoding="utf-8")
            self._convert(GenerateFeedback, paper.lab, paper.student)
            shown.write_bytes(kept)

    def feedback(self, student: str, lab: str) -> Path:
        return self.root / "feedback" / student / lab / f"{lab}.html"

    def book(self) -> Any:
        """nbgrader's gradebook, to be used in a `with`."""
        with quiet():
            from nbgrader.api import Gradebook

            return Gradebook(self._coursedir().db_url)

    def _coursedir(self, **changed: str) -> Any:
        from nbgrader.coursedir import CourseDirectory

        return CourseDirectory(config=self._config(), root=str(self.root), **changed)

    def _config(self) -> Any:
        from traitlets.config import Config, PyFileConfigLoader

        config = Config()
        if (self.root / "nbgrader_config.py").is_file():
            config.merge(PyFileConfigLoader("nbgrader_config.py", path=str(self.root)).load_config())
        config.CourseDirectory.root = str(self.root)
        config.ClearSolutions.code_stub = {"python": STUB}
        config.ClearSolutions.text_stub = UNANSWERED
        config.Execute.enabled = config.ClearOutput.enabled = False  # the outputs are those of `examine`
        config.HTMLExporter.sanitize_html = True  # a submission's own markup stays out of the instructor's browser
        return config

    def _convert(self, converter: type, lab: str, student: str | None = None, **changed: str) -> None:
        with quiet():
            names = {"assignment_id": lab} | ({"student_id": student} if student else {})
            application = converter(coursedir=self._coursedir(**names, **changed), config=self._config())
            application.force = True
            heard = _Heard()
            application.log = heard.logger
            try:
                application.start()
            except (Exception, SystemExit) as error:
                whose = f"{student}, {lab}" if student else lab
                said = "; ".join(heard.lines[-3:]) or str(error)
                raise CourseError(f"nbgrader could not do {converter.__name__} for {whose}: {said}") from error


class CourseError(RefusedError):
    """nbgrader gave up on one notebook; the others are not concerned."""


class _Heard(logging.Handler):
    """What nbgrader complains of, kept instead of printed."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []
        self.logger = logging.Logger("dsnotes.labs", logging.ERROR)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage().strip().splitlines()[-1])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of nbgrader's own dependencies, which are nobody's concern here.

    nbgrader calls a script that was installed with it, by name: also where no environment is activated.
    """
    path = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), path])
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        os.environ["PATH"] = path


@contextlib.contextmanager
def _writable(path: Path) -> Iterator[None]:
    before = path.stat().st_mode
    path.chmod(before | 0o200)
    try:
        yield
    finally:
        path.chmod(before)


def _without_hidden(notebook: dict) -> str:
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and is_locked(cell):
            cell["source"] = visible("".join(cell["source"]))
    return json.dumps(notebook)


def _account(sitting: Sitting) -> dict:
    """The first cell of the feedback: how it was graded, and what happened."""
    happened = "\n".join(f"- {_literal(line)}" for line in sitting.paper.happened)
    text = f"**How this was graded:** run in {sitting.seconds:.0f} s, behind {sitting.wall}.\n\n" + (
        f"**What happened:**\n\n{happened}" if happened else "Nothing out of the ordinary happened."
    )
    return {"cell_type": "markdown", "id": "what-happened", "metadata": {}, "source": text}


def _literal(line: str) -> str:
    for mark in "\\`*_<>[]#$|":
        line = line.replace(mark, "\\" + mark if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return " ".join(line.split())
