"""Matting of whole nodules: windows of 3×3×3 with and without the spacing, against slice by slice, where α is known.

    python benchmarks/matting_3d.py [--write]

Phantom nodules with three thicknesses of slice. The first reader's mask gives the trimap, slice by slice (discs) or as
a shell in 3-D (ellipsoids). The error is |α − the share that the image shows|, averaged over all voxels that either
trimap leaves unknown. ε is the best of four for each way, so that none wins by its ε alone. Volumes are
compared with the phantom's own (mean of the errors' absolute values). Mean ± SD are over seeds; the difference to
"slice by slice, discs" is over all nodules, ± its standard error. The time is that of the slowest nodule on one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from scipy import ndimage
from timing import keep, machine, table

from dsnotes.data import phantoms
from dsnotes.data.case import Case
from dsnotes.softmask import soft_mask, trimap_from_mask

GRIDS = {(0.7, 0.7, 0.7): (40, 64, 64), (1.25, 0.7, 0.7): (32, 64, 64), (2.5, 0.7, 0.7): (16, 64, 64)}
EPSILONS = (1e-3, 1e-2, 3e-2, 1e-1)
RADIUS = 3
Way = Callable[[Case, np.ndarray, np.ndarray, float], np.ndarray]


def binary(case: Case, discs: np.ndarray, shell: np.ndarray, eps: float) -> np.ndarray:
    return case.extras["readers"][0].astype(float)


def blurred(case: Case, discs: np.ndarray, shell: np.ndarray, eps: float) -> np.ndarray:
    return ndimage.gaussian_filter(binary(case, discs, shell, eps), [0.9 / mm for mm in case.spacing])


def slices(case: Case, discs: np.ndarray, shell: np.ndarray, eps: float) -> np.ndarray:
    return soft_mask(case.image, discs, eps)


def slices_of_shell(case: Case, discs: np.ndarray, shell: np.ndarray, eps: float) -> np.ndarray:
    return soft_mask(case.image, shell, eps)


def volume(case: Case, discs: np.ndarray, shell: np.ndarray, eps: float) -> np.ndarray:
    return soft_mask(case.image, shell, eps, window="volume")


def weighted(case: Case, discs: np.ndarray, shell: np.ndarray, eps: float) -> np.ndarray:
    return soft_mask(case.image, shell, eps, window="volume", spacing=case.spacing)


def weighted_discs(case: Case, discs: np.ndarray, shell: np.ndarray, eps: float) -> np.ndarray:
    return soft_mask(case.image, discs, eps, window="volume", spacing=case.spacing)


PEER = "slice by slice, discs"
WAYS: dict[str, Way] = {
    "the reader's binary mask": binary,
    "blurred by 0.9 mm": blurred,
    PEER: slices,
    "slice by slice, shell": slices_of_shell,
    "3×3×3 by spacing, discs": weighted_discs,
    "3×3×3 unweighted, shell": volume,
    "3×3×3 by spacing, shell": weighted,
}


def measured(case: Case) -> dict[tuple[str, float], tuple[float, float, float]]:
    """(way, ε) → error in the band, relative error of the volume, seconds."""
    mask, true = case.extras["readers"][0], case.extras["alpha"].sum()
    discs, shell = (trimap_from_mask(mask, RADIUS, spacing=mm) for mm in (None, case.spacing))
    unknown = (discs == 0) | (shell == 0)
    found = {}
    for name, way in WAYS.items():
        for eps in EPSILONS if way not in (binary, blurred) else EPSILONS[:1]:
            started = time.perf_counter()
            alpha = way(case, discs, shell, eps)
            seconds = time.perf_counter() - started
            error = np.abs(alpha - case.extras["seen"])[unknown].mean()
            found[name, eps] = error, abs(alpha.sum() / true - 1), seconds
    return found


def rows(spacing: tuple[float, ...], size: tuple[int, ...], seeds: range, nodules: int) -> list[list[object]]:
    by_seed = []
    for seed in seeds:
        cases = phantoms.nodules(nodules, seed=seed, size=size, spacing=spacing)
        by_seed.append([measured(case) for case in cases])
    values = {}  # way → (ε, error of each nodule (seeds, nodules), of its volume, seconds) at the best ε
    for name in WAYS:
        tried = [key for key in by_seed[0][0] if key[0] == name]
        every = np.array(
            [[[case[key] for case in cases] for cases in by_seed] for key in tried]
        )  # (ε, seeds, nodules, 3)
        best = int(every[..., 0].mean((1, 2)).argmin())
        values[name] = tried[best][1] if len(tried) > 1 else None, *np.moveaxis(every[best], -1, 0)
    return [[f"{spacing[0]} mm", name, *shown(*found, values[PEER][1])] for name, found in values.items()]


def shown(eps: float | None, error: np.ndarray, volume_error: np.ndarray, seconds: np.ndarray, peer: np.ndarray):
    paired = (error - peer).ravel()
    seeds, volumes = error.mean(1), 100 * volume_error.mean(1)
    return [
        "" if eps is None else f"{eps:g}",
        f"{seeds.mean():.4f} ± {seeds.std(ddof=1):.4f}",
        f"{paired.mean():+.4f} ± {paired.std(ddof=1) / np.sqrt(paired.size):.4f}" if error is not peer else "",
        f"{volumes.mean():.1f} ± {volumes.std(ddof=1):.1f} %",
        "" if eps is None else f"{seconds.max():.2f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--nodules", type=int, default=16)
    parser.add_argument("--write", action="store_true", help="keep the table in results/matting_3d.md")
    options = parser.parse_args()
    found = [row for grid in GRIDS.items() for row in rows(*grid, range(options.seeds), options.nodules)]
    columns = ["slices", "label", "best ε", "error in the band", "minus slice by slice", "volume", "slowest, s"]
    text = "\n\n".join(
        [
            "## Matting in three dimensions",
            f"`python benchmarks/matting_3d.py` on one core of a {machine()}; {options.nodules} nodules a seed, "
            f"seeds 0 to {options.seeds - 1} (± SD over seeds), grids "
            f"{', '.join('×'.join(map(str, size)) for size in GRIDS.values())}, pixels of 0.7 mm.",
            table(columns, found),
        ]
    )
    print(text)
    if options.write:
        keep("matting_3d", text)


if __name__ == "__main__":
    main()
