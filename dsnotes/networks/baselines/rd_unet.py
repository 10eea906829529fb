"""Recurrent 3-D DenseUNet: dense units in the slice plane, and three ConvLSTMs along the slices in the bottleneck.

Paper: Kamal et al. 2018, "Lung cancer tumor region segmentation using recurrent 3D-DenseUNet",
https://arxiv.org/abs/1812.01951; layers as in the authors' release.
The slice axis is never pooled: the recurrence runs along it, from the first slice to the last.
Departs from it: logits instead of probabilities, and batch norms with PyTorch's momentum instead of Keras's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import CONV
from dsnotes.networks.stage import Stage
from dsnotes.shapes import Image, n_logits

IN_PLANE = (1, 2, 2)


class DenseUnit(Stage):
    """a from x, b from [x, a]; returns [x, b], without a."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.a = nn.Sequential(CONV[3](n_in, n_out, 3, padding=1), nn.BatchNorm3d(n_out), nn.ReLU(inplace=True))
        self.b = nn.Sequential(CONV[3](n_in + n_out, n_out, 3, padding=1), nn.BatchNorm3d(n_out), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.b(torch.cat([x, self.a(x)], dim=1))], dim=1)


class ConvLSTM(nn.Module):
    """3x3 convolutional LSTM along the depth axis that returns every step, with hard-sigmoid gates as in Keras."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.of_input = nn.Conv2d(n_in, 4 * n_out, 3, padding=1)
        self.of_state = nn.Conv2d(n_out, 4 * n_out, 3, padding=1, bias=False)
        with torch.no_grad():  # gate order: input, forget, candidate, output; the forget gate starts open
            self.of_input.bias.zero_()
            self.of_input.bias[n_out : 2 * n_out] = 1

    def forward(self, x: Tensor) -> Tensor:
        batch, _, depth, *plane = x.shape
        hidden = self.of_state.in_channels
        h = c = x.new_zeros(batch, hidden, *plane)
        driven = self.of_input(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (batch, depth))  # all slices at once
        steps = []
        for at in range(depth):
            i, f, g, o = (driven[:, at] + self.of_state(h)).chunk(4, dim=1)
            c = hard_sigmoid(f) * c + hard_sigmoid(i) * g.tanh()
            h = hard_sigmoid(o) * c.tanh()
            steps.append(h)
        return torch.stack(steps, dim=2)  # (B, hidden, depth, height, width)


def hard_sigmoid(x: Tensor) -> Tensor:
    """clip(0.2 x + 0.5, 0, 1), as in Keras; PyTorch's hard sigmoid has the slope 1/6."""
    return (0.2 * x + 0.5).clamp(0, 1)


class RDUNet(Backbone):
    """19,096,833 parameters at `width` 32; 19,100,161 with the running statistics, which Keras counts too."""

    def __init__(self, *, in_channels: int = 1, classes: int = 2, dims: int = 3, width: int = 32) -> None:
        super().__init__()
        if dims != 3:
            raise ValueError(
                f"dims={dims}, but this network is recurrent along the slices of a volume. Build it with dims=3."
            )
        self.in_channels, self.classes = in_channels, classes
        w1, w2, w3, w4 = (width * 2**i for i in range(4))
        d1, d2, d3 = in_channels + w1, in_channels + w1 + w2, in_channels + w1 + w2 + w3
        self.stride = (1, 8, 8)
        self.levels = {
            **{f"encoder.stride{s}": Level(n, (1, s, s)) for s, n in ((1, d1), (2, d2), (4, d3))},
            "bottleneck": Level(w4, self.stride),
            "decoder.stride1": Level(3 * w1, (1, 1, 1)),
            "decoder.stride2": Level(3 * w2, (1, 2, 2)),
            "decoder.stride4": Level(2 * w3 + d3, (1, 4, 4)),
        }
        self.pool, self.drop = nn.MaxPool3d(IN_PLANE), nn.Dropout3d(0.1)
        self.encoder = nn.ModuleList([DenseUnit(in_channels, w1), DenseUnit(d1, w2), DenseUnit(d2, w3)])
        self.recurrent = nn.Sequential(
            *(layer for n_in in (d3, w4, w4) for layer in (ConvLSTM(n_in, w4), nn.BatchNorm3d(w4)))
        )
        self.plain = (w1, w2)  # at the two finest levels the skip is only b, deeper it is the whole dense map
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(a, b, IN_PLANE, stride=IN_PLANE) for a, b in ((3 * w2, w1), (2 * w3 + d3, w2), (w4, w3))
        )
        self.decoder = nn.ModuleList([DenseUnit(2 * w1, w1), DenseUnit(2 * w2, w2), DenseUnit(w3 + d3, w3)])
        self.output = CONV[3](3 * w1, n_logits(classes), 1)

    def forward(self, image: Image) -> Features:
        encoder, x = {}, image
        for level, unit in enumerate(self.encoder):
            x = encoder[f"stride{2**level}"] = unit(x)
            x = self.drop(self.pool(x))
        bottleneck = x = self.recurrent(x)
        skips = [encoder[f"stride{2**i}"][:, -n:] for i, n in enumerate(self.plain)] + [encoder["stride4"]]
        decoder = {}
        for level in reversed(range(3)):
            x = self.decoder[level](torch.cat([self.up[level](x), skips[level]], dim=1))
            decoder[f"stride{2**level}"] = x
        return Features(encoder, bottleneck, dict(reversed(decoder.items())), self.output(x))
