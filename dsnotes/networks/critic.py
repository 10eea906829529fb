"""A judge that training needs beside a network: part of its state, and none of what it computes."""

from __future__ import annotations

from torch import Tensor, nn

from dsnotes.networks.base import Features, Head
from dsnotes.shapes import Image


class Critic(Head):
    """Carries `judge`, which an adversarial objective shows true and made things; saved and dropped as heads are.

    It reads no features and gives no output of its own, so that it can sit on any backbone.
    """

    def __init__(self, judge: nn.Module) -> None:
        super().__init__()
        self.judge = judge

    def forward(self, features: Features, image: Image) -> dict[str, Tensor]:
        return {}
