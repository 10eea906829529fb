"""Trimaps by OpenCV's morphology: dsnotes against SciPy's binary erosion and dilation, same pixels.

python benchmarks/trimap.py [--write]
"""

from __future__ import annotations

import argparse
from functools import partial
from importlib.metadata import version

import numpy as np
from scipy import ndimage
from timing import keep, machine, ratio, table, take_turns

from dsnotes.softmask import trimap_from_mask


def scipy_trimap(mask: np.ndarray, radius: int) -> np.ndarray:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = y**2 + x**2 <= radius**2
    core = ndimage.binary_erosion(mask, disk, border_value=1)
    return core.astype(np.int8) + ndimage.binary_dilation(mask, disk).astype(np.int8) - 1


def blob(size: int) -> np.ndarray:
    wobble = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(size, size)), size / 16)
    y, x = np.mgrid[:size, :size] - size / 2
    return np.hypot(y, x) + 0.1 * size * wobble / wobble.std() < 0.3 * size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=51)
    parser.add_argument("--write", action="store_true", help="keep the table in results/trimap.md")
    options = parser.parse_args()
    rows = []
    for size in (64, 256, 512):
        for radius in (2, 3, 4, 6):
            mask = blob(size)
            ways = {"own": partial(trimap_from_mask, mask, radius), "peer": partial(scipy_trimap, mask, radius)}
            if not np.array_equal(*(way() for way in ways.values())):
                raise RuntimeError(f"other pixels than SciPy's at {size}² with radius {radius}")
            taken = take_turns(ways, options.rounds)
            own, peer = (f"{1e3 * np.median(taken[who]):.3f}" for who in ways)
            rows.append([f"{size}²", radius, own, peer, f"{ratio(taken['peer'], taken['own']):.1f}"])
    text = "\n\n".join(
        [
            "## Trimap from a mask",
            f"`python benchmarks/trimap.py` on a {machine()}, OpenCV {version('opencv-python-headless')}, "
            f"SciPy {version('scipy')}, {options.rounds} rounds; the pixels are the same.",
            table(["mask", "radius", "ms", "SciPy ms", "times as fast"], rows),
        ]
    )
    print(text)
    if options.write:
        keep("trimap", text)


if __name__ == "__main__":
    main()
