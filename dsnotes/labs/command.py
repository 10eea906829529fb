"""`dsnotes labs build | grade | check | doctor`."""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import sys
import time
import zipfile
from pathlib import Path

from dsnotes.runs.source import RefusedError
from dsnotes.runs.terminal import Terminal

RED, PLAIN = "\x1b[1;31m", "\x1b[0m"


def add_labs(commands: argparse._SubParsersAction) -> None:
    labs = commands.add_parser(
        "labs",
        help="coursework: build, grade and check labs",
        description="Coursework: build the students' versions, grade submissions, check your own notebook.",
        epilog="notebooks/labs/README.md is the instructor's page.",
    )
    what = labs.add_subparsers(dest="labs", required=True, title="commands", metavar="command")
    _add_build(what)
    _add_grade(what)
    _add_check(what)
    _add_doctor(what)


def _add_build(what: argparse._SubParsersAction) -> None:
    command = what.add_parser("build", help="the student versions, and a zip of them")
    _add_source(command)
    folder = {"type": Path, "default": Path("build/labs"), "metavar": "FOLDER"}
    command.add_argument("--output", "--out", dest="output", **folder, help="output folder (default build/labs)")
    command.set_defaults(do=do_build)


def _add_grade(what: argparse._SubParsersAction) -> None:
    command = what.add_parser("grade", help="run every submission in a sandbox; points and feedback")
    command.add_argument(
        "submissions",
        type=Path,
        nargs="?",
        help="folder or zip, of Canvas, Moodle, GitHub Classroom or "
        "<student>/<lab>.ipynb; by default the course's earlier submissions",
    )
    _add_source(command)
    _add_sandbox(command)
    option = command.add_argument
    option(
        "--course",
        type=Path,
        default=Path("course"),
        metavar="FOLDER",
        help="created if missing (default course)",
    )
    option(
        "--roster",
        type=Path,
        metavar="CSV",
        help="students' ids in Canvas, Moodle or GitHub; needed for their tables",
    )
    option("--student", action="append", default=[], metavar="NAME", help="only this student; may be repeated")
    option(
        "--due",
        type=_time,
        metavar="TIME",
        help="such as 2026-11-30T23:59; later files are late by whole days",
    )
    option(
        "--late",
        action="append",
        default=[],
        metavar="NAME=DAYS",
        help="set one student's days late, overriding the file's time",
    )
    option(
        "--late-percent",
        type=float,
        default=0.0,
        metavar="P",
        help="of the points, taken off per day late (default 0)",
    )
    option("--seed", type=int, metavar="N", help="seed of the hidden tests' inputs; by default drawn once per course")
    option("--workers", type=int, metavar="N", help="submissions graded at a time; by default one per core")
    option("--seconds", type=float, default=600.0, metavar="S", help="seconds per submission (default 600)")
    option(
        "--cell-seconds",
        type=float,
        default=60.0,
        metavar="S",
        help="of processor time, per cell or call (default 60)",
    )
    option("--memory", type=int, default=1024, metavar="MB", help="beyond the libraries' own memory (default 1024)")
    command.set_defaults(do=do_grade)


def _add_check(what: argparse._SubParsersAction) -> None:
    command = what.add_parser("check", help="run the visible tests on your own notebook")
    command.add_argument("notebook", type=Path, help="your lab, such as lab1_dice.ipynb")
    command.add_argument("--source", metavar="FOLDER", help="of the labs' sources; by default notebooks/labs")
    command.set_defaults(do=do_check)


def _add_doctor(what: argparse._SubParsersAction) -> None:
    command = what.add_parser("doctor", help="test that a sandbox starts here and cannot be escaped")
    _add_sandbox(command)
    command.set_defaults(do=do_doctor)


def _add_source(command: argparse.ArgumentParser) -> None:
    command.add_argument("--source", metavar="FOLDER", help="of the labs' sources; by default notebooks/labs")
    command.add_argument("--lab", action="append", metavar="NAME", help="only this lab, such as lab2; may be repeated")


def _add_sandbox(command: argparse.ArgumentParser) -> None:
    kinds = ("bubblewrap", "docker", "podman")
    command.add_argument("--sandbox", choices=kinds, help="where student code runs (default bubblewrap)")
    command.add_argument(
        "--image", default="", metavar="NAME", help="image for docker or podman, with dsnotes[course] installed"
    )
    command.add_argument(
        "--unsafe-no-sandbox",
        action="store_true",
        help="run student code with your rights, on all your files",
    )


def _time(text: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(text).astimezone().replace(tzinfo=None)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write such as 2026-11-30T23:59") from None


def do_build(asked: argparse.Namespace) -> int:
    from dsnotes.labs.source import folder_of_labs, open_labs

    labs = open_labs(folder_of_labs(asked.source), asked.lab)
    archive = asked.output / "dsnotes-labs.zip"
    try:
        asked.output.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for lab in labs:
                text = json.dumps(lab.student, indent=1, ensure_ascii=False)
                (asked.output / f"{lab.name}.ipynb").write_text(text, encoding="utf-8")
                zipped.writestr(f"dsnotes-labs/{lab.name}.ipynb", text)
                print(f"{asked.output / lab.name}.ipynb  {lab.points:g} points  {lab.title}")
    except OSError as error:
        raise RefusedError(
            f"cannot write to {asked.output} ({error.strerror}); name another folder: --output FOLDER"
        ) from None
    print(archive)
    return 0


def do_grade(asked: argparse.Namespace) -> int:
    from dsnotes.labs.grade import Lateness, grade
    from dsnotes.labs.sandbox import Limits, choose
    from dsnotes.labs.source import folder_of_labs, open_labs

    workers = asked.workers if asked.workers is not None else os.cpu_count() or 1
    for name in ("seconds", "cell_seconds", "memory", "workers"):
        value = workers if name == "workers" else getattr(asked, name)
        if not (math.isfinite(value) and value > 0):
            raise RefusedError(f"--{name.replace('_', '-')} must be positive, got {value}; for instance 60")
    if not 0 <= asked.late_percent <= 100:
        raise RefusedError(f"--late-percent must be from 0 to 100, got {asked.late_percent:g}; for instance 10")
    folder = folder_of_labs(asked.source)
    labs = open_labs(folder, asked.lab)
    lateness = Lateness(asked.due, dict(map(_days, asked.late)), asked.late_percent)
    sandbox = choose(asked.sandbox, image=asked.image, unsafe=asked.unsafe_no_sandbox)
    _warn(sandbox.safe)
    if sandbox.image:
        print("sandbox:", " ".join(sandbox.command(Limits(), labs[0].needs)), file=sys.stderr)
    limits = Limits(
        seconds=asked.seconds,
        cell_seconds=asked.cell_seconds,
        cpu_seconds=math.ceil(asked.seconds),
        memory_mb=asked.memory,
    )
    started, terminal = time.monotonic(), Terminal()
    rows, told = grade(
        asked.submissions,
        folder,
        labs,
        course=asked.course,
        sandbox=sandbox,
        limits=limits,
        workers=workers,
        roster=asked.roster,
        students=asked.student,
        lateness=lateness,
        seed=asked.seed,
        tell=terminal.line,
    )
    terminal.close()
    for row in rows:
        marked = "  (to be marked)" if row.to_mark else ""
        late = f"  ({row.late_days} days late, {row.percent:g} % off)" if row.late_days else ""
        print(f"{row.student:20} {row.lab:16} {row.points:5g} of {row.most:g}{marked}{late}")
    for line in told:
        print(f"dsnotes labs: {line}", file=sys.stderr)
    if unmarked := sum(row.to_mark for row in rows):
        print(f"{unmarked} answers to mark: fill in `points` in {asked.course}/reflections.csv, then grade once more")
    print(
        f"{len(rows)} graded in {time.monotonic() - started:.0f} s (sandbox: {sandbox.name}), see "
        f"{asked.course}/dsnotes-grades.csv"
    )
    return 0


def _warn(safe: bool) -> None:
    if not safe:
        said = "WARNING: no sandbox. The students' code runs with your rights, on your files."
        print(f"{RED}{said}{PLAIN}" if sys.stderr.isatty() else said, file=sys.stderr)


def _days(text: str) -> tuple[str, int]:
    name, _, days = text.rpartition("=")
    if not name or not days.isdecimal():
        raise RefusedError(f"--late {text!r} is not NAME=DAYS; write such as --late ada=2")
    return name, int(days)


def do_check(asked: argparse.Namespace) -> int:
    from dsnotes.labs.check import check
    from dsnotes.labs.source import folder_of_labs, open_labs

    lab, found, notes = check(asked.notebook, open_labs(folder_of_labs(asked.source)))
    for each in found:
        print(f"{each.state:8} {each.name}" + (f"  ({each.points:g} points)" if each.points else ""))
        for line in each.hint.splitlines():
            print(f"         {line}")
    for said in notes:
        print(said)
    passed = sum(each.points for each in found if each.state == "passed")
    print(f"{passed:g} of {lab.points:g} points pass the visible tests; hidden tests and marking by hand come on top")
    return 0 if all(each.state in ("passed", "by hand") for each in found) else 1


def do_doctor(asked: argparse.Namespace) -> int:
    from dsnotes.labs.doctor import try_escapes, try_malformed
    from dsnotes.labs.escapes import MALFORMED
    from dsnotes.labs.sandbox import Limits, choose

    if asked.unsafe_no_sandbox:
        raise RefusedError("without a sandbox there is nothing to test; leave out --unsafe-no-sandbox")
    sandbox = choose(asked.sandbox, image=asked.image)
    print(f"{sandbox.name} starts:\n{' '.join(sandbox.command(Limits()))}\n")
    failed = 0
    for tried in (*try_escapes(sandbox), *(try_malformed(sandbox, name) for name in MALFORMED)):
        failed += bool(tried.through)
        print(f"{'THROUGH' if tried.through else 'stopped'}  {tried.name}", flush=True)
        for line in tried.through:
            print(f"         {line}")
    if failed:
        raise RefusedError(f"{failed} attempts succeeded, so do not grade with {sandbox.name} on this machine")
    print(f"\nEvery attempt was stopped: dsnotes labs grade can be used here, with {sandbox.name}.")
    return 0
