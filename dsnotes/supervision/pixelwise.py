"""A single pixelwise loss on the output, instead of cross-entropy plus Dice.

`hardest` is FRRN's: only the pixels with the largest loss in each image count. `balanced` is Anam-Net's: all classes
have the same weight, however few pixels they have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dsnotes.shapes import Logits, Outputs, Probs, Scalar
from dsnotes.supervision.base import Batch, Supervision
from dsnotes.supervision.targets import class_indices, one_hot

HARDEST, SHARE = 512 * 64, 1 / 4  # pixels; for smaller images, the same share as in the authors' crops


@dataclass(frozen=True)
class Pixelwise(Supervision):
    """`loss(logits, t)` of `Outputs.logits`."""

    loss: Callable[[Logits, Probs], Scalar]

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Scalar]:
        logits = outputs.logits
        t = one_hot(class_indices(batch["label"], logits), logits.shape[1])
        return {"cross-entropy": self.loss(logits, t)}


def cost(logits: Logits, t: Probs) -> Tensor:
    """The cross-entropy of every pixel: (B, *space)."""
    if logits.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(logits, t, reduction="none")[:, 0]
    return -(t * logits.log_softmax(1)).sum(1)


def hardest(logits: Logits, t: Probs, *, pixels: int = HARDEST, share: float = SHARE) -> Scalar:
    """The mean over the `pixels` with the largest loss in each image, or over the worst `share` if that is fewer."""
    each = cost(logits, t).flatten(1)
    kept = min(pixels, max(int(share * each.shape[1]), 1))
    return each.topk(kept, dim=1).values.mean()


def balanced(logits: Logits, t: Probs) -> Scalar:
    r"""$\frac1K \sum_c \frac1{n_c} \sum_{i \in c} -\ln p_i$ over the K classes present in the batch."""
    shares = t if t.shape[1] > 1 else torch.cat([1 - t, t], dim=1)  # (B, K, *space)
    over = (0, *range(2, t.ndim))
    counts = shares.sum(over)
    sums = (shares * cost(logits, t).unsqueeze(1)).sum(over)
    return (sums / counts.clamp(min=1)).sum() / (counts > 0).sum()
