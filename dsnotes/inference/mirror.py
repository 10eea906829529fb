"""Test-time augmentation: the mean prediction over all mirrored views of the input, optionally with noise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations

import torch
from torch import Tensor

from dsnotes.inference.sliding_window import Predictor


def mirror(predictor: Predictor, axes: Sequence[int] | None = None, *, noise: float = 0.0, seed: int = 0) -> Predictor:
    r"""$x \mapsto 2^{-n} \sum_{m} m(f(m(x)))$ over the $2^n$ mirrorings $m$ of n spatial axes: 4 in 2-D, 8 in 3-D.

    `axes` numbers the spatial axes from 0 (depth in 3-D); the default is all. Leave out an axis along which the network
    must tell the two sides apart. `noise` is the standard deviation of Gaussian noise, drawn for each view, in units of
    the preprocessed image: MSS U-Net mentions it without a size, and its release has none. The result is again a
    predictor, for use alone or in `sliding_window`.
    """
    if noise < 0:
        raise ValueError(f"noise must be 0 or more, got {noise}. For instance noise=0.1 of an image with variance 1.")
    generators: dict[torch.device, torch.Generator] = {}

    def mirrored(image: Tensor) -> Tensor:
        views = list(_mirrorings(axes, image.ndim - 2))
        total = None
        for dims in views:
            view = image.flip(dims)
            if noise:
                generator = generators.setdefault(view.device, torch.Generator(view.device).manual_seed(seed))
                view += noise * torch.randn(view.shape, generator=generator, device=view.device, dtype=view.dtype)
            p = predictor(view).flip(dims)  # flip copies, so `total` can be changed in place
            total = p.to(torch.float32) if total is None else total.add_(p)
        return total.div_(len(views))

    return mirrored


def _mirrorings(axes: Sequence[int] | None, n_axes: int) -> list[tuple[int, ...]]:
    """Every set of axes to flip, the empty set first, numbered as in (batch, channel, *space)."""
    chosen = range(n_axes) if axes is None else sorted(set(axes))
    if any(axis not in range(n_axes) for axis in chosen):
        raise ValueError(
            f"axes={tuple(axes)} cannot all be mirrored: the image has {n_axes} spatial axes. "
            f"Choose from {tuple(range(n_axes))}, or leave axes out to mirror all of them."
        )
    sets = chain.from_iterable(combinations(chosen, n) for n in range(len(chosen) + 1))
    return [tuple(axis + 2 for axis in flipped) for flipped in sets]
