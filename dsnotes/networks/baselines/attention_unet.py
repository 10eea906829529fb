"""Attention U-Net: gates computed from the decoder select which parts of each skip pass.

Paper: Oktay et al. 2018, https://arxiv.org/abs/1804.03999
Departs from it as the public 2-D port does, whose parameters these are: the gate reads the upsampled map, so it needs
no resampling, and upsampling is nearest neighbour plus a convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsnotes.networks.base import Features
from dsnotes.networks.blocks import CONV, DoubleConv, conv_norm_relu, normalise
from dsnotes.networks.unet import UNetEncoder
from dsnotes.shapes import Image, n_logits


class Gate(nn.Module):
    """skip · σ(ψ(relu(W_g up + W_x skip))): one number per pixel, the same for all channels."""

    def __init__(self, channels: int, dims: int, norm: str) -> None:
        super().__init__()
        inner = max(1, channels // 2)

        def projected(n_in: int, n_out: int) -> nn.Sequential:
            return nn.Sequential(CONV[dims](n_in, n_out, 1), normalise(norm, dims, n_out))

        self.of_up, self.of_skip = projected(channels, inner), projected(channels, inner)
        self.psi = projected(inner, 1)

    def forward(self, up: Tensor, skip: Tensor) -> Tensor:
        asked = (self.of_up(up) + self.of_skip(skip)).relu()
        return skip * self.psi(asked).sigmoid()


class AttentionUNet(UNetEncoder):
    """34,877,421 parameters at the default width; it has the U-Net's levels, so all supervisions of the U-Net fit."""

    def __init__(
        self, *, in_channels: int = 1, classes: int = 2, dims: int = 2, width: int = 64, norm: str = "batch"
    ) -> None:
        super().__init__(in_channels=in_channels, classes=classes, dims=dims, width=width, norm=norm)
        widths = self.widths[:-1]
        self.levels |= self.decoder_levels(widths)
        self.up = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2), conv_norm_relu(2 * n, n, dims=dims, norm=norm)) for n in widths
        )
        self.gates = nn.ModuleList(Gate(n, dims, norm) for n in widths)
        self.decoder = nn.ModuleList(DoubleConv(2 * n, n, dims=dims, norm=norm) for n in widths)
        self.output = CONV[dims](width, n_logits(classes), 1)

    def forward(self, image: Image) -> Features:
        down = self.encode(image)
        decoder, x = {}, down.bottleneck
        for level in reversed(range(len(self.decoder))):
            up = self.up[level](x)  # (B, width·2^level, size / 2^level)
            gated = self.gates[level](up, down.encoder[f"stride{2**level}"])
            x = decoder[f"stride{2**level}"] = self.decoder[level](torch.cat([gated, up], dim=1))
        return Features(down.encoder, down.bottleneck, dict(reversed(decoder.items())), self.output(x))
