"""Chests with several tumours, small, medium and large, some at the pleura or the mediastinum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.phantoms.arguments import checked_count, fitted, settled, streams
from dsnotes.data.phantoms.chest import Chest, chest, paint_chest
from dsnotes.data.phantoms.grid import Grid, filled
from dsnotes.data.phantoms.implicit_shapes import within
from dsnotes.data.phantoms.lesions import centre_and_volume, in_mm, spiked, tumour
from dsnotes.data.phantoms.scanner import Canvas, Protocol, correlated

FIELD = (256.0, 256.0, 256.0)  # mm: a small adult's chest from above the lungs to below the domes of the diaphragm
SCALES = {"small": (11.0, 15.0), "medium": (20.0, 29.0), "large": (38.0, 58.0)}  # diameters in mm in that field
SITES = ("free", "pleura", "mediastinum")
INVASION = {"free": 0.0, "pleura": 1.5, "mediastinum": 8.0}  # how many mm a tumour may extend beyond the lung
KIND = 10


def lung(
    n: int, *, seed: int = 0, size: Sequence[int] = (64, 64, 64), spacing: Sequence[float] | None = None
) -> list[Case]:
    """`n` chests; label 1 is tumour, and every case has at least one of each scale.

    extras: `alpha`, the true share of tumour in each voxel (label = alpha ≥ 0.5); `tumours`, one dict each with
    scale, site, diameter_mm (of the ball of equal volume), centre (z, y, x in voxels), volume_mm3 and component;
    `components`, a map of those numbers; `lungs`, the mask of both lungs with their tumours.
    """
    checked_count(n, seed, "lung")
    grid, spacing, scale = fitted(size, spacing, field=FIELD, kind="lung")
    return [_case(i, seed, grid, spacing, scale) for i in range(n)]


def _case(index: int, seed: int, grid: Grid, spacing: tuple[float, ...], scale: float) -> Case:
    rng, lattice, detail = streams(KIND, seed, index, parts=3)
    protocol = Protocol.drawn(rng)
    body = chest(rng)
    canvas = Canvas(grid)
    air = paint_chest(canvas, body, rng, lattice, detail)
    alpha, components, tumours = _paint_tumours(canvas, body, rng, lattice, scale)
    label = (alpha >= 0.5).astype(np.uint8)
    both = np.zeros(grid.size)
    both[air.window] = air.share
    extras = {
        "alpha": alpha,
        "tumours": tumours,
        "components": components,
        "lungs": ((both >= 0.5) | (label > 0)).astype(np.uint8),
    }
    image = canvas.scanned(protocol.shrunk(scale), lattice)
    return Case(f"lung-{seed}-{index:03d}", image, label, spacing, extras)


def _paint_tumours(
    canvas: Canvas, body: Chest, rng: np.random.Generator, lattice: np.random.Generator, scale: float
) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """Paint one tumour of each scale and sometimes another, largest first; none touch."""
    wanted = ["large", "medium", "small"] + ["medium"] * int(rng.random() < 0.25) + ["small"] * int(rng.random() < 0.4)
    lungs = body.lungs
    candidates = rng.uniform(lungs.low, lungs.high, (6000, 3))
    depth, wall = lungs.distance(*candidates.T), body.cage.distance(*candidates.T)
    grid = canvas.grid
    alpha, components, tumours, taken = np.zeros(grid.size), np.zeros(grid.size, np.uint8), [], []
    grain = correlated(lattice, grid.size, 1.3)
    for number, name in enumerate(wanted, start=1):
        radius = max(rng.uniform(*SCALES[name]) / 2, grid.thinnest)
        wish = SITES[rng.choice(3, p=(0.4, 0.35, 0.25))]
        centre, site = _place(candidates, depth, wall, radius, wish, taken)
        taken.append((centre, radius))
        form = tumour(centre, radius, rng)
        if rng.random() < 0.4:
            form = spiked(form, centre, radius, rng, spikes=int(rng.integers(5, 10)), longest=1.6)
        what = filled(within(form, lungs, reach=INVASION[site]), grid, fine=4)
        core = np.clip(-what.distance / radius, 0, 1)
        necrosis = rng.uniform(0, 45) * (name == "large") * core**2
        canvas.mix(what, rng.uniform(25, 60) + 12 * grain[what.window] - necrosis)
        alpha[what.window] += what.share
        components[what.window][settled(what.share) >= 0.5] = number
        tumours.append({"scale": name, "site": site, "component": number} | in_mm(centre_and_volume(what, grid), scale))
    return settled(alpha), components, tumours


def _place(
    candidates: np.ndarray, depth: np.ndarray, wall: np.ndarray, radius: float, wish: str, taken: list
) -> tuple[np.ndarray, str]:
    """The first candidate position that fits the wanted site; if none does, one of another site."""
    clear = np.ones(len(candidates), bool)
    for centre, other in taken:
        clear &= np.linalg.norm(candidates - centre, axis=1) > 1.5 * (radius + other) + 8
    against = (depth < -0.3 * radius) & (depth > -0.6 * radius) & (candidates[:, 0] > -70)
    costal = wall > depth - 2.0  # the nearest surface is the chest wall
    fits = {"free": depth < -(radius + 4), "pleura": against & costal, "mediastinum": against & (wall < -1.2 * radius)}
    for site in (wish, *SITES):
        found = np.flatnonzero(clear & fits[site])
        if len(found):
            return candidates[found[0]], site
    deepest = np.argmin(np.where(clear, depth, np.inf))
    return candidates[deepest], "free"
