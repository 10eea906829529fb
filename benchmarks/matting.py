"""Closed-form matting of a ring: dsnotes against pymatting's `estimate_alpha_cf`, and both against a direct solve.

    python benchmarks/matting.py [--write]

The image is a blurred, noisy, lobed disc that fills half the side, the trimap what lies within `ring` pixels of its
edge. Times are of the processor, so that other work on the machine does not count; of the crops, which two cores share,
also on the clock. Both solve the same equations: pymatting's window works on three channels, and a grey image repeated
three times needs three times our ε there. A direct sparse solve of the published Laplacian gives the error of each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib.metadata import version

import numpy as np
from pymatting import estimate_alpha_cf
from scipy import ndimage
from timing import keep, machine, ratio, table, take_turns

from dsnotes.softmask import band, soft_mask, soft_masks, trimap_from_mask
from dsnotes.softmask.closed_form import direct

EPS = 1e-7
CROPS = 1500


def nodule(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2 + rng.uniform(-1, 1, (2, 1, 1))
    lobes = 0.02 * size * np.sin(rng.integers(3, 7) * np.arctan2(y, x))
    edge = rng.uniform(0.24, 0.3) * size + lobes - np.hypot(y, x)
    image = 0.2 + 0.6 * ndimage.gaussian_filter(np.clip(edge + 0.5, 0, 1), 1)
    image += 0.03 * ndimage.gaussian_filter(rng.normal(size=(size, size)), 0.7)
    return image.clip(0, 1), edge > 0


def pymatting(image: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    colour = np.repeat(image[..., None], 3, axis=2)
    return estimate_alpha_cf(colour, (trimap + 1) / 2, laplacian_kwargs={"epsilon": 3 * EPS})


def ms(seconds: list[float]) -> str:
    return f"{1e3 * float(np.median(seconds)):.2f}"


def rings(rounds: int) -> str:
    rows = []
    for size in (64, 256, 512):
        for ring in (3, 6):
            image, mask = nodule(size)
            trimap = trimap_from_mask(mask, ring)
            ways = {
                "own": partial(soft_mask, image, trimap, EPS),
                "peer": partial(pymatting, image, trimap),
                "both": lambda mask=mask, image=image, ring=ring: soft_mask(image, trimap_from_mask(mask, ring), EPS),
            }
            taken = take_turns(ways, rounds, clock=time.process_time)
            exact = direct(image, trimap, EPS)
            off = [f"{abs(ways[who]() - exact).max():.0e}" for who in ("own", "peer")]
            times = f"{ratio(taken['peer'], taken['own']):.1f}"
            unknown = np.count_nonzero(trimap == 0)
            rows.append(
                [f"{size}²", ring, unknown, ms(taken["own"]), ms(taken["peer"]), times, *off, ms(taken["both"])]
            )
    columns = ["image", "ring", "unknown", "ms", "pymatting ms", "times as fast", "max error", "pymatting's"]
    return table([*columns, "with its trimap, ms"], rows)


def crops(rounds: int) -> str:
    some = [nodule(64, seed) for seed in range(50)]
    images = np.stack([image for image, _ in some] * (CROPS // 50))
    trimaps = np.stack([trimap_from_mask(mask, 3) for _, mask in some] * (CROPS // 50))
    ways = {
        "one core": partial(soft_masks, images, trimaps, EPS, workers=1),
        "two cores": partial(soft_masks, images, trimaps, EPS, workers=2),
        "pymatting": lambda: [pymatting(*pair) for pair in zip(images, trimaps, strict=True)],
    }
    clock, own = ({who: [] for who in ways} for _ in range(2))
    for turn in range(rounds + 1):
        for who in list(ways)[:: 1 if turn % 2 else -1]:
            started = time.perf_counter(), time.process_time()
            ways[who]()
            clock[who].append(time.perf_counter() - started[0])
            own[who].append(time.process_time() - started[1])
    rows = [
        [
            who,
            *(cell for t in (clock, own) for cell in (ms(t[who][1:]), f"{ratio(t['pymatting'][1:], t[who][1:]):.1f}")),
        ]
        for who in ways
    ]
    columns = [f"{CROPS} crops of 64×64, ring 3", "clock, ms", "times as fast", "processor, ms", "times as fast"]
    return table(columns, rows)


def steps(size: int, ring: int, rounds: int) -> list[object]:
    """Where the time goes: the steps of `band.solve_bands` by themselves."""
    image, mask = nodule(size)
    trimap = trimap_from_mask(mask, ring)[None]
    kinds, weights, grey = trimap.ravel(), np.ones(9), image.ravel()
    fresh = np.select([kinds > 0, kinds < 0], [band.LESION, band.OUTSIDE], band.UNSEEN).astype(np.int32)
    n, seed = int((kinds == 0).sum()), int((kinds == 0).argmax())
    offsets = np.array([(t // 3 - 1) * size + t % 3 - 1 for t in range(9)])
    near = band._nearest_first(0)
    queue, last, number = np.empty(n, np.int32), np.empty(n, np.int32), fresh.copy()
    band._number_breadth_first(seed, 0, number, trimap.shape, near, queue, last)
    far = queue[n - 1]
    number[:] = fresh
    band._number_breadth_first(far, 0, number, trimap.shape, near, queue, last)
    starts, heights, entries, base = band._panel_layout(last)
    centres = band._window_centres(queue, trimap.shape, 0, np.zeros(kinds.size, bool))
    matrix, right = np.empty(entries), np.empty(base.size)

    def assemble():
        matrix[:], right[:] = 0, 0
        matrix[base[n:] + np.arange(n, base.size)] = 1
        band._assemble(grey, centres, offsets, weights, EPS, number, 0, base, matrix, right)

    assemble()
    before = matrix.copy(), right.copy()

    def eliminate():
        matrix[:], right[:] = before
        band._eliminate(matrix, starts, heights, right)

    ways = {
        "number": lambda: band._number_breadth_first(far, 0, fresh.copy(), trimap.shape, near, queue, last),
        "centres": lambda: band._window_centres(queue, trimap.shape, 0, np.zeros(kinds.size, bool)),
        "assemble": assemble,
        "eliminate": eliminate,
    }
    taken = {name: 1e3 * min(seconds) for name, seconds in take_turns(ways, 5 * rounds).items()}
    width, multiplied = np.mean(last - np.arange(n)), np.sum((last - np.arange(n)).astype(float) ** 2)
    rate = f"{multiplied / taken['eliminate'] / 1e6:.0f}"
    return [f"{size}²", ring, n, f"{width:.0f}", *(f"{each:.3f}" for each in taken.values()), rate]


def parts(rounds: int) -> str:
    columns = ["image", "ring", "unknown", "strip", "number (twice), ms", "window centres", "assemble", "eliminate"]
    rows = [steps(size, ring, rounds) for size, ring in ((64, 3), (64, 6), (256, 6), (512, 6))]
    return table([*columns, "Gflop/s of it"], rows)


BOUND = """What bounds it: a ring is numbered from one pixel along both arms, so its strip is twice as wide as an open
band's, and eliminating n unknowns in a strip of b costs n·b² operations. Opening the ring at a seam saves nothing: the
seam is carried along instead. Short columns keep the elimination below the rate of a product of matrices of that size
({rate} Gflop/s on this core), and for thin rings numbering and assembling cost as much as it does."""


def matrix_product(rounds: int) -> str:
    """Gflop/s of 64×64 matrices."""
    a = np.random.default_rng(0).random((64, 64))
    seconds = min(take_turns({"product": lambda: [a @ a for _ in range(100)]}, 5 * rounds)["product"])
    return f"{2 * 64**3 * 100 / seconds / 1e9:.0f}"


FIRST_CALL = """
import time, numpy as np
rng = np.random.default_rng(0)
image, trimap = rng.random((64, 64)), np.where(np.hypot(*np.mgrid[-32:32, -32:32]) < 20, 1, -1).astype(np.int8)
trimap[10:54:9] = 0
started = time.process_time()
{use}
print(time.process_time() - started)
"""
OWN = "from dsnotes.softmask import soft_mask\nsoft_mask(image, trimap)"
PEER = "from pymatting import estimate_alpha_cf\nestimate_alpha_cf(np.repeat(image[..., None], 3, 2), (trimap + 1) / 2)"


def first_calls(rounds: int) -> str:
    def seconds(use: str, **environment: str) -> float:
        command = [sys.executable, "-c", FIRST_CALL.format(use=use)]
        return float(subprocess.check_output(command, env=os.environ | environment, text=True))

    rows = []
    for who, use in (("dsnotes", OWN), ("pymatting", PEER)):
        seconds(use)
        warm = np.median([seconds(use) for _ in range(rounds)])
        with tempfile.TemporaryDirectory() as empty:
            rows.append([who, f"{warm:.2f}", f"{seconds(use, NUMBA_CACHE_DIR=empty):.2f}"])
    return table(["import and first call in a fresh process, processor s", "compiled before", "nothing compiled"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--write", action="store_true", help="keep the tables in results/matting.md")
    options = parser.parse_args()
    text = "\n\n".join(
        [
            "## Closed-form matting",
            f"`python benchmarks/matting.py` on one core of a {machine()}, numba {version('numba')}, "
            f"pymatting {version('pymatting')}, {options.rounds} rounds. Errors are the largest difference in α to a "
            f"direct sparse solve.",
            rings(options.rounds),
            parts(options.rounds),
            BOUND.format(rate=matrix_product(options.rounds)).replace("\n", " "),
            crops(3),
            first_calls(3),
        ]
    )
    print(text)
    if options.write:
        keep("matting", text)


if __name__ == "__main__":
    main()
