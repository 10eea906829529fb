"""What is left of a structure in its soft mask: fixed radii, and a radius lowered until a third of it is core.

    python benchmarks/soft_core.py [FOLDER …] [--write]

60 nodule phantoms, and each FOLDER in the Decathlon's layout, all labels as one. A soft mask that loses a structure
teaches a network to lose it: its Dice with the mask that it was made from, thresholded at one half, is that of a
network that predicts the soft mask perfectly. The error against the true share is known for phantoms alone.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from timing import keep, machine, table

from dsnotes.data import phantoms
from dsnotes.data.case import Case
from dsnotes.data.dataset import open_dataset
from dsnotes.metrics import dice
from dsnotes.softmask import softened, trimap_from_mask

WAYS = {"1": (1, 0.0), "2": (2, 0.0), "3": (3, 0.0), "3 or less, a third core": (3, 1 / 3)}


def radius_used(case: Case, radius: int, core: float) -> int:
    """The radius with the same trimap."""
    wanted = trimap_from_mask(case.label, radius, core=core)
    return next(r for r in range(radius, 0, -1) if (trimap_from_mask(case.label, r) == wanted).all())


def rows(name: str, cases: Sequence[Case]) -> list[list[str]]:
    found = []
    for way, (radius, core) in WAYS.items():
        soft = [case.extras["soft"] for case in softened(cases, radius=radius, core=core, annotators=False)]
        overlap = [dice(s > 0.5, case.label) for s, case in zip(soft, cases, strict=True)]
        area = [s.sum() / case.label.sum() for s, case in zip(soft, cases, strict=True)]
        error = [abs(s - c.extras["seen"]).sum() for s, c in zip(soft, cases, strict=True) if "seen" in c.extras]
        radii = Counter(radius_used(case, radius, core) for case in cases)
        found.append([
            name,
            way,
            f"{statistics.mean(overlap):.2f}",
            f"{min(overlap):.2f}",
            f"{statistics.mean(area):.2f}",
            f"{statistics.mean(error):.1f}" if error else "–",
            ", ".join(f"{r} px: {count}" for r, count in sorted(radii.items())),
        ])  # fmt: skip
        print(*found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--write", action="store_true", help="keep the table in results/soft_core.md")
    options = parser.parse_args()
    images = {"nodule phantoms": phantoms.nodules(60, seed=0)}
    for folder in options.folders:
        cases = [replace(case, label=(case.label > 0).astype(np.uint8)) for case in open_dataset(folder)]
        images[folder.name] = [case for case in cases if case.label.any()]
    head = [
        "images",
        "radius",
        "Dice at .5",
        "lowest Dice",
        "area / mask area",
        "error, pixels",
        "cases of each radius",
    ]
    text = "\n\n".join(
        [
            "## What a soft mask keeps of a structure",
            f"`python benchmarks/soft_core.py FOLDER …` on a {machine()}. Dice and area: against the mask softened.",
            table(head, [row for name, cases in images.items() for row in rows(name, cases)]),
        ]
    )
    print(text)
    if options.write:
        keep("soft_core", text)


if __name__ == "__main__":
    main()
