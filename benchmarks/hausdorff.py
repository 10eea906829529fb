"""Hausdorff distance of two 256×256×128 masks: dsnotes against MONAI and medpy.

    python benchmarks/hausdorff.py [--write]

Pairs of ragged blobs like those of a mediocre segmentation, of three sizes, with anisotropic voxels; and the largest
with one voxel marked far away. All get the whole volume and must find the same value. They run alternately within each
round, and the ratio is the median of the rounds' ratios, so that a busy machine slows all equally.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from dsnotes.metrics import hausdorff

SHAPE, SPACING = (256, 256, 128), (1.0, 1.0, 2.0)
RESULTS = Path(__file__).parent / "results" / "hausdorff.md"


def blob(seed: int, radius: float, shift: tuple[int, int, int]) -> np.ndarray:
    """An ellipsoid with bumps 16 voxels apart."""
    from scipy.ndimage import zoom

    centre = np.array(SHAPE) / 2 + shift
    axes = (np.arange(n, dtype=np.float32) for n in SHAPE)
    at = np.meshgrid(*((x - c) / r for x, c, r in zip(axes, centre, (1.1, 1, 0.6), strict=True)), indexing="ij")
    distance = np.sqrt(sum(a**2 for a in at)) / radius
    bumps = zoom(np.random.default_rng(seed).normal(size=[n // 16 for n in SHAPE]), 16, order=1)
    return (distance + 0.06 * bumps < 1).astype(np.uint8)


def pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found = {f"{radius} mm": (blob(0, radius, (2, 3, 1)), blob(1, radius, (0, 0, 0))) for radius in (12, 35, 70)}
    prediction, truth = found["70 mm"]
    prediction = prediction.copy()
    prediction[3, 5, 2] = 1
    return found | {"70 mm, one voxel far off": (prediction, truth)}


def competitors(prediction: np.ndarray, truth: np.ndarray):
    from medpy.metric.binary import hd
    from monai.metrics import compute_hausdorff_distance

    p, t = (torch.from_numpy(m)[None, None] for m in (prediction, truth))
    return {
        "dsnotes": lambda: hausdorff(prediction, truth, spacing=SPACING),
        f"MONAI {version('monai')}": lambda: compute_hausdorff_distance(
            p, t, include_background=True, spacing=list(SPACING)
        ).item(),
        f"medpy {version('medpy')}": lambda: hd(prediction, truth, voxelspacing=SPACING),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help=f"keep the table in {RESULTS.name}")
    options = parser.parse_args()
    warnings.simplefilter("ignore", FutureWarning)  # MONAI's about its own calls
    torch.set_num_threads(1)
    lines = [
        f"## Hausdorff distance, {' × '.join(map(str, SHAPE))} voxels of {' × '.join(map(str, SPACING))} mm",
        "",
        f"`python benchmarks/hausdorff.py` on a {platform.machine()} CPU, one thread, with SciPy {version('scipy')}, "
        f"torch {torch.__version__}, {options.rounds} rounds.",
        "",
        "| radius | | mm | ms | × dsnotes |",
        "|---|---|---|---|---|",
    ]
    for name, (prediction, truth) in pairs().items():
        runs = competitors(prediction, truth)
        values = {who: run() for who, run in runs.items()}
        if not np.allclose(list(values.values()), values["dsnotes"], rtol=1e-5):
            raise RuntimeError(f"the values differ: {values}")
        times: dict[str, list[float]] = {who: [] for who in runs}
        for _ in range(options.rounds):
            for who, run in runs.items():
                start = time.perf_counter()
                run()
                times[who].append(1e3 * (time.perf_counter() - start))
        for who, t in times.items():
            ratio = statistics.median(a / b for a, b in zip(t, times["dsnotes"], strict=True))
            lines.append(f"| {name} | {who} | {values[who]:.2f} | {statistics.median(t):.1f} | {ratio:.1f} |")
    print(*lines, sep="\n")
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
