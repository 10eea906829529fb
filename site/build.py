"""The site as a book, in build/site: `make site`, or

    python site/build.py                       every notebook at full size: 45 minutes on two cores, the first time
    python site/build.py --jobs 1              one notebook at a time; by default one per core, four at most
    python site/build.py --smoke               notebooks in smoke mode, minutes: to see what a change does to the pages
    python site/build.py --stale               accept notebooks that an older library executed; the page says so
    python site/build.py --only 00_start_here --smoke       some notebooks; links to the others are dead

Writes a Sphinx source with the repository's folders to build/site-work/source, executes the notebooks that are not in
the cache, runs Sphinx, and checks every page. Nothing is downloaded, and no page loads anything from another host.
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
    parser.add_argument("--stale", action="store_true", help="accept copies that another state of the library executed")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="notebooks executed at once")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="only these notebooks; warnings are allowed")
    asked = parser.parse_args(arguments)
    if asked.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {asked.jobs}; pass 1 or more")
    asked.out = asked.out.absolute()
    return asked


def sphinx(source: Path, out: Path, doctrees: Path, *, strict: bool) -> int:
    """Run Sphinx in a separate process, to isolate its imports and warnings; `strict`: a warning is an error."""
    how = ["-W", "--keep-going"] if strict else []
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-c", HERE, "-d", doctrees, *how, source, out]
    return subprocess.run(list(map(str, command)), check=False).returncode


def say(what: str) -> None:
    print(f"==> {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
