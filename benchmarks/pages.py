"""The cost of a training step on a CPU with different ways to get memory from the system.

    python benchmarks/pages.py [--rounds 3] [--write]

A step allocates and frees memory hundreds of times. Whether the system then has to provide and clear new pages depends
on torch and on the C library, which read environment variables when a process starts; `fit` tells the C library too. So
each way has its own process. They alternate, and processor time is measured, since clearing pages takes processor time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import torch
from timing import keep, machine, ratio, table

from dsnotes.papers import build
from dsnotes.training import devices

LARGE, TRIMMED, KEPT = "THP_MEM_ALLOC_ENABLE", "MALLOC_TRIM_THRESHOLD_", "KEPT_AS_FIT_DOES"
WAYS = {
    "small pages": {LARGE: "0"},
    "large pages, as `make` and `dsnotes run` ask for": {LARGE: "1"},
    "kept, as `fit` does": {LARGE: "0", KEPT: "1"},
    "large and kept": {LARGE: "1", KEPT: "1"},
    "given back at once, as a dask worker does": {LARGE: "0", TRIMMED: "65536"},
}
SUBJECTS = {  # their width, image and batch
    "mss-unet": (8, (16, 64, 64), 2),
    "msds-unet": (8, (48, 48, 48), 1),
    "mu-net-hyb": (16, (96, 96), 4),
    "dsnet-soft": (8, (64, 64), 2),
}
STEPS = 5


def step_seconds(name: str) -> float:
    """Processor time of all threads, of the system's work for this process too."""
    width, space, batch = SUBJECTS[name]
    torch.manual_seed(0)
    system = build(name, width=width)
    step = system.make_step(system, system.settings)
    image = torch.randn(batch, 1, *space)
    label = (image[:, 0] > 0).long()
    given = {"image": image, "label": label, "soft": label[:, None].float()}
    for _ in range(2):
        step(given)
    began = os.times()
    for _ in range(STEPS):
        step(given)
    ended = os.times()
    return (ended.user + ended.system - began.user - began.system) / STEPS


def in_a_process(name: str, variables: dict[str, str]) -> float:
    clean = {key: value for key, value in os.environ.items() if key not in (LARGE, TRIMMED)}
    words = [sys.executable, __file__, "--step", name]
    return float(subprocess.run(words, check=True, capture_output=True, text=True, env=clean | variables).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", choices=SUBJECTS, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.step:
        with devices.keep_freed_memory(torch.device("cpu" if KEPT in os.environ else "meta")):
            print(step_seconds(options.step))
        return
    rows = []
    for name, (width, space, batch) in SUBJECTS.items():
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way, variables in WAYS.items():
                seconds[way].append(in_a_process(name, variables))
        plain = seconds["small pages"]
        rows.append([
            f"`{name}`, width {width}, {' × '.join(map(str, space))} × {batch}", f"{min(plain) * 1e3:,.0f}",
            *(f"{ratio(taken, plain):.2f}" for taken in list(seconds.values())[1:]),
        ])  # fmt: skip
        print(*rows[-1], flush=True)
    columns = ["a step of", "small pages, ms", *(f"{way}, times" for way in list(WAYS)[1:])]
    text = "\n".join(
        [
            "## Pages of memory",
            "",
            f"`python benchmarks/pages.py` on a {machine()}: processor time, the median ratio of {options.rounds} "
            f"rounds.",
            "",
            table(columns, rows),
        ]
    )
    print(text)
    if options.write:
        keep("pages", text)


if __name__ == "__main__":
    main()
