"""The loss of the boundary-aware network: masks, and their borders beside them.

    CE + (1 - D)  of the masks  +  weight · [ balanced BCE + (1 - D) ]  of the borders

A border is the part of a mask that an erosion by 3x3(x3) removes: one voxel wide, inside the mask. It covers a few per
cent of the voxels, so both of its terms are balanced. The paper's abstract does not name its losses; these are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from dsnotes.losses import cross_entropy, soft_dice
from dsnotes.shapes import Logits, Outputs, Probs, Scalar
from dsnotes.supervision.base import Batch, Supervision
from dsnotes.supervision.plain import foreground
from dsnotes.supervision.targets import class_indices, one_hot, probabilities

MAX_POOL = {2: functional.max_pool2d, 3: functional.max_pool3d}


@dataclass(frozen=True)
class Boundary(Supervision):
    weight: float = 1.0  # of the borders

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Scalar]:
        if "edge" not in outputs.features:
            raise ValueError(
                f"this network has no map 'edge', only {list(outputs.features)}. The boundary loss needs a "
                f"network that predicts borders: build boundary-aware, or supervise this one with Plain()."
            )
        t = one_hot(class_indices(batch["label"], outputs.logits), outputs.logits.shape[1])
        edge, borders = outputs.features["edge"], border(foreground(t))
        return {
            "cross-entropy": cross_entropy(outputs.logits, t),
            "dice": soft_dice(foreground(probabilities(outputs.logits)), foreground(t), over_batch=True),
            "edge cross-entropy": self.weight * balanced_entropy(edge, borders),
            "edge dice": self.weight * soft_dice(edge.sigmoid(), borders, over_batch=True),
        }


def border(masks: Probs) -> Probs:
    """Each mask minus its erosion. The mask continues beyond the image, so the image's rim is not a border."""
    return masks + MAX_POOL[masks.ndim - 2](-masks, 3, 1, 1)


def balanced_entropy(logits: Logits, t: Probs) -> Scalar:
    """Binary cross-entropy, half of it over the border and half over the rest; only the rest if there is no border."""
    cost = functional.binary_cross_entropy_with_logits(logits, t, reduction="none")
    sides = torch.stack([t, 1 - t])
    counts = sides.flatten(1).sum(1)
    sums = (sides * cost).flatten(1).sum(1)
    return (sums / counts.clamp(min=1)).sum() / (counts > 0).sum()
