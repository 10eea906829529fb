"""DSNet's supervision: the mask by Dice, a soft mask by L1, and a critic that sees image and soft mask together.

    L = λ1 (1 - D(y, mask))  +  λ2 mean|y - soft|  +  λ3 mean(-ln C(x, y))        λ = .5, 100, 1, y the probabilities
        dice                    soft                  adversarial

The paper has the Dice of the binarised prediction, which has no gradient, and log(1 - C) in the last term, whose
gradient vanishes once the critic wins (`saturating=True`). L1 is a mean over pixels; over 256² pixels a sum would be
65 536 times larger. `training.adversarial_step` trains the critic and adds the last term.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsnotes.losses import generator_loss, soft_dice
from dsnotes.networks.base import Backbone
from dsnotes.networks.critic import PixelCritic
from dsnotes.shapes import Outputs, Probs, Scalar, SoftMask, n_logits
from dsnotes.supervision.base import Batch, Supervision
from dsnotes.supervision.plain import foreground
from dsnotes.supervision.targets import class_indices, one_hot, probabilities


@dataclass(frozen=True)
class SoftAdversarial(Supervision):
    """A weight of 0 leaves out its term: `adversarial=0` builds no critic, with `soft=0` too no soft mask is needed.
    If the network predicts on a finer grid (`Outputs.fine`), label and soft mask are upsampled to it. With
    `binary=True` the mask itself takes the soft mask's place: what the softness adds is the difference.
    """

    dice: float = 0.5
    soft: float = 100.0
    adversarial: float = 1.0
    saturating: bool = False
    critic_width: int = 64
    binary: bool = False

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Scalar]:
        y = prediction(outputs)
        terms = {}
        if self.dice:
            mask = true_mask(outputs, batch)
            terms["dice"] = self.dice * soft_dice(foreground(y), foreground(mask), squared=False)
        if self.soft:
            terms["soft"] = self.soft * (y - self.target(outputs, batch)).abs().mean()
        return terms

    def target(self, outputs: Outputs, batch: Batch) -> SoftMask:
        return true_mask(outputs, batch) if self.binary else true_soft_mask(outputs, batch)

    def critic(self, backbone: Backbone) -> nn.Module:
        if backbone.dims != 2:
            raise ValueError(
                f"the pixelwise critic works on slices, but this backbone is {backbone.dims}-D. Pass adversarial=0 for "
                f"the soft mask alone, or build the backbone with dims=2."
            )
        return PixelCritic(backbone.in_channels + n_logits(backbone.classes), self.critic_width)

    def adversarial_term(self, critic: Callable[[Tensor], Tensor], outputs: Outputs, batch: Batch) -> Scalar:
        _, fake = self.pairs(outputs, batch)
        return self.adversarial * generator_loss(critic(fake), saturating=self.saturating)

    def pairs(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """The critic's inputs: the image with the true soft mask, and with the predicted one."""
        y, soft, image = prediction(outputs), self.target(outputs, batch), batch["image"]
        if y.shape[2:] != image.shape[2:]:
            image = functional.interpolate(image, scale_factor=y.shape[-1] // image.shape[-1], mode="bicubic")
        return torch.cat([image, soft], dim=1), torch.cat([image, y], dim=1)


def prediction(outputs: Outputs) -> Probs:
    """Probabilities on the network's finest grid."""
    return probabilities(outputs.logits if outputs.fine is None else outputs.fine)


def true_mask(outputs: Outputs, batch: Batch) -> Tensor:
    """The batch's mask, one channel per logit, on the grid of `prediction`."""
    t = one_hot(class_indices(batch["label"], outputs.logits), outputs.logits.shape[1])
    return functional.interpolate(t, prediction(outputs).shape[2:], mode="nearest")


def true_soft_mask(outputs: Outputs, batch: Batch) -> SoftMask:
    """The batch's soft mask on the grid of `prediction`."""
    y = outputs.logits if outputs.fine is None else outputs.fine
    if "soft" not in batch:
        raise ValueError(
            "this objective needs soft masks, but the cases have none. Add one to each case, for instance "
            "replace(case, extras={**case.extras, 'soft': soft_mask(case.image, trimap_from_mask(case.label, 3), "
            "eps=1e-2)}) with dsnotes.softmask, or build a system without them, such as dsnet-sdrfm."
        )
    soft = batch["soft"]
    if soft.shape[1] != y.shape[1]:
        raise ValueError(
            f"the soft mask has shape {tuple(soft.shape)}, the prediction {tuple(y.shape)}. extras['soft'] needs one "
            f"channel per class, background first, or a single channel if classes=2."
        )
    if soft.shape[2:] == y.shape[2:]:
        return soft
    return functional.interpolate(soft, y.shape[2:], mode="bilinear" if y.ndim == 4 else "trilinear")
