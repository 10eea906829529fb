"""Surface distances of two 256×256×128 masks: dsnotes against MONAI and medpy.

    python benchmarks/hausdorff.py [--write]

Pairs of ragged blobs like those of a mediocre segmentation, of three sizes, with anisotropic voxels; and the largest
with one voxel marked far away. All get the whole volume and must find the same value. They run alternately within each
round, and the ratio is the median of the rounds' ratios of processor time, so that a busy machine slows all equally.
"""

from __future__ import annotations

import argparse
import time
import warnings
from functools import partial
from importlib.metadata import version
from statistics import median

import numpy as np
import torch
from timing import keep, machine, ratio, table, take_turns

from dsnotes.metrics import hausdorff, mean_surface_distance, surface_dice

SHAPE, SPACING, TOLERANCE = (256, 256, 128), (1.0, 1.0, 2.0), 1.5  # mm; no distance lies on the tolerance


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


def competitors(prediction: np.ndarray, truth: np.ndarray) -> dict[str, dict]:
    """Each measure's functions by who wrote them."""
    from medpy.metric.binary import hd
    from monai import metrics

    p, t = (torch.from_numpy(m)[None, None] for m in (prediction, truth))
    monai, ours = f"MONAI {version('monai')}", partial(partial, prediction=prediction, truth=truth, spacing=SPACING)
    theirs = partial(partial, y_pred=p, y=t, include_background=True, spacing=list(SPACING))
    return {
        "Hausdorff": {
            "dsnotes": ours(hausdorff),
            monai: theirs(metrics.compute_hausdorff_distance),
            f"medpy {version('medpy')}": partial(hd, prediction, truth, voxelspacing=SPACING),
        },
        "ASSD": {
            "dsnotes": ours(mean_surface_distance),
            monai: theirs(metrics.compute_average_surface_distance, symmetric=True),
        },
        "NSD": {
            "dsnotes": ours(surface_dice, tolerance=TOLERANCE),
            monai: theirs(metrics.compute_surface_dice, class_thresholds=[TOLERANCE]),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", FutureWarning)  # MONAI's about its own calls
    torch.set_num_threads(1)
    rows = []
    for name, pair in pairs().items():
        for measure, runs in competitors(*pair).items():
            values = {who: float(run()) for who, run in runs.items()}
            if not np.allclose(list(values.values()), values["dsnotes"], rtol=1e-5):
                raise RuntimeError(f"the values differ: {values}")
            seconds = take_turns(runs, options.rounds, clock=time.process_time)
            for who, taken in seconds.items():
                times = f"{ratio(taken, seconds['dsnotes']):.1f}"
                rows.append([name, measure, who, f"{values[who]:.3f}", f"{median(taken) * 1e3:.1f}", times])
    text = "\n\n".join(
        [
            f"## Surface distances, {' × '.join(map(str, SHAPE))} voxels of {' × '.join(map(str, SPACING))} mm",
            f"`python benchmarks/hausdorff.py` on a {machine()}, SciPy {version('scipy')}, {options.rounds} rounds.",
            table(["radius", "", "", f"mm, or share within {TOLERANCE} mm", "ms", "× dsnotes"], rows),
        ]
    )
    print(text)
    if options.write:
        keep("hausdorff", text)


if __name__ == "__main__":
    main()
