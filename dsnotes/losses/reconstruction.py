"""Losses between a restored image and the image itself; targets are scaled to [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dsnotes.shapes import Image, Logits, Scalar


def binary_entropy(t: Image) -> Scalar:
    r"""$-\frac1n \sum [\,t \ln t + (1 - t) \ln (1 - t)\,]$: the BCE of a perfect reconstruction."""
    return -(torch.xlogy(t, t) + torch.xlogy(1 - t, 1 - t)).mean()


def restoration_bce(logits: Logits, t: Image) -> Scalar:
    """BCE minus the entropy of the grey values: the same gradient, and 0 for a perfect reconstruction."""
    return functional.binary_cross_entropy_with_logits(logits, t) - binary_entropy(t)


def restoration_mse(logits: Logits, t: Image) -> Scalar:
    return functional.mse_loss(logits.sigmoid(), t)


def restoration_l1(logits: Logits, t: Image) -> Scalar:
    return functional.l1_loss(logits.sigmoid(), t)


def min_max(image: Image) -> Tensor:
    """Each image and channel scaled to [0, 1]; a constant one becomes 0."""
    low, high = image.flatten(2).aminmax(dim=2)
    shape = (*image.shape[:2], *[1] * (image.ndim - 2))
    return (image - low.view(shape)) / (high - low).clamp_min(torch.finfo(image.dtype).tiny).view(shape)
