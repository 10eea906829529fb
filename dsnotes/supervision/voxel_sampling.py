"""Random voxels instead of whole masks: the training of patch classifiers.

Lesion and background are sampled equally, hard voxels more often: lesion voxels near the border, and background voxels
that are near the lesion and bright, such as vessels and pleura. The weights are

    lesion      exp(-d)    d: steps to the nearest voxel outside
    background  exp(-d) g  d: steps to the lesion, g: grey value scaled from the image's minimum (0) to its maximum (1)

after public code for CF-CNN, which ranks voxels by them; here they are sampling probabilities. A step goes to any
neighbour, also diagonally; distances are limited to `REACH`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from dsnotes.losses import cross_entropy
from dsnotes.networks.base import Backbone, Head, Network
from dsnotes.shapes import Image, Integer, Label, Outputs, Scalar
from dsnotes.supervision.base import Batch, Supervision
from dsnotes.supervision.targets import one_hot

Where = Integer[Tensor, "voxels axes"]  # (image in the batch, *voxel)
REACH = 8
MAX_POOL = {2: functional.max_pool2d, 3: functional.max_pool3d}


@dataclass(frozen=True)
class VoxelOutputs(Outputs):
    scores: dict[str, Tensor] = field(default_factory=dict)  # named logits of the drawn voxels, (N, K)
    at: Tensor | None = None  # their positions


@dataclass(frozen=True)
class Voxels(Supervision):
    """Cross-entropy of all named logits at `each` lesion and `each` background voxels per image."""

    each: int = 64

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        if not hasattr(backbone, "scores"):
            raise TypeError(
                f"{type(backbone).__name__} segments whole images, but voxel sampling is for patch classifiers such as "
                f"cf-cnn. Supervise this network with Plain()."
            )
        return {}

    def run(self, network: Network, batch: Batch) -> VoxelOutputs:
        """In training, only the drawn voxels are classified, and `logits` are theirs."""
        image, label = batch["image"], batch["label"]
        at = draw(image, label[:, 0] if label.ndim == image.ndim else label, self.each)
        scores = network.backbone.scores(image, at)
        logits = next(iter(scores.values())) if network.training else network(image).logits
        return VoxelOutputs(logits, scores=scores, at=at)

    def terms(self, outputs: VoxelOutputs, batch: Batch) -> dict[str, Scalar]:
        label = batch["label"]
        label = label[:, 0] if label.ndim == batch["image"].ndim else label
        t = label[tuple(outputs.at.unbind(1))]
        return {name: cross_entropy(logits, one_hot(t, logits.shape[1])) for name, logits in outputs.scores.items()}


def draw(image: Image, label: Label, each: int) -> Where:
    """`2 * each` voxels per image, half lesion and half background; all from one if the other is absent."""
    lesion, chances = label > 0, weights(image, label)
    drawn = []
    for one, inside, chance in zip(range(len(image)), lesion, chances, strict=True):
        sides = [side for side in (inside, ~inside) if side.any()]
        for side in sides:
            flat = torch.multinomial((chance * side).flatten(), 2 * each // len(sides), replacement=True)
            where = torch.stack(torch.unravel_index(flat, inside.shape), dim=1)
            drawn.append(functional.pad(where, (1, 0), value=one))
    return torch.cat(drawn)


def weights(image: Image, label: Label) -> Tensor:
    """(B, *space) sampling weights, see above; always positive, so that sampling never fails."""
    lesion = (label > 0).unsqueeze(1).float()
    grey = image.mean(1, keepdim=True)
    space = tuple(range(2, image.ndim))
    low, high = grey.amin(space, keepdim=True), grey.amax(space, keepdim=True)
    bright = (grey - low) / (high - low).clamp(min=1e-12)
    outside = (-steps(lesion)).exp() * bright.clamp(min=1e-3)
    return torch.where(lesion > 0, (-steps(1 - lesion)).exp(), outside)[:, 0]


def steps(mask: Tensor) -> Tensor:
    """The number of steps from each voxel to the mask, at most `REACH`; 0 inside it."""
    pool, reached, count = MAX_POOL[mask.ndim - 2], mask, torch.zeros_like(mask)
    for _ in range(REACH):
        count = count + (1 - reached)
        reached = pool(reached, 3, 1, 1)
    return count
