"""Every upsampled prediction against the full-size mask, as in 3-D DSN and M-Net."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dsnotes.losses import cross_entropy
from dsnotes.networks.base import Backbone, Head
from dsnotes.shapes import Logits, Outputs, Scalar, SoftMask
from dsnotes.supervision.base import Batch, Supervision
from dsnotes.supervision.targets import class_indices, one_hot


@dataclass(frozen=True)
class FullSize(Supervision):
    """`head` makes the upsampled predictions; `weights` holds the weight of each."""

    head: Callable[[Backbone], Head]
    weights: dict[str, float]
    loss: Callable[[Logits, SoftMask], Scalar] = cross_entropy

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        return {"upsampled": self.head(backbone)}

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Scalar]:
        t = one_hot(class_indices(batch["label"], outputs.logits), outputs.logits.shape[1])
        if unknown := sorted(set(self.weights) - set(outputs.upsampled)):
            raise KeyError(
                f"weights name {unknown}, but the network upsamples {list(outputs.upsampled)}. Use those names."
            )
        return {name: weight * self.loss(outputs.upsampled[name], t) for name, weight in self.weights.items()}
