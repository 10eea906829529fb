"""All that is thrown at the package, and a table of what it survived: python tests/hostile/run.py [--quick]"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from hostile.commands import PLACES, WRONG, answer, commands  # noqa: E402
from hostile.names import KINDS, draw  # noqa: E402
from hostile.trainings import flipped_bytes, kills  # noqa: E402
from hostile.unpacking import Target, unpack  # noqa: E402
from hostile.wrong_inputs import refused, wrong_inputs  # noqa: E402

LINKS = (None, "../precious", "/etc", "..")


def archives(folder: Path, count: int) -> Iterator[tuple[str, str]]:
    """So many names, each in every kind of archive; the seed is 0."""
    chance, target = random.Random(0), Target(folder)
    for _ in range(count):
        name, link = draw(chance), chance.choice(LINKS)
        for kind in KINDS:
            unpack(target, kind, name, link)
            yield f"{kind} {name!r} {link}", "" if target.untouched() else "wrote outside"


def damaged_files(folder: Path) -> Iterator[tuple[str, str]]:
    for name, make in commands(ROOT):
        for kind in PLACES:
            yield f"dsnotes {name}: {kind}", answer(folder / "work", lambda m=make, k=kind: m(k))
    for typed in WRONG:
        yield f"dsnotes {' '.join(typed)}", answer(folder / "work", lambda t=typed: list(t))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="50 names, 3 kills")
    parser.add_argument("--only", choices=("archives", "library", "commands", "bytes", "kills"))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    with tempfile.TemporaryDirectory() as nowhere:
        place = Path(nowhere)
        for name in ("archives", "library", "commands", "bytes", "kills"):
            (place / name).mkdir()
        promises = {
            "archives": (
                "an archive writes into its folder alone",
                lambda: archives(place / "archives", 50 if asked.quick else 2000),
            ),
            "library": (
                "a wrong input is refused with a remedy",
                lambda: ((what, refused(attempt)) for what, attempt in wrong_inputs(place / "library")),
            ),
            "commands": ("no command ends in a traceback", lambda: damaged_files(place / "commands")),
            "bytes": (
                "a flipped byte in a checkpoint is refused",
                lambda: (("byte", "" if said == "refused" else said) for said in flipped_bytes(place / "bytes")),
            ),
            "kills": (
                "a killed training ends bit for bit the same",
                lambda: (
                    ("kill", "" if said == "identical" else said)
                    for said in kills(place / "kills", 3 if asked.quick else 10)
                ),
            ),
        }
        for key, (promise, tries) in promises.items():
            if asked.only in (None, key):
                tried = failed = 0
                for what, said in tries():
                    tried, failed = tried + 1, failed + bool(said)
                    if said:
                        print(f"{what}: {said}", file=sys.stderr, flush=True)
                rows.append((promise, tried, tried - failed))
    print("| promise | tried | survived |\n|---|---|---|")
    for promise, tried, survived in rows:
        print(f"| {promise} | {tried} | {survived} |")
    return 0 if all(tried == survived for _, tried, survived in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
