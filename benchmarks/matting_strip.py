"""Elimination or iteration, by the width of the strip of the matrix: time and memory for rings of unknown pixels.

    python benchmarks/matting_strip.py [--write]

The crops are those of matting.py. `dsnotes.softmask.band` eliminates where the strip is at most `STRIP_LIMIT` unknowns
wide (root mean square) and iterates elsewhere. Both ways solve the same rings here, in turns, in processor time; MiB is
the matrix that elimination keeps, which iteration does not need.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import numpy as np
from matting import EPS, ms, nodule
from timing import keep, machine, ratio, table, take_turns

from dsnotes.softmask import band, trimap_from_mask
from dsnotes.softmask.matting import ITERATIONS, TOLERANCE

WIDE = 10_000  # a limit that no strip here reaches


def strip(trimap: np.ndarray) -> tuple[float, float]:
    """The width that `band.solve_bands` compares with its limit, and the MiB of the matrix inside the strip."""
    kinds, unknown = trimap.ravel(), np.flatnonzero(trimap.ravel() == 0)
    number = np.select([kinds > 0, kinds < 0], [band.LESION, band.OUTSIDE], band.UNSEEN).astype(np.int32)
    fresh, queue, last = number.copy(), np.empty(len(unknown), np.int32), np.empty(len(unknown), np.int32)
    seed = unknown[0]
    for _ in range(2):  # the second time from the pixel farthest from the first
        number[:] = fresh
        band._number_breadth_first(seed, 0, number, (1, *trimap.shape), band._nearest_first(0), queue, last)
        seed = queue[-1]
    width = float(np.sqrt(np.mean((last - np.arange(len(unknown))) ** 2.0)))
    return width, band._panel_layout(last)[2] * 8 / 2**20


def rows(rounds: int) -> list[list[object]]:
    found = []
    for size, ring in ((64, 3), (64, 6), (128, 6), (128, 12), (256, 12), (256, 18), (256, 24), (256, 36), (256, 48)):
        image, mask = nodule(size)
        trimap = trimap_from_mask(mask, ring).astype(np.int8)

        given = (image[None], trimap[None], EPS, np.ones(9))
        limits = {"elimination": WIDE, "iteration": 0}
        ways = {way: partial(band.solve_bands, *given, limit, TOLERANCE, ITERATIONS) for way, limit in limits.items()}
        taken = take_turns(ways, rounds, clock=time.process_time)
        off = np.abs(ways["elimination"]()[0] - ways["iteration"]()[0]).max()
        times = f"{ratio(taken['iteration'], taken['elimination']):.1f}"
        width, memory = strip(trimap)
        cells = [f"{size}²", ring, np.count_nonzero(trimap == 0), f"{width:.0f}", f"{memory:.1f}"]
        found.append([*cells, ms(taken["elimination"]), ms(taken["iteration"]), times, f"{off:.0e}"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    how = f"`python benchmarks/matting_strip.py` on {machine()}, {options.rounds} rounds."
    text = f"## Elimination or iteration\n\n{how}\n\n"
    columns = ["image", "ring", "unknown", "strip", "MiB", "elimination, ms", "iteration, ms"]
    columns += ["times as fast", "difference"]
    text += table(columns, rows(options.rounds))
    print(text)
    if options.write:
        keep("matting_strip", text)


if __name__ == "__main__":
    main()
