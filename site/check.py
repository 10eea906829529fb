"""Checks the built site with a browser and an accessibility checker, offline: `make sitecheck`, or

    python site/check.py                          every page: light, dark, on a phone
    python site/check.py index.html start.html    these pages

Needs chromium and npm. axe-core is fetched once, to build/site-work/node.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from book import browser, checks

from dsnotes.runs.terminal import Terminal

HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    parser.add_argument("--out", type=Path, default=HERE.parent / "build" / "site")
    asked = parser.parse_args()
    out = asked.out.absolute()
    if not (out / "index.html").exists():
        print(
            f"there is no site in {asked.out}; build it with `make site`, or quickly with `make site SMOKE=1`",
            file=sys.stderr,
        )
        return 2
    if lacking := browser.missing():
        print(f"make sitecheck {lacking}", file=sys.stderr)
        return 2
    started, terminal = time.monotonic(), Terminal()
    axe = browser.checker(out.with_name(f"{out.name}-work") / "node")
    found = checks.everything(out) + browser.faults(out, axe, asked.pages, tell=terminal.line)
    terminal.close()
    print(*found, sep="\n" if found else "")
    print(f"{len(found)} faults in {time.monotonic() - started:.0f} s")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
