"""Both networks of a two-stage one, each by itself: the coarse one finds foreground, the fine one learns in its region.

The region is the label's while training, so that the fine network never waits for the coarse one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dsnotes.losses import soft_dice
from dsnotes.networks.base import Backbone, Head, Network, require_divisible
from dsnotes.networks.two_stage import TwoStage
from dsnotes.shapes import Logits, Probs, Scalar
from dsnotes.supervision.base import Batch
from dsnotes.supervision.plain import foreground
from dsnotes.supervision.targets import one_hot, probabilities

MAX_POOL = {2: functional.max_pool2d, 3: functional.max_pool3d}


def dice(logits: Logits, t: Probs) -> Scalar:
    """1 - D of the foreground classes, over the batch."""
    return soft_dice(foreground(probabilities(logits)), foreground(t), over_batch=True)


@dataclass(frozen=True)
class TwoStageLoss:
    loss: Callable[[Logits, Probs], Scalar] = dice

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        if not isinstance(backbone, TwoStage):
            raise TypeError(
                f"{type(backbone).__name__} came, but two stages are taught here. Put two networks in a row with "
                f"TwoStage(coarse, fine), or supervise this one by Plain()."
            )
        return {}

    def __call__(self, network: Network, batch: Batch) -> dict[str, Tensor]:
        backbone, image, label = network.backbone, batch["image"], batch["label"]
        require_divisible(image, backbone.stride)
        label = label[:, 0] if label.ndim == image.ndim else label
        small = MAX_POOL[backbone.dims]((label > 0).unsqueeze(1).float(), backbone.shrink)
        seen = backbone.coarse(backbone.small(image)).logits
        fine = []
        for one, its_label, mask in zip(image, label, small[:, 0] > 0, strict=True):
            box = backbone.box(mask)
            logits = backbone.fine(one[None][(..., *box)]).logits
            fine.append(self.loss(logits, one_hot(its_label[None][(..., *box)], logits.shape[1])))
        return {"coarse": self.loss(seen, small), "fine": torch.stack(fine).mean()}
