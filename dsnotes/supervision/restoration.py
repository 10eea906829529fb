"""DSMS U-Net's supervision: a second decoder restores the image, so that the bottleneck keeps the image's content.

    L = 10 BCE(segmentation, mask) + 1 BCE(restoration, image)

Each image of a batch is scaled to [0, 1] by its own minimum and maximum, whatever its normalisation. BCE against grey
values is never below their entropy, about 0.5 for uniformly distributed values. The restoration term is reported minus
that entropy, which does not change the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from dsnotes.losses import min_max, restoration_bce, restoration_l1, restoration_mse
from dsnotes.networks.base import Backbone, Head
from dsnotes.networks.heads import RestorationDecoder
from dsnotes.shapes import Outputs, Scalar
from dsnotes.supervision.base import Batch, Supervision
from dsnotes.supervision.plain import Plain

LOSSES: dict[str, Callable[[Tensor, Tensor], Scalar]] = {
    "bce": restoration_bce,
    "mse": restoration_mse,
    "l1": restoration_l1,
}
CROSS_ENTROPY = Plain(dice=0.0)


@dataclass(frozen=True)
class Restoration(Supervision):
    """The paper's weights are 10 for `segmentation` and 1 for `restoration`; 0 builds no second decoder."""

    segmentation: float = 10.0
    restoration: float = 1.0
    loss: str = "bce"
    norm: str = "batch"  # of the second decoder: "batch" or "instance"
    segmentation_loss: Plain = CROSS_ENTROPY  # as in the paper

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"loss={self.loss!r} is unknown. Choose one of {list(LOSSES)}.")
        if min(self.segmentation, self.restoration) < 0 or not self.segmentation + self.restoration > 0:
            raise ValueError(
                f"segmentation={self.segmentation}, restoration={self.restoration} are not valid weights. Pass "
                f"weights of 0 or more, one of them positive, such as the paper's 10.0 and 1.0."
            )

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        return {"restoration": RestorationDecoder(backbone, norm=self.norm)} if self.restoration else {}

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Scalar]:
        terms = {"segmentation": self.segmentation * sum(self.segmentation_loss.terms(outputs, batch).values())}
        if self.restoration:
            if outputs.restored is None:
                raise ValueError(
                    "this network restores no image (Outputs.restored is None). Build it with "
                    "dsnotes.supervision.supervise(backbone, Restoration()), which adds the decoder."
                )
            image = min_max(batch["image"])
            terms["restoration"] = self.restoration * LOSSES[self.loss](outputs.restored, image)
        return terms
