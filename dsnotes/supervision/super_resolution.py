"""SRGAN's supervision: the image itself, seen smaller, is the exercise and its solution; no label is looked at.

    L = mean (G(x↓) - x)² / var x  +  λ mean(-ln C(G(x↓)))        λ = 0 to begin with, then 1e-3
        squares                       deceive

Ledig et al. take the squares between VGG features; here they are between pixels, and in units of each image's own
variance, so that HU and windows weigh alike against the critic.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dsnotes.losses import generator_loss
from dsnotes.networks.base import Backbone, Head, Network
from dsnotes.networks.critic import Critic
from dsnotes.networks.srgan import ImageCritic
from dsnotes.shapes import Outputs
from dsnotes.supervision.base import Batch
from dsnotes.supervision.soft_adversarial import judge_of


@dataclass(frozen=True)
class SuperResolution:
    """`adversarial` is λ; 0 builds no critic."""

    adversarial: float | int = 1e-3
    critic_width: int = 64

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        return {"critic": Critic(ImageCritic(backbone.in_channels, self.critic_width))} if self.adversarial else {}

    def __call__(self, network: Network, batch: Batch) -> dict[str, Tensor]:
        outputs = network(batch["image"])
        real, fake = self.pairs(outputs, batch)
        terms = {"squares": (fake - real).square().mean()}
        if self.adversarial:
            terms["deceive"] = self.adversarial * generator_loss(judge_of(network)(fake))
        return terms

    def pairs(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the critic is shown: the image and the one made from it, both standardised by the true one."""
        x = batch["image"]
        mean, spread = x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True).clamp_min(1e-6)
        return (x - mean) / spread, (outputs.logits - mean) / spread
