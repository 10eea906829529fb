"""The loss of a two-stage network: the coarse network learns to find foreground, the fine one to segment its region.

In training the region is that of the label, so that the fine network does not depend on the coarse one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dsnotes.losses import soft_dice
from dsnotes.networks.base import Backbone, Head, Network, require_divisible
from dsnotes.shapes import Logits, Outputs, Probs, Scalar
from dsnotes.supervision.base import Batch, Supervision
from dsnotes.supervision.plain import foreground
from dsnotes.supervision.targets import one_hot, probabilities

MAX_POOL = {2: functional.max_pool2d, 3: functional.max_pool3d}


def dice(logits: Logits, t: Probs) -> Scalar:
    """1 - D of the foreground classes, summed over the batch."""
    return soft_dice(foreground(probabilities(logits)), foreground(t), over_batch=True)


@dataclass(frozen=True)
class TwoStageOutputs(Outputs):
    coarse: Tensor | None = None  # logits of the coarse network on its own grid
    crops: tuple[Tensor, ...] = ()  # logits of the fine network in each image's region
    regions: tuple[tuple[slice, ...], ...] = ()


@dataclass(frozen=True)
class TwoStageLoss(Supervision):
    loss: Callable[[Logits, Probs], Scalar] = dice

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        if not (hasattr(backbone, "coarse") and hasattr(backbone, "fine")):
            raise TypeError(
                f"{type(backbone).__name__} came, but TwoStageLoss needs two networks in a row. Build "
                f"TwoStage(coarse, fine), or supervise this one with Plain()."
            )
        return {}

    def run(self, network: Network, batch: Batch) -> TwoStageOutputs:
        """In training, `logits` are the coarse network's: the deployed ones would need a third pass."""
        backbone, image = network.backbone, batch["image"]
        require_divisible(image, backbone.stride)
        mask = self.coarse_mask(batch, backbone.shrink)
        coarse = backbone.find(image).logits
        regions = tuple(backbone.box(each) for each in mask[:, 0] > 0)
        crops = tuple(backbone.fine(one[None][(..., *box)]).logits for one, box in zip(image, regions, strict=True))
        logits = coarse if network.training else network(image).logits
        return TwoStageOutputs(logits, coarse=coarse, crops=crops, regions=regions)

    def terms(self, outputs: TwoStageOutputs, batch: Batch) -> dict[str, Scalar]:
        shrink = batch["image"].shape[-1] // outputs.coarse.shape[-1]
        label = without_channel(batch)
        fine = [
            self.loss(logits, one_hot(its_label[None][(..., *box)], logits.shape[1]))
            for its_label, logits, box in zip(label, outputs.crops, outputs.regions, strict=True)
        ]
        return {
            "coarse": self.loss(outputs.coarse, self.coarse_mask(batch, shrink)),
            "fine": torch.stack(fine).mean(),
        }

    def coarse_mask(self, batch: Batch, shrink: int) -> Probs:
        """Foreground on the coarse grid: 1 where a cell holds any foreground voxel."""
        label = without_channel(batch)
        return MAX_POOL[label.ndim - 1]((label > 0).unsqueeze(1).float(), shrink)


def without_channel(batch: Batch) -> Tensor:
    label = batch["label"]
    return label[:, 0] if label.ndim == batch["image"].ndim else label
