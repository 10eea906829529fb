"""Inf-Net's loss: four score maps against the mask, weighted towards hard pixels, and an edge map against its border.

    Σ_S [ Σ w BCE / Σ w  +  1 - (Σ w y t + 1) / (Σ w (y + t - y t) + 1) ]  +  BCE(edge, border)
    w = 1 + 5 |mean of t over 31² - t|

The authors' code multiplies the BCE by w too, but passes a flag that makes it a plain mean (`reference_bce=True`).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from dsnotes.losses import binary_cross_entropy
from dsnotes.shapes import Logits, Outputs, Probs, Scalar
from dsnotes.supervision.base import Batch, Supervision
from dsnotes.supervision.plain import foreground
from dsnotes.supervision.targets import class_indices, one_hot, probabilities

SCORES = ("stride8", "stride16", "score32", "coarse")


@dataclass(frozen=True)
class EdgeGuided(Supervision):
    reference_bce: bool = False

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Scalar]:
        if lacking := [name for name in (*SCORES, "edge") if name not in outputs.features]:
            raise ValueError(
                f"this network has no maps {lacking}, only {list(outputs.features)}. The edge-guided loss needs "
                f"Inf-Net: build inf-net, or supervise this network with Plain() or MultiScale()."
            )
        t = one_hot(class_indices(batch["label"], outputs.logits), outputs.logits.shape[1])
        lesion = foreground(t).amax(1, keepdim=True)
        w = weight(lesion)
        terms = {}
        for name in SCORES:
            logits = upsampled(outputs.features[name], t)
            terms[name] = self.entropy(logits, t, w) + weighted_iou(logits, t, w)
        terms["edge"] = binary_cross_entropy(upsampled(outputs.features["edge"], t), border(lesion))
        return terms

    def entropy(self, logits: Logits, t: Probs, w: Tensor) -> Scalar:
        if logits.shape[1] == 1:
            cost = functional.binary_cross_entropy_with_logits(logits, t, reduction="none")
        else:
            cost = -(t * logits.log_softmax(1)).sum(1, keepdim=True)
        if self.reference_bce:
            return cost.mean()
        return ((w * cost).sum((2, 3)) / w.sum((2, 3))).mean()


def weight(t: Probs) -> Tensor:
    """1 far from any border, up to 6 at an isolated pixel."""
    return 1 + 5 * (functional.avg_pool2d(t, 31, 1, 15) - t).abs()


def weighted_iou(logits: Logits, t: Probs, w: Tensor) -> Scalar:
    y, t = foreground(probabilities(logits)), foreground(t)
    both = (w * y * t).sum((2, 3))
    either = (w * (y + t)).sum((2, 3)) - both
    return (1 - (both + 1) / (either + 1)).mean()


def border(t: Probs) -> Probs:
    """1 where a 3x3 window holds both lesion and background."""
    return functional.max_pool2d(t, 3, 1, 1) + functional.max_pool2d(-t, 3, 1, 1)


def upsampled(map_: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(map_, like.shape[2:], mode="bilinear")
