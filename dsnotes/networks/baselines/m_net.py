"""M-Net: the encoder also reads the image at three coarser scales, and each decoder level predicts at full size.

Paper: Fu et al. 2018, https://arxiv.org/abs/1801.00926; layers as in the authors' release, without normalisation.
Departs from it: side outputs are scored before upsampling (the two commute), classes exclude each other (the authors'
disc and cup overlap), and there is no polar transform of the eye images.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import AVG_POOL, CONV, MAX_POOL, UP_CONV, Layers
from dsnotes.networks.heads import InterpolatedHeads
from dsnotes.shapes import Image, Logits, Outputs, Probs, n_logits


def conv_relu(n_in: int, n_out: int, dims: int) -> nn.Sequential:
    return nn.Sequential(CONV[dims](n_in, n_out, 3, padding=1), nn.ReLU(inplace=True))


def double(n_in: int, n_out: int, dims: int) -> nn.Sequential:
    return Layers(conv_relu(n_in, n_out, dims), conv_relu(n_out, n_out, dims))


class FromImage(nn.Module):
    """An encoder level that reads the image, pooled to its size, and the pooled map of the level above."""

    def __init__(self, in_channels: int, n_in: int, n_out: int, dims: int) -> None:
        super().__init__()
        self.look = conv_relu(in_channels, n_out, dims)
        self.convs = double(n_out + n_in, n_out, dims)

    def forward(self, image: Tensor, above: Tensor) -> Tensor:
        return self.convs(torch.cat([self.look(image), above], dim=1))


class MNet(Backbone):
    """8,538,596 parameters with its four side heads.

    µ-Net's `deep` and `auto` fit; the tied decoder does not, because an encoder level is not a simple chain.
    """

    def __init__(self, *, in_channels: int = 1, classes: int = 2, dims: int = 2, width: int = 32) -> None:
        super().__init__()
        self.in_channels, self.classes = in_channels, classes
        widths = [width * 2**i for i in range(5)]
        self.stride = (16,) * dims
        self.levels = {
            **{f"encoder.stride{2**i}": Level(n, (2**i,) * dims) for i, n in enumerate(widths[:-1])},
            "bottleneck": Level(widths[-1], self.stride),
            **{f"decoder.stride{2**i}": Level(n, (2**i,) * dims) for i, n in enumerate(widths[:-1])},
        }
        self.pool, self.shrink = MAX_POOL[dims](2), AVG_POOL[dims](2)
        self.encoder = nn.ModuleList(
            [double(in_channels, width, dims), *(FromImage(in_channels, a, b, dims) for a, b in pairwise(widths[:-1]))]
        )
        self.bottleneck = double(widths[-2], widths[-1], dims)
        self.up = nn.ModuleList(UP_CONV[dims](2 * n, n, 2, stride=2) for n in widths[:-1])
        self.decoder = nn.ModuleList(double(2 * n, n, dims) for n in widths[:-1])
        self.output = CONV[dims](width, n_logits(classes), 1)

    def forward(self, image: Image) -> Features:
        x = self.encoder[0](image)
        encoder, small = {"stride1": x}, image
        for level, block in enumerate(self.encoder[1:], start=1):
            small = self.shrink(small)  # (B, C, size / 2^level)
            x = encoder[f"stride{2**level}"] = block(small, self.pool(x))
        bottleneck = x = self.bottleneck(self.pool(x))
        decoder = {}
        for level in reversed(range(len(self.decoder))):
            x = torch.cat([self.up[level](x), encoder[f"stride{2**level}"]], dim=1)
            x = decoder[f"stride{2**level}"] = self.decoder[level](x)
        return Features(encoder, bottleneck, dict(reversed(decoder.items())), self.output(x))


class MNetSides(InterpolatedHeads):
    """One score map per level, upsampled by nearest neighbour, and "mean": the logits of their mean probability."""

    deployed = True

    def forward(self, features: Features, image: Image) -> dict:
        (raised,) = super().forward(features, image).values()
        return {"upsampled": {**raised, "mean": logits_of_the_mean(list(raised.values()))}}


def logits_of_the_mean(logits: list[Logits]) -> Logits:
    """Logits of the mean probability of the given logits, computed on the log scale."""
    z = torch.stack(logits).float()
    if z.shape[2] > 1:
        return z.log_softmax(2).logsumexp(0)
    log_sigmoid = nn.functional.logsigmoid
    return log_sigmoid(z).logsumexp(0) - log_sigmoid(-z).logsumexp(0)


def mean_answer(outputs: Outputs) -> Probs:
    """Deployment: the mean of the side outputs, or the output if there are none."""
    z = outputs.upsampled.get("mean", outputs.logits)
    return z.sigmoid() if z.shape[1] == 1 else z.softmax(1)
