"""The site as a book, in build/site: `make site`, or

    python site/build.py                       every notebook at its full size: 35 minutes on two cores, the first time
    python site/build.py --jobs 1              one notebook after the other; else one a core at once, but four at most
    python site/build.py --smoke               notebooks in smoke mode, minutes: to see what a change does to the pages
    python site/build.py --stale               also what another state of the library has executed; the page says so
    python site/build.py --only 00_start_here --smoke       some notebooks; links to the others are dead

Lays out a source with the repository's folders in build/site-work/source, executes what the cache does not hold, has
Sphinx read it, and looks at every page that comes out. Nothing is downloaded, and no page will ask another host for
anything.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from book import checks, layout

from dsnotes.runs import FailedError
from dsnotes.runs.terminal import Terminal

HERE = Path(__file__).resolve().parent


def main(arguments: list[str] | None = None) -> int:
    asked = parse(arguments)
    work, started = asked.out.with_name(f"{asked.out.name}-work"), time.monotonic()
    try:
        terminal = Terminal()
        how = {"smoke": asked.smoke, "stale": asked.stale, "only": asked.only, "jobs": asked.jobs}
        book = layout.Book(HERE.parent, work, tell=terminal.line, **how)
        executed = book.lay_out()
        terminal.close()
    except FailedError as failed:
        print(f"{failed.traceback}\nmake site: {failed}", file=sys.stderr)
        return 1
    say(f"{executed} notebooks executed, {len(book.notebooks) - executed} taken from {work / 'executed'}")
    if code := sphinx(work / "source", asked.out, work / "doctrees", strict=not asked.only):
        return code
    found = checks.everything(asked.out)
    for line in found:
        print(line, file=sys.stderr)
    pages = len(list(asked.out.rglob("*.html")))
    say(f"{pages} pages in {time.monotonic() - started:.0f} s, {len(found)} faults: {asked.out / 'index.html'}")
    return 1 if found else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE.parent / "build" / "site")
    parser.add_argument("--smoke", action="store_true", help="execute notebooks in smoke mode")
    parser.add_argument("--stale", action="store_true", help="take a copy that another state of the library executed")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="notebooks at once")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="these notebooks alone; warnings are let through")
    asked = parser.parse_args(arguments)
    if asked.jobs < 1:
        parser.error(f"--jobs {asked.jobs} executes nothing; pass 1 or more")
    asked.out = asked.out.absolute()
    return asked


def sphinx(source: Path, out: Path, doctrees: Path, *, strict: bool) -> int:
    """In a process of its own, whose imports and warnings are nobody else's; `strict`: a warning is an error."""
    how = ["-W", "--keep-going"] if strict else []
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-c", HERE, "-d", doctrees, *how, source, out]
    return subprocess.run(list(map(str, command)), check=False).returncode


def say(what: str) -> None:
    print(f"==> {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
