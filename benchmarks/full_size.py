"""Every row of a sweep on noise-filled volumes with the real dataset's names and sizes: that it starts, and its hours.

    python benchmarks/full_size.py sweeps/mss-2.yml               # the real sizes: needs a GPU with enough memory
    python benchmarks/full_size.py sweeps/*.yml --shrink 16 --write   # small volumes, narrow networks: a laptop

Each row makes two steps with the sweep's parameters. Steps per epoch, epochs and the work of a step are always of the
full size: the work is counted on the meta device, which has no memory, as three times the forward pass. The hours
divide it by `--tflops`, what a GPU sustains; without `--shrink` they are those of the two steps on this machine.
Volumes have foreground in the middle half of their slices, which decides how many slices are positive. They hold noise
and not zeros: through the batch norms of a deep network, constant maps make the gradient infinite.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from timing import keep, machine, table
from torch.utils.flop_counter import FlopCounterMode

from dsnotes.data.case import Case
from dsnotes.data.splits import k_fold, printed_folds
from dsnotes.papers import systems
from dsnotes.runs.differences import labelled
from dsnotes.runs.experiment import system_of
from dsnotes.runs.plan import Plan, open_plan
from dsnotes.training.batches import Draw
from dsnotes.training.fit import fit
from dsnotes.training.system import System

# folder -> how many cases, their names, their largest grid, channels, classes; from the papers' and sets' own tables
SETS = {
    "data/kits19": (210, "case_{:05d}", (182, 639, 639), 1, 3),
    "data/lung1": (422, "LUNG1-{:03d}", (300, 500, 500), 1, 2),
    "data/covid19": (20, "coronacases_{:03d}", (300, 512, 512), 1, 2),
    "data/pancreas": (281, "pancreas_{:03d}", (110, 512, 512), 1, 2),
    "data/spleen": (41, "spleen_{:d}", (90, 512, 512), 1, 2),
    "data/heart": (20, "la_{:03d}", (115, 320, 320), 1, 2),
    "data/liver": (131, "liver_{:d}", (150, 512, 512), 1, 3),
    "data/brats": (259, "BraTS19_CBICA_{:04d}_1", (155, 240, 240), 1, 4),
    "data/lidc": (896, "LIDC-IDRI-{:04d}-000001-00", (16, 128, 128), 1, 2),
    "data/lnsm": (1500, "{:06d}_01_01_100-1", (64, 64), 1, 2),
    "data/promise12": (50, "Case{:02d}", (30, 320, 320), 1, 2),
    "data/isbi2012": (30, "slice{:02d}", (512, 512), 1, 2),
}
# What decides a row's cases, and with them its system: rows that share all of it are tried once.
CASES = ("data", "size", "slices", "roi", "relabel", "spacing", "split", "folds", "fold", "patient")
SYSTEM = ("system", "options", "preset", "recipe", "loss", "width", "patch", "batch", "epochs", "iterations", "lr",
          "augment", "settings", "teacher")  # fmt: skip
SMALLEST = {2: 64, 3: 32}  # side of a shrunk patch


COLUMNS = ("row", "starts", "cases", "steps an epoch", "epochs", "TFLOP a step", "hours a run, at most", "runs")


def volumes(data: str, shrink: int, values: dict, *, noise: bool) -> tuple[list[Case], int]:
    """As many cases as the dataset has, which share their arrays."""
    count, name, space, channels, classes = SETS[data]
    whole = (space[0], *values["size"]) if values["size"] else space
    if values["slices"]:
        whole = (values["slices"][1] + 1 - values["slices"][0], *whole[1:])
    space = tuple(values["roi"]) or whole
    space = tuple(max(n // shrink, SMALLEST[3]) for n in space) if shrink > 1 else space
    label = np.zeros(space, np.uint8)
    middle = tuple(slice(n // 2 - 2, n // 2 + 2) for n in space)
    label[(slice(space[0] // 4, -(-3 * space[0] // 4)), *middle[1:])] = 1
    shape = (channels, *space) if channels > 1 else space
    if noise:
        image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    else:
        image = np.broadcast_to(np.float32(0), shape)  # takes no memory
    spacing = tuple(values["spacing"] or (1.0,) * 3)[-len(space) :]
    extras = {"soft": label.astype(np.float32)} if shrink > 1 or len(space) == 2 else {}
    if values["relabel"]:
        classes = 1 + max(values["relabel"])
    return [Case(name.format(n), image, label, spacing, extras) for n in range(1, count + 1)], classes


def parts(cases: list[Case], values: dict) -> tuple[list[Case], list[Case], list[Case]]:
    patient = values["patient"] or None
    if values["split"]:
        return printed_folds(cases, values["split"], seed=0, patient=patient)[values["fold"]]
    others, test = k_fold(cases, values["folds"], seed=0, patient=patient)[values["fold"]]
    return others[len(others) // 8 :], others[: len(others) // 8], test


def found_of(plan: Plan, shrink: int, tflops: float, known: dict[str, dict]) -> Iterator[dict]:
    for name, row in labelled(plan).items():
        values = row.runs[0]
        key = f"{plan.path.stem} {name}"
        if key in known:
            yield known[key]
            continue
        same = repr([values[key] for key in CASES])
        if same not in known:
            small, classes = volumes(values["data"], shrink, values, noise=True)
            whole, _ = volumes(values["data"], 1, values, noise=False)
            known[same] = parts(small, values), parts(whole, values)[0], classes
        tried = same + repr([values[key] for key in SYSTEM])
        if tried not in known:
            known[tried] = tried_row(values, *known[same], shrink=shrink, tflops=tflops)
            gc.collect()
        known[key] = {"row": name, **known[tried], "runs": str(len(row.runs))}
        yield known[key]


def tried_row(values: dict, shrunk, whole: list[Case], classes: int, *, shrink: int, tflops: float) -> dict[str, str]:
    found = {"starts": "yes", "cases": " / ".join(str(len(part)) for part in shrunk)}
    try:
        with torch.device("meta"), quiet():
            printed = system_of(values, classes=classes, spacing=whole[0].spacing)
        steps = Draw(whole, printed.settings, 2, None, 0, 0, torch.device("cpu")).iterations
        found |= {"steps an epoch": f"{steps:,}", "epochs": str(printed.settings.epochs)}
        work = flops(printed) if shrink > 1 else None
        seconds = two_steps(values, shrunk[0], shrunk[1], classes, shrink)
    except Exception as error:  # a row that fails is what this script is for: its error is the result
        return found | {"starts": f"{type(error).__name__}: {error}"}
    if shrink > 1:
        seconds = work and work / (tflops * 1e12)
        found["TFLOP a step"] = "–" if work is None else f"{work / 1e12:.3g}"
    hours = "–" if seconds is None else f"{seconds * steps * printed.settings.epochs / 3600:,.1f}"
    return found | {"hours a run, at most": hours}


def two_steps(values: dict, train: list[Case], val: list[Case], classes: int, shrink: int) -> float:
    """Seconds of one of two steps of `fit`, one validation batch included."""
    if shrink > 1:
        dims = systems()[values["system"]]["dims"]
        values = values | {"width": 4, "patch": [SMALLEST[dims]] * dims}
    with quiet():
        system = system_of(values, classes=classes, spacing=train[0].spacing)
        settings = replace(system.settings, epochs=1, iterations=2, stop="never", validation_iterations=1)
        if shrink > 1:
            settings = replace(settings, batch=min(settings.batch, 2), accumulate=1)
        clock = time.perf_counter()
        fit(system, train, val[:1], settings=settings, progress=False, workers=0)
    return (time.perf_counter() - clock) / 2


def flops(system: System) -> int | None:
    """Of one step: three times the forward pass; None if the network needs values, which the meta device lacks.

    A patch or batch that the network refuses is its ValueError.
    """
    settings, network = system.settings, system.network.train()
    image = torch.empty(settings.batch, network.backbone.in_channels, *settings.patch, device="meta")
    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad():
            network(image)
    except (NotImplementedError, RuntimeError):
        return None
    return 3 * counter.get_total_flops() * settings.accumulate


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the live table, and the warning that a teacher is untrained: it stands in for a real one."""
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        warnings.catch_warnings(action="ignore"),
    ):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweeps", nargs="+", type=Path)
    parser.add_argument(
        "--shrink", type=int, default=1, help="divide the sides of volumes by this, and make networks narrow"
    )
    parser.add_argument("--tflops", type=float, default=50.0, help="what a GPU sustains, in 10^12 operations a second")
    parser.add_argument("--log", type=Path, help="keep tried rows there; the same command resumes after them")
    parser.add_argument("--write", action="store_true", help="keep the tables as results/full_size.md")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    text, failed, known = [], 0, {}
    if asked.log and asked.log.exists():
        known = dict(json.loads(line) for line in asked.log.read_text(encoding="utf-8").splitlines())
    for path in asked.sweeps:
        if path.stem.startswith("verdict-"):  # benchmarks/verdict.py runs those, at their full size
            continue
        if path.stem.endswith("-phantom"):
            continue
        print(f"### {path.stem}", flush=True)
        rows = []
        for row in found_of(open_plan(path), asked.shrink, asked.tflops, known):
            if asked.log:
                with asked.log.open("a", encoding="utf-8") as log:
                    log.write(json.dumps([f"{path.stem} {row['row']}", row]) + "\n")
            rows.append([row.get(column, "–") for column in COLUMNS])
            failed += row["starts"] != "yes"
            print(" | ".join(row.values()), flush=True)
        text += [f"### {path.stem}", "", table(list(COLUMNS), rows), ""]
    if asked.write:
        keep("full_size", "\n".join(introduction(asked) + text))
    if failed:
        raise SystemExit(f"{failed} rows do not start")


def introduction(asked: argparse.Namespace) -> list[str]:
    how = f"volumes {asked.shrink} times smaller on each side, networks of width 4" if asked.shrink > 1 else "full size"
    return [
        "## full_size",
        "",
        f"`python benchmarks/full_size.py sweeps/*.yml --shrink {asked.shrink} --tflops {asked.tflops:g} --write` on a "
        f"{machine()}: two steps of `fit` by every row of every sweep on real data, on noise-filled volumes with the "
        f"datasets' names "
        f"({how}). Cases are train / validation / test. Steps, epochs and operations are of the full size; the hours "
        f"are an estimate at {asked.tflops:g} TFLOP/s, with every epoch of a run that no rule stops early; they hold "
        f"neither reading nor augmentation, and no teacher's or critic's training.",
        "",
    ]


if __name__ == "__main__":
    main()
