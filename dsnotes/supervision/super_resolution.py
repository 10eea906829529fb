"""SRGAN's supervision: the network restores an image from a reduced copy of it; labels are not used.

    L = mean (G(x↓) - x)² / var x  +  λ mean(-ln C(G(x↓)))        λ = 0 to begin with, then 1e-3
        squares                       adversarial

Ledig et al. compare VGG features; here pixels are compared, in units of each image's variance, so that HU and windowed
images have the same weight against the critic, which `training.adversarial_step` trains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from dsnotes.losses import generator_loss
from dsnotes.networks.base import Backbone
from dsnotes.networks.critic import ImageCritic
from dsnotes.shapes import Outputs, Scalar
from dsnotes.supervision.base import Batch, Supervision


@dataclass(frozen=True)
class SuperResolution(Supervision):
    """`adversarial` is λ; 0 needs no critic."""

    adversarial: float = 1e-3
    critic_width: int = 64

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Scalar]:
        real, fake = self.pairs(outputs, batch)
        return {"squares": (fake - real).square().mean()}

    def critic(self, backbone: Backbone) -> nn.Module:
        return ImageCritic(backbone.in_channels, self.critic_width)

    def adversarial_term(self, critic: Callable[[Tensor], Tensor], outputs: Outputs, batch: Batch) -> Scalar:
        _, fake = self.pairs(outputs, batch)
        return self.adversarial * generator_loss(critic(fake))

    def pairs(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """The critic's inputs: image and restored image, both standardised by the image's mean and deviation."""
        x = batch["image"]
        mean, spread = x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True).clamp_min(1e-6)
        return (x - mean) / spread, (outputs.logits - mean) / spread
