"""Simulate a CT scan of implicit shapes: Hounsfield units, partial volume, blur, correlated noise, rounding.

The parameters follow real scans: edges of 3–5 mm from 10 to 90 %, noise of 15–45 HU (SD) correlated over one or two
pixels in a slice and hardly between slices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dsnotes.data.phantoms.grid import Filled, Grid, filled
from dsnotes.data.phantoms.implicit_shapes import ImplicitShape

# Typical Hounsfield units; patients vary around them.
AIR, LUNG, FAT, SKIN, FLUID, MUSCLE, BOWEL = -1000.0, -880.0, -95.0, 25.0, 12.0, 52.0, 45.0
DISC, CARTILAGE, MARROW, CORTEX = 80.0, 110.0, 190.0, 820.0

GAUSSIAN_EDGE = 2.563  # 10–90 % width of an edge blurred by a Gaussian, in SDs


@dataclass(frozen=True)
class Protocol:
    """Scan parameters of one patient."""

    edge: float  # mm from 10 to 90 % of an edge, without the voxel's own width
    noise: float  # SD in HU
    grain: float  # SD of the noise's blur, in pixels of a slice

    @classmethod
    def drawn(cls, rng: np.random.Generator, *, sharpest: float = 3.2) -> Protocol:
        return cls(
            edge=rng.uniform(sharpest, sharpest + 1), noise=rng.triangular(15, 21, 38), grain=rng.uniform(0.6, 0.85)
        )

    def shrunk(self, scale: float) -> Protocol:
        """The same protocol in the anatomy's own mm."""
        return replace(self, edge=self.edge / scale)


def correlated(rng: np.random.Generator, size: tuple[int, ...], sigma: tuple[float, ...] | float) -> np.ndarray:
    """White noise smoothed by a Gaussian of `sigma` voxels and rescaled to variance 1."""
    from scipy.ndimage import correlate1d

    field = rng.standard_normal(size)
    sigma = (sigma,) * len(size) if isinstance(sigma, int | float) else sigma
    for axis, width in enumerate(sigma):
        if width > 0 and size[axis] > 1:
            kernel = bell(width)
            field = correlate1d(field, kernel / np.sqrt((kernel**2).sum()), axis, mode="wrap")
    return field


def bell(sigma: float) -> np.ndarray:
    """A Gaussian kernel integrated over each voxel, with total variance sigma² (integration alone would add 1/12)."""
    from scipy.special import ndtr

    narrow = sigma**2 - 1 / 12
    if narrow < 0.03:
        return np.array([sigma**2 / 2, 1 - sigma**2, sigma**2 / 2])
    reach = int(np.ceil(3.5 * sigma))
    steps = ndtr((np.arange(-reach, reach + 2) - 0.5) / np.sqrt(narrow))
    return np.diff(steps) / (steps[-1] - steps[0])


def blurred(values: np.ndarray, protocol: Protocol, grid: Grid) -> np.ndarray:
    """Apply the scanner's blur: tissues become an image, the true share becomes the share visible in it."""
    from scipy.ndimage import correlate1d

    for axis, extent in enumerate(grid.extent):
        if grid.size[axis] > 1:
            kernel = bell(protocol.edge / GAUSSIAN_EDGE / extent)
            values = correlate1d(values, kernel, axis, mode="nearest")
    return values


class Canvas:
    """Tissue painted over tissue: each form replaces what was there, by the share of the voxel it fills."""

    def __init__(self, grid: Grid, background: float = AIR):
        self.grid = grid
        self.image = np.full(grid.size, background)

    def paint(self, form: ImplicitShape, hu: float | np.ndarray, *, fine: int = 1) -> Filled:
        """`hu` is a number, or a field over the form's window."""
        what = filled(form, self.grid, fine=fine)
        self.mix(what, hu)
        return what

    def paint_hollow(self, form: ImplicitShape, wall: float, thick: float, inside: float) -> Filled:
        """Paint a form with a wall of `thick` mm; returns the inside."""
        inner = self.paint(form, wall).peeled(thick)
        self.mix(inner, inside)
        return inner

    def mix(self, what: Filled, hu: float | np.ndarray) -> None:
        there = self.image[what.window]
        there += what.share * (hu - there)

    def blend(self, share: np.ndarray, hu: float) -> None:
        """Blend in a tissue by its share of each voxel of the grid."""
        self.image += share * (hu - self.image)

    def scanned(self, protocol: Protocol, rng: np.random.Generator) -> np.ndarray:
        """Blur, add noise and round to whole HU in float32, so that images are equal on every machine."""
        image = blurred(self.image, protocol, self.grid)
        noise = correlated(rng, self.grid.size, (0.5, protocol.grain, protocol.grain))
        # air absorbs less, so its noise is lower
        level = protocol.noise * np.clip((image + 1000) / 700, 0.55, 1)
        return np.clip(np.rint(image + level * noise), -1024, 3071).astype(np.float32)
