"""UNet3+: every decoder level reads all five scales, each reduced to `width` channels.

Paper: Huang et al. 2020, https://arxiv.org/abs/2004.08790
Departs from it: the classification-guided module is left out, because µ-Net compares only with the network and its
full-scale supervision. Layers as in the authors' release.
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

    All decoder levels have 5·width channels, unlike the encoder's: µ-Net's `deep` fits, a second decoder does not.
    """

    def __init__(
        self, *, in_channels: int = 1, classes: int = 2, dims: int = 2, width: int = 64, norm: str = "batch"
    ) -> None:
        super().__init__(in_channels=in_channels, classes=classes, dims=dims, width=width, norm=norm)
        scales = len(self.widths)
        wide, last = scales * width, scales - 1
        self.levels |= self.decoder_levels([wide] * last)
        self.resample = nn.ModuleDict()  # no parameters; shared by all levels
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
        ]  # from the encoder, or from the decoder where it is computed already
        for target in reversed(range(len(self.decoder))):
            heard = [
                branch(self.moved(maps[source], source - target)) for source, branch in enumerate(self.branches[target])
            ]
            maps[target] = self.decoder[target](torch.cat(heard, dim=1))  # (B, 5·width, size / 2^target)
        decoder = {f"stride{2**level}": x for level, x in enumerate(maps[:-1])}
        return Features(down.encoder, down.bottleneck, decoder, self.output(maps[0]))

    def moved(self, x: Tensor, octaves: int) -> Tensor:
        """x upsampled by `octaves` levels, or pooled if negative."""
        if octaves == 0:
            return x
        return self.resample[f"{'up' if octaves > 0 else 'down'}{abs(octaves)}"](x)
