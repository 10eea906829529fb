"""Cross-entropy and Dice on the output alone: the control without deep supervision."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dsnotes.losses import cross_entropy, soft_dice
from dsnotes.shapes import Logits, Outputs, Probs, Scalar
from dsnotes.supervision.base import Batch, Supervision
from dsnotes.supervision.targets import class_indices, one_hot, probabilities
from dsnotes.supervision.valid import on_valid


def foreground(p: Tensor) -> Tensor:
    """All channels except the background; a single channel is the foreground."""
    return p if p.shape[1] == 1 else p[:, 1:]


@dataclass(frozen=True)
class Plain(Supervision):
    """`cross_entropy`·CE + `dice`·(1 - D) on `Outputs.logits`; binary cross-entropy where there is one channel."""

    cross_entropy: float = 1.0
    dice: float = 1.0
    squared: bool = True
    over_batch: bool = True
    eps: float = 1e-5  # in numerator and denominator of D

    voxelwise = True

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Scalar]:
        logits = outputs.logits
        t, valid = one_hot(class_indices(batch["label"], logits), logits.shape[1]), batch.get("valid")
        how = {"squared": self.squared, "over_batch": self.over_batch, "eps": self.eps}

        def dice(logits: Logits, t: Probs) -> Scalar:
            return soft_dice(foreground(probabilities(logits)), foreground(t), **how)

        overlap = on_valid(dice, logits, t, valid, per_image=not self.over_batch)
        entropy = on_valid(cross_entropy, logits, t, valid)
        terms = {"cross-entropy": (self.cross_entropy, entropy), "dice": (self.dice, overlap)}
        return {name: weight * value for name, (weight, value) in terms.items() if weight}
