"""MLDS-Net's loss: the output against the mask, and each side output against all classes present in its cells.

A cell may hold several classes, so one-hot masks are reduced by their maximum and a side output has one sigmoid per
class. The authors sum over the batch; here it is a mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dsnotes.losses import binary_cross_entropy, cross_entropy
from dsnotes.networks.base import Backbone, Head
from dsnotes.shapes import Logits, Outputs, Scalar, SoftMask
from dsnotes.supervision.base import Batch, Supervision
from dsnotes.supervision.targets import class_indices, downsample_target, one_hot


@dataclass(frozen=True)
class MultiLabel(Supervision):
    """`head` makes the side outputs."""

    head: Callable[[Backbone], Head]
    weight: float = 1.0  # of every side output
    loss: Callable[[Logits, SoftMask], Scalar] = cross_entropy  # of the output

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        return {"sides": self.head(backbone)}

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Scalar]:
        label = class_indices(batch["label"], outputs.logits)
        terms = {"output": self.loss(outputs.logits, one_hot(label, outputs.logits.shape[1]))}
        for name, side in outputs.side_outputs.items():
            held = downsample_target(label, tuple(side.shape[2:]), channels=side.shape[1], how="max")
            terms[name] = self.weight * binary_cross_entropy(side, held)
        return terms
