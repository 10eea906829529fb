"""A brain with a glioma in four MR sequences, labelled as BraTS does: regions within regions.

Labels and regions: Baid et al. 2021, https://arxiv.org/abs/2107.02314 (with enhancing tumour as 3). Grey values are in
arbitrary units, as an MR scanner's are, and the skull is stripped: outside the brain every channel is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.phantoms.arguments import checked_count, fitted, settled, streams
from dsnotes.data.phantoms.grid import Grid, filled
from dsnotes.data.phantoms.implicit_shapes import ImplicitShape, ellipsoid, rippled, union, within
from dsnotes.data.phantoms.lesions import tumour
from dsnotes.data.phantoms.scanner import Protocol, blurred, correlated

FIELD = (150.0, 190.0, 160.0)  # mm: an adult brain with a small margin
KIND = 50
CHANNELS = ("T1", "T1ce", "T2", "FLAIR")
LABELS = {0: "background", 1: "necrosis", 2: "oedema", 3: "enhancing tumour"}
REGIONS = {"whole tumour": (1, 2, 3), "tumour core": (1, 3), "enhancing tumour": (3,)}
ORDER = (2, 1, 3)  # the label that each region is written as, whole tumour first

TISSUES = {
    "T1": {"white": 620.0, "grey": 480.0, "fluid": 180.0, "oedema": 430.0, "necrosis": 300.0, "enhancing": 440.0},
    "T1ce": {"white": 630.0, "grey": 490.0, "fluid": 185.0, "oedema": 440.0, "necrosis": 310.0, "enhancing": 980.0},
    "T2": {"white": 330.0, "grey": 430.0, "fluid": 950.0, "oedema": 640.0, "necrosis": 760.0, "enhancing": 560.0},
    "FLAIR": {"white": 380.0, "grey": 450.0, "fluid": 150.0, "oedema": 850.0, "necrosis": 420.0, "enhancing": 650.0},
}


def brain(
    n: int, *, seed: int = 0, size: Sequence[int] = (32, 96, 80), spacing: Sequence[float] | None = None
) -> list[Case]:
    """`n` brains, image (4, *size) in the order of `CHANNELS`; labels are `LABELS`, which make up `REGIONS`.

    extras: `alpha`, the true share of whole tumour in each voxel (label > 0 where it is ≥ 0.5).
    """
    checked_count(n, seed, "brain")
    grid, spacing, scale = fitted(size, spacing, field=FIELD, kind="brain")
    return [_case(i, seed, grid, spacing, scale) for i in range(n)]


def _case(index: int, seed: int, grid: Grid, spacing: tuple[float, ...], scale: float) -> Case:
    rng, lattice = streams(KIND, seed, index)
    protocol = Protocol.drawn(rng).shrunk(scale)
    whole_brain = rippled(ellipsoid((0, 0, 0), (66, 86, 70)), rng, height=1.5, wave=30)
    white = within(rippled(ellipsoid((2, 0, 0), (54, 74, 58)), rng, height=3.5, wave=16, waves=8), whole_brain)
    ventricles = union([ellipsoid((6, 4, side * 9), (8, 30, 5), (side * 0.12, 0, 0)) for side in (-1, 1)], melt=4)
    oedema, core, necrosis = _glioma(white, rng, least=grid.thinnest)
    forms = {"grey": whole_brain, "white": white, "fluid": ventricles}
    forms |= {"oedema": oedema, "enhancing": core, "necrosis": necrosis}  # each is painted over the ones before
    shares = {tissue: _share(form, grid) for tissue, form in forms.items()}
    patient = rng.uniform(0.85, 1.15, 4)  # MR units differ between scanners
    inside = shares["grey"] >= 0.5
    image = np.zeros((4, *grid.size), np.float32)
    for channel, sequence in enumerate(CHANNELS):
        values = np.zeros(grid.size)
        for tissue, share in shares.items():
            values += share * (TISSUES[sequence][tissue] - values)
        values = blurred(values * patient[channel], protocol, grid)
        noise = 0.03 * TISSUES[sequence]["white"] * correlated(lattice, grid.size, (0.4, 0.7, 0.7))
        drift = 1 + 0.05 * correlated(lattice, grid.size, tuple(n / 3 for n in grid.size))  # bias field of the coil
        image[channel] = np.where(inside, np.clip(np.rint(values * drift + noise), 1, None), 0)

    alpha = settled(np.where(inside, np.max([shares["oedema"], shares["enhancing"]], 0), 0))
    label = np.where(alpha >= 0.5, 2, 0).astype(np.uint8)
    label[(label > 0) & (shares["enhancing"] >= 0.5)] = 3
    label[(label == 3) & (shares["necrosis"] >= 0.5)] = 1
    return Case(f"brain-{seed}-{index:03d}", image, label, spacing, {"alpha": alpha, "names": LABELS})


def _glioma(
    white: ImplicitShape, rng: np.random.Generator, *, least: float
) -> tuple[ImplicitShape, ImplicitShape, ImplicitShape]:
    """Oedema in the white matter around a core with an enhancing rim and a non-enhancing centre."""
    side = rng.choice([-1, 1])
    centre = np.array([rng.uniform(-10, 25), rng.uniform(-40, 35), side * rng.uniform(24, 36)])
    radius = max(float(rng.uniform(11, 18)), 1.5 * least)
    core = tumour(centre, radius, rng)
    necrosis = within(tumour(centre + rng.normal(0, 1, 3), 0.6 * radius, rng), core.grown(-max(2.5, 0.6 * least)))
    spread = rippled(ellipsoid(centre, radius * rng.uniform(1.4, 1.9, 3)), rng, height=2.0, wave=20)
    return union([within(spread, white), core], melt=2), core, necrosis


def _share(form: ImplicitShape, grid: Grid) -> np.ndarray:
    share = np.zeros(grid.size)
    what = filled(form, grid, fine=2)
    share[what.window] = what.share
    return share
