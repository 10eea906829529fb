"""`dsnotes labs build | grade | check`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
import zipfile
from pathlib import Path

from dsnotes.runs.source import RefusedError
from dsnotes.runs.terminal import Terminal


def add_labs(commands: argparse._SubParsersAction) -> None:
    labs = commands.add_parser(
        "labs",
        help="coursework: build it, grade it, check one's own",
        description="Coursework: build the students' versions, grade what they hand in, check a notebook of one's own.",
        epilog="notebooks/labs/README.md is the instructor's page.",
    )
    what = labs.add_subparsers(dest="labs", required=True, title="commands", metavar="command")
    _add_build(what)
    _add_grade(what)
    _add_check(what)


def _add_build(what: argparse._SubParsersAction) -> None:
    command = what.add_parser("build", help="the student versions, and a zip of them")
    _add_source(command)
    command.add_argument(
        "--out", type=Path, default=Path("build/labs"), metavar="FOLDER", help="for them (default build/labs)"
    )
    command.add_argument("--course", type=Path, metavar="FOLDER", help="release into this nbgrader course too")
    command.set_defaults(do=do_build)


def _add_grade(what: argparse._SubParsersAction) -> None:
    command = what.add_parser("grade", help="run every submission behind a wall; points and feedback")
    command.add_argument("submissions", type=Path, nargs="?", help="<student>/<lab>.ipynb; default: the course's own")
    _add_source(command)
    command.add_argument(
        "--course", type=Path, default=Path("course"), metavar="FOLDER", help="nbgrader's; made if new (default course)"
    )
    command.add_argument("--workers", type=int, metavar="N", help="submissions at a time; by default one a core")
    command.add_argument("--seconds", type=float, default=600.0, metavar="S", help="for one submission (default 600)")
    command.add_argument(
        "--cell-seconds", type=float, default=60.0, metavar="S", help="of computing, a cell (default 60)"
    )
    command.add_argument("--memory", type=int, default=1024, metavar="MB", help="beyond the libraries' (default 1024)")
    command.set_defaults(do=do_grade)


def _add_check(what: argparse._SubParsersAction) -> None:
    command = what.add_parser("check", help="your own notebook against the tests you see")
    command.add_argument("notebook", type=Path, help="your lab, such as lab1_dice.ipynb")
    command.add_argument("--source", metavar="FOLDER", help="of the labs' sources; by default notebooks/labs")
    command.set_defaults(do=do_check)


def _add_source(command: argparse.ArgumentParser) -> None:
    command.add_argument("--source", metavar="FOLDER", help="of the labs' sources; by default notebooks/labs")
    command.add_argument("--lab", action="append", metavar="NAME", help="only this one, such as lab2; may be repeated")


def do_build(asked: argparse.Namespace) -> int:
    import tempfile

    from dsnotes.labs.course import Course
    from dsnotes.labs.source import folder_of_labs, open_labs

    labs = open_labs(folder_of_labs(asked.source), asked.lab)
    with tempfile.TemporaryDirectory() as nowhere:
        made = Course(asked.course or Path(nowhere)).release(labs)
        asked.out.mkdir(parents=True, exist_ok=True)
        archive = asked.out / "dsnotes-labs.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for lab in labs:
                shutil.copy(made[lab.name], asked.out / f"{lab.name}.ipynb")
                zipped.write(made[lab.name], f"dsnotes-labs/{lab.name}.ipynb")
                print(f"{asked.out / lab.name}.ipynb  {lab.points:g} points  {lab.title}")
    print(archive)
    return 0


def do_grade(asked: argparse.Namespace) -> int:
    from dsnotes.labs.grade import grade
    from dsnotes.labs.wall import Limits, possible

    if not possible():
        raise RefusedError(
            "untrusted notebooks are graded behind a wall that only Linux has; use WSL, a container or another machine"
        )
    workers = asked.workers if asked.workers is not None else os.cpu_count() or 1
    for name, value in (("--workers", workers), ("--seconds", asked.seconds), ("--memory", asked.memory)):
        if value <= 0:
            raise RefusedError(f"{name} {value} leaves nothing to grade with; give 1 or more")
    limits = Limits(seconds=asked.seconds, cell_seconds=asked.cell_seconds, memory_mb=asked.memory)
    started, terminal = time.monotonic(), Terminal()
    done = grade(
        asked.submissions,
        course=asked.course,
        source=asked.source,
        names=asked.lab,
        limits=limits,
        workers=workers,
        tell=terminal.line,
    )
    terminal.close()
    for row in done.rows:
        print(
            f"{row.student:20} {row.lab:16} {row.points:5g} of {row.most:g}"
            + ("  (to be marked)" if row.to_mark else "")
        )
    for said in done.failed:
        print(f"dsnotes labs: {said}", file=sys.stderr)
    for other in done.others:
        print(f"dsnotes labs: {other} is no <student>/<lab>.ipynb and was left alone", file=sys.stderr)
    unmarked = sum(row.to_mark for row in done.rows)
    if unmarked:
        print(f"{unmarked} answers to mark: fill in `points` in {done.reflections}, then the same command again")
    print(f"{len(done.rows)} graded in {time.monotonic() - started:.0f} s behind {done.wall}: {done.grades}")
    return 1 if done.failed else 0


def do_check(asked: argparse.Namespace) -> int:
    from dsnotes.labs.check import check, lab_of
    from dsnotes.labs.source import folder_of_labs, open_labs
    from dsnotes.labs.wall import Limits

    lab = lab_of(asked.notebook, open_labs(folder_of_labs(asked.source)))
    found, happened = check(asked.notebook, lab, Limits())
    for each in found:
        print(f"{each.state:8} {each.name}" + (f"  ({each.points:g} points)" if each.points else ""))
        for line in each.hint.splitlines():
            print(f"         {line}")
    for said in happened:
        print(said)
    passed = sum(each.points for each in found if each.state == "passed")
    print(f"{passed:g} of {lab.points:g} points pass the tests you see; hidden tests and a reader's eye are not in it")
    return 0 if all(each.state in ("passed", "by hand") for each in found) else 1
