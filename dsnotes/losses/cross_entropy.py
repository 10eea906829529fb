"""Cross-entropies, against hard or soft targets.

They take logits, because the logarithm of a float32 sigmoid overflows to -inf for confident predictions.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from dsnotes.losses.overlap import require_alike, soft_dice
from dsnotes.shapes import Logits, Scalar, SoftMask


def binary_cross_entropy(logits: Logits, t: SoftMask) -> Scalar:
    r"""$-\frac1n \sum [\,t \ln p + (1 - t) \ln (1 - p)\,]$ with $p = \sigma(\mathrm{logits})$."""
    require_alike(logits, t)
    return functional.binary_cross_entropy_with_logits(logits, t)


def cross_entropy(
    logits: Logits, t: SoftMask, *, weights: tuple[float, ...] | None = None, normalised: bool = True
) -> Scalar:
    r"""$\frac{-\sum_i \sum_c w_c t_{ic} \ln p_{ic}}{\sum_i \sum_c w_c t_{ic}}$ with $p$ the softmax of the logits.

    For one-hot targets this equals PyTorch's weighted mean; soft targets use the same formula.
    `normalised=False` divides by the number of voxels instead, so that smaller weights give a smaller loss (MSS U-Net).
    A single channel is the foreground of two classes: its cross-entropy is the binary one.
    """
    require_alike(logits, t)
    if logits.shape[1] == 1 and weights is None:
        return binary_cross_entropy(logits, t)
    if weights is not None and len(weights) != logits.shape[1]:
        raise ValueError(
            f"{len(weights)} class weights {weights} came for {logits.shape[1]} classes. "
            f"Pass one weight per class, background first."
        )
    w = torch.tensor(weights or (1.0,) * logits.shape[1], dtype=logits.dtype, device=logits.device)
    weighted = t * w.view(1, -1, *[1] * (logits.ndim - 2))
    whole = weighted.sum() if normalised else t.numel() / t.shape[1]
    return -(weighted * logits.log_softmax(1)).sum() / whole


def bce_dice(logits: Logits, t: SoftMask, *, squared: bool = False) -> Scalar:
    r"""$L_{BD} = \frac12 \mathrm{BCE} + (1 - D)$: U-Net++'s and µ-Net's combined loss; t may be soft.

    It is zero only where prediction and target are equal and hard (0 or 1).
    """
    return 0.5 * binary_cross_entropy(logits, t) + soft_dice(logits.sigmoid(), t, squared=squared)
