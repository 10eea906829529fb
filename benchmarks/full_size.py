"""Every row of a sweep on zero-filled volumes with the real dataset's names and sizes: that it starts, and its hours.

    python benchmarks/full_size.py sweeps/mss-2.yml            # the real sizes: needs a GPU with enough memory
    python benchmarks/full_size.py sweeps/*.yml --shrink 8     # each axis an eighth: what CI runs

Each row makes two steps with the sweep's parameters. The script prints the steps per epoch and the epochs, and without
`--shrink` the hours that all runs of the row would take on this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.splits import k_fold, printed_folds
from dsnotes.runs.differences import labelled
from dsnotes.runs.experiment import system_of
from dsnotes.runs.plan import open_plan
from dsnotes.training.fit import fit

# folder -> how many cases, their names, their largest grid, channels, classes; from the papers' and sets' own tables
SETS = {
    "data/kits19": (210, "case_{:05d}", (182, 639, 639), 1, 3),
    "data/lung1": (422, "LUNG1-{:03d}", (300, 500, 500), 1, 2),
    "data/covid19": (20, "coronacases_{:03d}", (300, 512, 512), 1, 2),
    "data/pancreas": (281, "pancreas_{:03d}", (110, 512, 512), 1, 2),
    "data/spleen": (41, "spleen_{:d}", (90, 512, 512), 1, 2),
    "data/heart": (20, "la_{:03d}", (115, 320, 320), 1, 2),
    "data/liver": (131, "liver_{:d}", (150, 512, 512), 1, 3),
    "data/brats": (335, "BraTS19_CBICA_{:04d}_1", (155, 240, 240), 1, 4),
    "data/lidc": (896, "LIDC-IDRI-{:04d}-000001-00", (16, 128, 128), 1, 2),
    "data/lnsm": (1500, "{:06d}_01_01_100-1", (64, 64), 1, 2),
    "data/promise12": (50, "Case{:02d}", (30, 320, 320), 1, 2),
    "data/isbi2012": (30, "slice{:02d}", (512, 512), 1, 2),
}


def zeros(data: str, shrink: int, values: dict) -> tuple[list[Case], int]:
    """As many cases as the dataset has; all share one array of zeros, with some foreground in the middle."""
    count, name, space, channels, classes = SETS[data]
    whole = (space[0], *values["size"]) if values["size"] else space
    space = tuple(max(n // shrink, 32) for n in whole)
    label = np.zeros(space, np.uint8)
    label[tuple(slice(n // 2 - 2, n // 2 + 2) for n in space)] = 1
    image = np.broadcast_to(np.float32(0), (channels, *space) if channels > 1 else space)  # takes no memory
    spacing = tuple(values["spacing"] or (1.0,) * 3)[-len(space) :]
    extras = {"soft": label.astype(np.float32)}
    return [Case(name.format(n), image, label, spacing, extras) for n in range(1, count + 1)], classes


def rows(path: Path, shrink: int) -> Iterator[dict]:
    plan = open_plan(path)
    for name, row in labelled(plan).items():
        values = row.runs[0]
        cases, classes = zeros(values["data"], shrink, values)
        whole = {case.name: case for case in zeros(values["data"], 1, values)[0]}
        patient = values["patient"] or None
        if values["split"]:
            train, val, _ = printed_folds(cases, values["split"], seed=0, patient=patient)[values["fold"]]
        else:
            others, _ = k_fold(cases, values["folds"], seed=0, patient=patient)[values["fold"]]
            val, train = others[: len(others) // 8], others[len(others) // 8 :]
        system = system_of(_small(values, shrink) if shrink > 1 else values, classes=classes, spacing=cases[0].spacing)
        settings = system.settings
        if shrink > 1:
            settings = replace(settings, batch=min(settings.batch, 2), accumulate=1)
        clock = time.perf_counter()
        two = replace(settings, epochs=1, iterations=2, stop="never", validation_iterations=1)
        with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            fit(system, train, val[:1], settings=two, progress=False, workers=0)
        seconds = (time.perf_counter() - clock) / 2
        printed = system_of(values, classes=classes, spacing=cases[0].spacing).settings
        steps = steps_of([whole[case.name] for case in train], printed)
        yield {
            "row": name,
            "train": len(train),
            "validation": len(val),
            "test": len(cases) - len(train) - len(val),
            "steps an epoch": steps,
            "epochs": printed.epochs,
            **({} if shrink > 1 else {"hours at most": steps * printed.epochs * seconds * len(row.runs) / 3600}),
        }


def steps_of(train: list[Case], settings) -> int:
    """Of a real pass, whatever two steps were made."""
    import torch

    from dsnotes.training.batches import Draw

    return Draw(train, settings, 2, None, 0, 0, torch.device("cpu")).iterations


def _small(values: dict, shrink: int) -> dict:
    from dsnotes.papers import systems

    dims = systems()[values["system"]]["dims"]
    return values | {"width": 4, "patch": [32] * dims, "batch": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweeps", nargs="+", type=Path)
    parser.add_argument(
        "--shrink", type=int, default=1, help="divide the sides of volumes by this, and make networks narrow"
    )
    parser.add_argument("--json", type=Path, help="write what was found there")
    asked = parser.parse_args()
    found = {}
    for path in asked.sweeps:
        if path.stem.endswith("-phantom"):
            continue
        print(path.name, flush=True)
        found[path.stem] = []
        for row in rows(path, asked.shrink):
            found[path.stem].append(row)
            print(
                "  " + ", ".join(f"{k} {v:,.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()),
                flush=True,
            )
    if asked.json:
        with tempfile.NamedTemporaryFile("w", dir=asked.json.parent, delete=False, encoding="utf-8") as out:
            json.dump(found, out, indent=1)
        Path(out.name).replace(asked.json)


if __name__ == "__main__":
    main()
