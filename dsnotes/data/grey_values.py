"""Random noise, blur, brightness, contrast, low resolution and inverted gamma: what differs between scanners.

The transforms and their order are nnU-Net's (Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z).
Departs from it: `shift` is ours, all channels of a sample change alike, and low resolution is interpolated linearly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

SEED_LIMIT = 2**62  # a seed is below this


class GreyValues(NamedTuple):
    """The drawn changes of a batch's grey values, one number per sample; `NEUTRAL` values change nothing."""

    noise: Tensor  # standard deviation of the noise, 0: none
    seed: Tensor  # of the noise
    blur: Tensor  # standard deviation of the Gaussian in voxels of the finest axis, 0: none
    brightness: Tensor  # factor of all values
    shift: Tensor  # added to all values
    contrast: Tensor  # factor of the distance from each channel's mean
    low_resolution: Tensor  # share of its voxels that each axis keeps
    inverted_gamma: Tensor  # exponent of the gamma transform of the negated image

    def changed(self) -> Tensor:
        """Which samples change."""
        unlike = [getattr(self, name) != neutral for name, neutral in NEUTRAL.items()]
        return torch.stack(unlike).any(0)


NEUTRAL = {
    "noise": 0.0,
    "blur": 0.0,
    "brightness": 1.0,
    "shift": 0.0,
    "contrast": 1.0,
    "low_resolution": 1.0,
    "inverted_gamma": 1.0,
}


def draw(
    augmentation: Any,
    *,
    batch: int,
    generator: torch.Generator,
    about_one: Callable[[float, float], Tensor],
) -> GreyValues:
    """Draw with the rates and ranges of an `Augmentation`.

    Every number is drawn, whether used or not, so that changing one probability does not change the other draws.
    """

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(batch, generator=generator, dtype=torch.float64)

    def sometimes(name: str, value: Tensor) -> Tensor:
        happens = uniform(0, 1) < getattr(augmentation, f"p_{name}")
        return torch.where(happens, value, NEUTRAL[name])

    return GreyValues(
        noise=sometimes("noise", uniform(*augmentation.noise)),
        seed=torch.randint(SEED_LIMIT, (batch,), generator=generator),
        blur=sometimes("blur", uniform(*augmentation.blur)),
        brightness=sometimes("brightness", uniform(*augmentation.brightness)),
        shift=sometimes("shift", uniform(*augmentation.shift)),
        contrast=sometimes("contrast", about_one(*augmentation.contrast)),
        low_resolution=sometimes("low_resolution", uniform(*augmentation.low_resolution)),
        inverted_gamma=sometimes("inverted_gamma", about_one(*augmentation.gamma)),
    )


def apply(grey: GreyValues, b: int, image: Tensor, *, finest: Sequence[float]) -> Tensor:
    """Change sample b's image (C, *space); `finest` is the length of the finest axis's voxel in voxels of each axis."""
    noise, seed, blur, brightness, shift, contrast, kept, inverted = (each[b].item() for each in grey)
    x = image if image.dtype == torch.float64 else image.float()
    if noise:
        own = torch.Generator().manual_seed(int(seed))
        x = x + noise * torch.randn(x.shape, generator=own, dtype=x.dtype).to(x.device)
    if blur:
        x = along_axes(x, [gaussian(n, blur * f) for n, f in zip(x.shape[1:], finest, strict=True)])
    if brightness != 1 or shift:
        x = x * brightness + shift
    if contrast != 1:
        space = tuple(range(1, x.ndim))
        mean, low, high = x.mean(space, keepdim=True), x.amin(space, keepdim=True), x.amax(space, keepdim=True)
        x = ((x - mean) * contrast + mean).clamp(low, high)
    if kept != 1:
        x = along_axes(x, [coarse(n, max(1, round(n * kept))) for n in x.shape[1:]])
    if inverted != 1:
        x = -gamma(-x, inverted)
    return x.to(image.dtype)


def gamma(image: Tensor, exponent: float) -> Tensor:
    """((x - min) / (max - min))^exponent, rescaled to the mean and standard deviation of x."""
    x = image if image.dtype == torch.float64 else image.float()
    space, tiny = tuple(range(1, x.ndim)), torch.finfo(x.dtype).tiny
    low, mean = x.amin(space, keepdim=True), x.mean(space, keepdim=True)
    curved = (x - low).div_((x.amax(space, keepdim=True) - low).clamp_min(tiny)).pow_(exponent)
    curved -= curved.mean(space, keepdim=True)
    before = torch.linalg.vector_norm(x - mean, dim=space, keepdim=True)
    after = torch.linalg.vector_norm(curved, dim=space, keepdim=True)
    return curved.mul_(before / after.clamp_min(tiny)).add_(mean).to(image.dtype)


def along_axes(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Multiply each spatial axis of (C, *space) by its matrix, which is quicker on a CPU than a convolution."""
    for axis, matrix in enumerate(matrices, start=1):
        x = (x.movedim(axis, -1) @ matrix.to(x.device, x.dtype).T).movedim(-1, axis)
    return x.contiguous()


def gaussian(n: int, sigma: float) -> Tensor:
    """(n, n): each row is a Gaussian about its voxel, cut off at four standard deviations and at the border."""
    away = torch.arange(n, dtype=torch.float64)[:, None] - torch.arange(n)
    weights = torch.exp(-((away / max(sigma, 1e-6)) ** 2) / 2) * (away.abs() <= math.ceil(4 * sigma))
    return weights / weights.sum(1, keepdim=True)


def coarse(n: int, kept: int) -> Tensor:
    """(n, n): reads `kept` of n voxels, the nearest to evenly spaced centres, and interpolates between them."""
    taken = ((torch.arange(kept) + 0.5) * n / kept).long().clamp_max(n - 1)
    at = ((torch.arange(n, dtype=torch.float64) + 0.5) * kept / n - 0.5).clamp(0, kept - 1)
    below = at.long().clamp_max(max(kept - 2, 0))
    rows, share = torch.arange(n), at - below
    matrix = torch.zeros(n, n, dtype=torch.float64)
    matrix.index_put_((rows, taken[below]), 1 - share, accumulate=True)
    matrix.index_put_((rows, taken[(below + 1).clamp_max(kept - 1)]), share, accumulate=True)
    return matrix
