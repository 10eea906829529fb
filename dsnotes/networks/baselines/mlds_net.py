"""MLDS-Net: a U-Net that predicts at every level which classes occur in each cell.

Paper: Reiß et al. 2021, "Every annotation counts: multi-label deep supervision for medical image segmentation",
https://arxiv.org/abs/2104.13243; heads as in the authors' release.
Departs from it: the paper's semi-weak part, a teacher for images without masks, is left out; the upsampled map is
concatenated before the skip, as in our U-Net.
"""

from __future__ import annotations

from torch import nn

from dsnotes.networks.base import Backbone, Features, Head
from dsnotes.networks.blocks import CONV, conv_norm_relu
from dsnotes.networks.unet import UNet
from dsnotes.shapes import Image, n_logits


def projection(n_in: int, width: int, outputs: int, *, dims: int, norm: str = "batch") -> nn.Sequential:
    """1x1 to `width` channels, norm, ReLU, 1x1 to scores."""
    return nn.Sequential(conv_norm_relu(n_in, width, dims=dims, kernel=1, norm=norm), CONV[dims](width, outputs, 1))


class MLDSNet(UNet):
    """31,046,657 parameters in deployment: the U-Net with a two-layer head."""

    def __init__(
        self, *, in_channels: int = 1, classes: int = 2, dims: int = 2, width: int = 64, norm: str = "batch"
    ) -> None:
        super().__init__(in_channels=in_channels, classes=classes, dims=dims, width=width, norm=norm)
        self.output = projection(width, width, n_logits(classes), dims=dims, norm=norm)


class ProjectionHeads(Head):
    """A two-layer head on every decoder level and the bottleneck: 31,174,918 parameters in training.

    The finest level has its own head besides the output's, because its targets differ.
    """

    def __init__(self, backbone: Backbone, *, norm: str = "batch") -> None:
        super().__init__()
        width = backbone.sides()["stride1"].channels
        deepest = backbone.levels["bottleneck"]
        read = {**backbone.sides(), f"stride{max(deepest.stride)}": deepest}
        self.branches = nn.ModuleDict(
            {
                name: projection(level.channels, width, n_logits(backbone.classes), dims=backbone.dims, norm=norm)
                for name, level in read.items()
            }
        )

    def forward(self, features: Features, image: Image) -> dict:
        return {
            "side_outputs": {
                name: branch(features.decoder.get(name, features.bottleneck)) for name, branch in self.branches.items()
            }
        }
