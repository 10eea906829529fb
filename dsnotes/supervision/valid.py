"""Ignore labels: voxels labelled "ignore" do not enter the loss.

The loss is computed on the valid voxels only: for a mean over the batch they are concatenated, for a mean over images
each image keeps its own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from dsnotes.shapes import CoarseMask, Logits, Scalar

Loss = Callable[[Logits, CoarseMask], Scalar]


def on_valid(loss: Loss, logits: Tensor, t: Tensor, valid: Tensor | None, *, per_image: bool = False) -> Scalar:
    """`loss(logits, t)` over the voxels in `valid` (B, *space); None means all, and without any the loss is 0.

    For coarser logits, a cell counts only if all its voxels are valid. With `per_image` the loss is a mean over the
    images that have a valid voxel.
    """
    if valid is None:
        return loss(logits, t)
    counted = coarse(valid, tuple(logits.shape[2:]))
    if not per_image:
        logits, t = (x.movedim(1, 0)[:, counted].unsqueeze(0) for x in (logits, t))  # (1, C, voxels)
        return loss(logits, t) if counted.any() else logits.sum() * 0
    parts = [
        loss(one[:, where].unsqueeze(0), target[:, where].unsqueeze(0))
        for one, target, where in zip(logits, t, counted, strict=True)
        if where.any()
    ]
    return torch.stack(parts).mean() if parts else logits.sum() * 0


def coarse(valid: Tensor, size: tuple[int, ...]) -> Tensor:
    """`valid` (B, *space) downsampled to `size`: a cell is valid if all its voxels are, whichever of them it reads."""
    if tuple(valid.shape[1:]) == size:
        return valid.bool()
    pool = (functional.adaptive_max_pool2d, functional.adaptive_max_pool3d)[len(size) - 2]
    return pool((~valid.bool()).float()[:, None], size)[:, 0] == 0
