"""Finds submissions in the layouts of course systems: folders, clones or a zip; nothing is unpacked to disk.

ada/lab1_dice.ipynb   ada/lab1_dice/lab1_dice.ipynb      by hand, nbgrader
doejohn_LATE_123_456_lab1_dice-1.ipynb                   Canvas, all submissions: 123 is the person
Jane Doe_789_assignsubmission_file_/lab1_dice.ipynb      Moodle, all submissions: 789 is the participant
lab1-octocat/lab1_dice.ipynb                             clones of GitHub Classroom
"""

from __future__ import annotations

import csv
import datetime
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath

from dsnotes.labs.source import Lab
from dsnotes.labs.submission import LARGEST
from dsnotes.runs.source import RefusedError

CANVAS = re.compile(r"(?P<name>[^_]*)(?P<late>_LATE)?_(?P<id>\d+)_\d+_(?P<file>.+)")
MOODLE = re.compile(r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_file_?")
# Names of a roster's columns; Canvas's gradebook and Moodle's worksheet work as rosters unchanged.
COLUMNS = {
    "student": ("student",),
    "name": ("name", "full name", "student"),
    "canvas_id": ("canvas_id", "id"),
    "moodle_id": ("moodle_id", "identifier"),
    "github": ("github", "github_username", "github username"),
    "login": ("login", "sis login id", "username"),
    "sis_id": ("sis_id", "sis user id", "id number"),
    "email": ("email", "email address"),
    "section": ("section",),
}


@dataclass(frozen=True)
class Student:
    """One line of the roster; `student` is the name used in our own files."""

    student: str
    name: str = ""
    canvas_id: str = ""
    moodle_id: str = ""
    github: str = ""
    login: str = ""
    sis_id: str = ""
    email: str = ""
    section: str = ""


@dataclass(frozen=True)
class Handed:
    content: bytes
    time: datetime.datetime
    late: bool = False  # marked late by Canvas


def read_roster(file: Path | None) -> list[Student]:
    if file is None:
        return []
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            lines = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RefusedError(f"cannot read the roster {file} ({error}); give a CSV file in UTF-8") from None
    found = []
    for line in lines:
        given = {
            (name or "").strip().lower(): (value or "").strip()
            for name, value in line.items()
            if isinstance(value, str)
        }
        row = {kind: next((given[n] for n in names if given.get(n)), "") for kind, names in COLUMNS.items()}
        row["moodle_id"] = row["moodle_id"].removeprefix("Participant ")
        if row["name"] == "Points Possible" or not any(
            row[each] for each in ("student", "canvas_id", "moodle_id", "github")
        ):
            continue
        row["student"] = safe(row["login"] or row["github"] or row["student"] or row["email"] or row["name"])
        found.append(Student(**row))
    if not found:
        wanted = ", ".join(each.name for each in fields(Student))
        raise RefusedError(f"the roster {file} has no students; its first line needs some of the columns {wanted}")
    return found


def safe(name: str) -> str:
    """A name that is valid for a folder; different names stay different."""
    kept = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]', "_", name).strip(". ")[:80] or "unnamed"
    return kept if kept == name else f"{kept}-{zlib.crc32(name.encode()):08x}"


def find(
    place: Path, labs: Sequence[Lab], roster: Sequence[Student] = ()
) -> tuple[dict[tuple[str, str], Handed], list[str]]:
    """`{(student, lab): submission}`, the latest of each, and the notebooks that match no student or lab.

    Everything is read before anything runs, so that no submission can change another.
    """
    found: dict[tuple[str, str], Handed] = {}
    others = []
    for parts, time, read in _files(place):
        whose = _student_and_lab(parts, labs, roster)
        if whose is None:
            others.append("/".join(parts))
            continue
        student, lab, late = whose
        if (student, lab) not in found or time >= found[student, lab].time:
            found[student, lab] = Handed(read(), time, late)
    if not found:
        beside = f" ({', '.join(others[:3])} …)" if others else ""
        raise RefusedError(
            f"{place} holds no submission{beside}; give Canvas's or Moodle's download, or put each student's file into "
            f"<student>/{labs[0].name}.ipynb"
        )
    return found, others


def _files(place: Path) -> Iterator[tuple[tuple[str, ...], datetime.datetime, Callable[[], bytes]]]:
    if place.is_dir():
        for path in sorted(place.rglob("*.ipynb")):
            inside = path.relative_to(place).parts
            if path.is_file() and not any(part.startswith(".") for part in inside):
                link = path.is_symlink() or path.stat().st_size > LARGEST
                time = datetime.datetime.fromtimestamp(path.lstat().st_mtime)
                yield inside, time, (lambda: b"a link, or too large for a notebook") if link else path.read_bytes
        return
    if not zipfile.is_zipfile(place):
        raise RefusedError(
            f"{place} is neither a folder nor a zip; give the folder of submissions, or Canvas's or Moodle's zip"
        )
    with zipfile.ZipFile(place) as archive:
        for entry in archive.infolist():
            inside = PurePosixPath(entry.filename.replace("\\", "/")).parts
            if entry.is_dir() or not inside or not inside[-1].endswith(".ipynb"):
                continue
            if not any(part.startswith((".", "__MACOSX")) for part in inside):
                yield inside, datetime.datetime(*entry.date_time), lambda entry=entry: _unzipped(archive, entry)


def _unzipped(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Read one member into memory, up to the size limit of a notebook."""
    try:
        with archive.open(entry) as stream:
            content = stream.read(LARGEST + 1)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
        return f"a damaged member of the zip: {error}".encode()
    return content if len(content) <= LARGEST else b"too large for a notebook"


def _student_and_lab(
    parts: tuple[str, ...], labs: Sequence[Lab], roster: Sequence[Student]
) -> tuple[str, str, bool] | None:
    stem = parts[-1].removesuffix(".ipynb")
    if (flat := CANVAS.fullmatch(stem)) and (lab := lab_named(flat["file"], labs)):
        return _listed(roster, f"{flat['name']}_{flat['id']}", canvas_id=flat["id"]), lab.name, bool(flat["late"])
    lab = lab_named(stem, labs)
    if lab is None or len(parts) < 2:
        return None
    for folder in reversed(parts[:-1]):
        if moodle := MOODLE.fullmatch(folder):
            return _listed(roster, moodle["name"], moodle_id=moodle["id"]), lab.name, False
    folders = [part for part in parts[:-1] if part != lab.name]
    if not folders:
        return None
    user = re.sub(rf"^({re.escape(lab.name)}|{lab.name.split('_')[0]})-", "", folders[-1])
    known = [each.student for each in roster if each.github and folders[-1].lower().endswith(f"-{each.github.lower()}")]
    return known[0] if known else _listed(roster, user, github=user, login=user, name=user), lab.name, False


def _listed(roster: Sequence[Student], otherwise: str, **known: str) -> str:
    """The roster's name for a person, by the first of these keys that matches."""
    for kind, value in known.items():
        for each in roster:
            if value and getattr(each, kind).lower() == value.lower():
                return each.student
    return safe(otherwise)


def lab_named(stem: str, labs: Sequence[Lab]) -> Lab | None:
    """The lab that a file's name belongs to; also matches `lab2_depths (1)`, `lab2_depths-1` and `lab2`."""
    for lab in labs:
        short = lab.name.split("_")[0]
        if stem == short or re.match(rf"({re.escape(lab.name)}|{short}_)(?![0-9a-z])|{short}[ (-]", stem + " "):
            return lab
    return None
