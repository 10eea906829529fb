"""The time to make a phantom, by kind and size, on one core; and the agreement of two readers of a nodule.

    python benchmarks/phantoms.py

There is no peer: the goal is a volume of 64³ voxels in under half a second. Seconds are processor time, so that a busy
machine does not matter.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import platform
import statistics
import time
from itertools import combinations

import numpy as np

from dsnotes.data import phantoms

GOAL = 0.5
ORDERS = {
    "lung 64³": lambda i: phantoms.lung(1, seed=i),
    "kidneys 64³": lambda i: phantoms.kidneys(1, seed=i, size=(64, 64, 64)),
    "kidneys 24×96×96": lambda i: phantoms.kidneys(1, seed=i),
    "abdomen 64³": lambda i: phantoms.abdomen(1, seed=i, size=(64, 64, 64)),
    "abdomen 32×96×96": lambda i: phantoms.abdomen(1, seed=i),
    "nodules 64²": lambda i: phantoms.nodules(4, seed=i)[:1],
    "nodules 64³": lambda i: phantoms.nodules(4, seed=i, dims=3)[:1],
    "lung 128³": lambda i: phantoms.lung(1, seed=i, size=(128, 128, 128)),
}
MADE = {"nodules 64²": 4, "nodules 64³": 4}  # one of each kind


def seconds(order, made: int, rounds: int = 5) -> tuple[float, float]:
    """(median, longest) a case, the first call left out."""
    order(100)
    times = []
    for turn in range(rounds):
        start = time.process_time()
        order(turn)
        times.append((time.process_time() - start) / made)
    return statistics.median(times), max(times)


def agreement(dims: int, n: int) -> float:
    """The mean Dice of two readers of the same nodule."""
    pairs = [
        2 * np.sum(a & b) / (a.sum() + b.sum())
        for case in phantoms.nodules(n, dims=dims)
        for a, b in combinations(case.extras["readers"], 2)
    ]
    return float(np.mean(pairs))


def main() -> None:
    print(f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}, one thread")
    print("| phantom | s a case | longest |\n|---|---|---|")
    slow = []
    for name, order in ORDERS.items():
        median, longest = seconds(order, MADE.get(name, 1))
        print(f"| {name} | {median:.3f} | {longest:.3f} |")
        if name.endswith("64³") and median > GOAL:
            slow.append(name)
    print(f"two readers of a nodule: Dice {agreement(2, 100):.3f} in 2-D, {agreement(3, 40):.3f} in 3-D")
    if slow:
        raise SystemExit(f"over {GOAL} s: {', '.join(slow)}")


if __name__ == "__main__":
    main()
