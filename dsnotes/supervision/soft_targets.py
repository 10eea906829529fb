"""Soft masks as targets of any backbone: `extras["soft"]` takes the place of the label in the loss.

Where they come from: `softmask.softened` (matting), `softmask.soft_labels` (smoothed, blurred, mean of annotators).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from dsnotes.networks.base import Backbone, Head
from dsnotes.networks.heads import SideHeads
from dsnotes.shapes import Logits, Outputs, Scalar, SoftMask, n_logits
from dsnotes.supervision.base import Batch, Supervision
from dsnotes.supervision.multi_scale import entropy_and_dice, halving
from dsnotes.supervision.soft_adversarial import true_soft_mask
from dsnotes.supervision.targets import probabilities
from dsnotes.supervision.valid import on_valid

Loss = Callable[[Logits, SoftMask], Scalar]
SIZE, STEP = 16, 0.02  # of the test maps: pixels per axis, change of the logits


@dataclass(frozen=True)
class SoftTargets(Supervision):
    """`loss(logits, soft)` of the output, by default cross-entropy plus soft Dice with squares.

    `deep=True` adds a side output per level, against the soft mask averaged over each cell, with weights 1, ½, ¼, …
    scaled to sum to 1. Building the system raises an error if the loss is not lowest at the target itself.
    """

    loss: Loss = entropy_and_dice
    deep: bool = False

    voxelwise = True

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        check_loss(self.loss, channels=n_logits(backbone.classes), dims=backbone.dims)
        return {"sides": SideHeads(backbone)} if self.deep else {}

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Scalar]:
        soft, valid = true_soft_mask(outputs, batch), batch.get("valid")
        if not self.deep:
            return {"soft": on_valid(self.loss, outputs.logits, soft, valid)}
        pool = (functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d)[outputs.logits.ndim - 4]
        weights = halving(len(outputs.side_outputs))
        return {
            name: weight * on_valid(self.loss, logits, pool(soft, tuple(logits.shape[2:])), valid)
            for weight, (name, logits) in zip(weights, outputs.side_outputs.items(), strict=True)
        }


def check_loss(loss: Loss, *, channels: int = 1, dims: int = 2) -> None:
    """Raise a ValueError unless the loss is lowest where the prediction equals a soft target."""
    if better := preferred(loss, channels=channels, dims=dims):
        raise ValueError(
            f"{getattr(loss, '__name__', type(loss).__name__)} is lower for {better} prediction than for one that "
            f"equals the soft target, so it would not learn the shares. Pass cross_entropy, soft_dice(squared=True), "
            f"jaccard_metric or dice_semimetric of dsnotes.losses, or a sum of them; for hard labels use Plain()."
        )


@torch.no_grad()
def preferred(loss: Loss, *, channels: int = 1, dims: int = 2) -> str | None:
    """In which direction from a soft target the loss falls: "a sharper" prediction, "a blunter", "a larger" or "a
    smaller" one; None if it is lowest at the target itself. Tested with small steps in float64."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, channels, *(SIZE,) * dims, generator=generator, dtype=torch.float64)
    t = probabilities(logits)
    shift = torch.zeros_like(logits)
    shift[:, -1] = STEP
    ways = {
        "a sharper": logits * (1 + STEP),
        "a blunter": logits * (1 - STEP),
        "a larger": logits + shift,
        "a smaller": logits - shift,
    }
    at_target = float(loss(logits, t))
    return next((name for name, moved in ways.items() if float(loss(moved, t)) < at_target - 1e-9), None)
