"""UNet3+: every decoder level hears all five scales at once, each through `width` channels of its own.

Paper: Huang et al. 2020, https://arxiv.org/abs/2004.08790
Departs from it: the classification-guided module is left out, since µ-Net compares with the network and its full-scale
supervision alone. Layers as in the authors' release.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsnotes.networks.base import Features
from dsnotes.networks.blocks import CONV, LINEAR, MAX_POOL, conv_norm_relu
from dsnotes.networks.unet import UNetEncoder
from dsnotes.shapes import Image, n_logits


class UNet3Plus(UNetEncoder):
    """26,970,625 parameters; 26,988,485 with the full-scale supervision's heads.

    All decoder levels are 5·width wide, unlike the encoder's: the mask's own pass (µ-Net's `deep`) fits, a second
    decoder does not.
    """

    def __init__(
        self, *, in_channels: int = 1, classes: int = 2, dims: int = 2, width: int = 64, norm: str = "batch"
    ) -> None:
        super().__init__(in_channels=in_channels, classes=classes, dims=dims, width=width, norm=norm)
        scales = len(self.widths)
        wide, last = scales * width, scales - 1
        self.levels |= self.decoder_levels([wide] * last)
        self.resample = nn.ModuleDict()  # without parameters, and shared by all levels
        for octaves in range(1, scales):
            self.resample[f"down{octaves}"] = MAX_POOL[dims](2**octaves)
            self.resample[f"up{octaves}"] = nn.Upsample(scale_factor=2**octaves, mode=LINEAR[dims])
        self.branches = nn.ModuleList(
            nn.ModuleList(
                conv_norm_relu(
                    self.widths[source] if source <= target or source == last else wide, width, dims=dims, norm=norm
                )
                for source in range(scales)
            )
            for target in range(last)
        )
        self.decoder = nn.ModuleList(conv_norm_relu(wide, wide, dims=dims, norm=norm) for _ in range(last))
        self.output = CONV[dims](wide, n_logits(classes), 3, padding=1)

    def forward(self, image: Image) -> Features:
        down = self.encode(image)
        maps = [
            *down.encoder.values(),
            down.bottleneck,
        ]  # from the encoder, and from the decoder as soon as it has them
        for target in reversed(range(len(self.decoder))):
            heard = [
                branch(self.moved(maps[source], source - target)) for source, branch in enumerate(self.branches[target])
            ]
            maps[target] = self.decoder[target](torch.cat(heard, dim=1))  # (B, 5·width, size / 2^target)
        decoder = {f"stride{2**level}": x for level, x in enumerate(maps[:-1])}
        return Features(down.encoder, down.bottleneck, decoder, self.output(maps[0]))

    def moved(self, x: Tensor, octaves: int) -> Tensor:
        """Brought up from `octaves` levels below, or pooled down from above."""
        if octaves == 0:
            return x
        return self.resample[f"{'up' if octaves > 0 else 'down'}{abs(octaves)}"](x)
