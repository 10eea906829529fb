"""What `import dsnotes` costs, alone and with every public name fetched, against `import torch`.

    python benchmarks/imports.py [--write]

Every import is timed inside a fresh interpreter, so that the interpreter's own start does not count. The imports
alternate within each round.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from statistics import median

from timing import keep, machine, ratio, table

LIMIT = 1.3
BASE = "import torch"
PROGRAMS = {
    BASE: "import torch",
    "import dsnotes": "import dsnotes",
    "import dsnotes, every name fetched": "import dsnotes\nfor name in dsnotes.__all__: getattr(dsnotes, name)",
    "import monai": "import monai",
}


def seconds(program: str) -> float:
    timed = f"import time\nstarted = time.perf_counter()\n{program}\nprint(time.perf_counter() - started)"
    done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--write", action="store_true", help="keep the table in results/")
    options = parser.parse_args()
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for turn in range(options.rounds + 1):
        for name, program in PROGRAMS.items():
            once = seconds(program)
            if turn:  # the first brings the files into memory
                taken[name].append(once)
    ratios = {name: ratio(each, taken[BASE]) for name, each in taken.items()}
    text = "\n".join(
        [
            "## Imports",
            "",
            f"`python benchmarks/imports.py` on a {machine()}, Python {platform.python_version()}, {options.rounds} "
            f"rounds of fresh interpreters.",
            "",
            table(
                ["", "ms", f"× `{BASE}`"],
                [[f"`{name}`", f"{1e3 * median(taken[name]):.0f}", f"{ratios[name]:.2f}"] for name in PROGRAMS],
            ),
        ]
    )
    print(text)
    if options.write:
        keep("imports", text)
    slow = {name: each for name, each in ratios.items() if "dsnotes" in name and each > LIMIT}
    if slow:
        sys.exit(f"more than {LIMIT} × `{BASE}`: {slow}")


if __name__ == "__main__":
    main()
