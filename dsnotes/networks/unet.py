"""The U-Net, 2-D and 3-D, plain or residual: the default backbone.

Papers: Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597; Çiçek et al. 2016, https://arxiv.org/abs/1606.06650
Departs from them: padded convolutions (nothing is cropped), each followed by batch or instance normalisation.
"""

from __future__ import annotations

import torch
from torch import nn

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import CONV, MAX_POOL, UP_CONV, DoubleConv, ResidualBlock
from dsnotes.shapes import Image, n_logits


class UNetEncoder(Backbone):
    """The U-Net's encoder: `width` channels at full size, doubled at each of `depth - 1` halvings by max-pooling.

    A subclass adds the decoder and its levels.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 2,
        dims: int = 2,
        width: int = 64,
        depth: int = 5,
        block: type[nn.Module] = DoubleConv,
        bottleneck_convs: int = 2,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.in_channels, self.classes = in_channels, classes
        self.widths = [width * 2**level for level in range(depth)]
        self.stride = (2 ** (depth - 1),) * dims
        self.levels = {
            **{f"encoder.stride{2**i}": Level(n, (2**i,) * dims) for i, n in enumerate(self.widths[:-1])},
            "bottleneck": Level(self.widths[-1], self.stride),
        }
        self.pool = MAX_POOL[dims](2)
        self.encoder = nn.ModuleList(
            block(n_in, n_out, dims=dims, norm=norm)
            for n_in, n_out in zip([in_channels, *self.widths], self.widths[:-1], strict=False)
        )
        self.bottleneck = block(*self.widths[-2:], convs=bottleneck_convs, dims=dims, norm=norm)

    def decoder_levels(self, channels: list[int]) -> dict[str, Level]:
        """The levels of a decoder with these channels, finest first."""
        return {f"decoder.stride{2**i}": Level(n, (2**i,) * self.dims) for i, n in enumerate(channels)}

    def encode(self, image: Image) -> Features:
        encoder, x = {}, image
        for level, block in enumerate(self.encoder):
            x = encoder[f"stride{2**level}"] = block(
                x if level == 0 else self.pool(x)
            )  # (B, width·2^level, size / 2^level)
        return Features(encoder, self.bottleneck(self.pool(x)), {}, None)


class UNet(UNetEncoder):
    """The U-Net: transposed convolutions, each concatenated with the encoder's map of the same level.

    `skips` holds one module per level, here the identity: subclasses put their skip modules there.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 2,
        dims: int = 2,
        width: int = 64,
        depth: int = 5,
        residual: bool = False,
        bottleneck_convs: int = 2,
        norm: str = "batch",
    ) -> None:
        block = ResidualBlock if residual else DoubleConv
        super().__init__(
            in_channels=in_channels,
            classes=classes,
            dims=dims,
            width=width,
            depth=depth,
            block=block,
            bottleneck_convs=bottleneck_convs,
            norm=norm,
        )
        widths = self.widths[:-1]
        self.levels |= self.decoder_levels(widths)
        self.skips = nn.ModuleList(nn.Identity() for _ in widths)
        self.up = nn.ModuleList(UP_CONV[dims](2 * n, n, 2, stride=2) for n in widths)
        self.decoder = nn.ModuleList(block(2 * n, n, dims=dims, norm=norm) for n in widths)
        self.output = CONV[dims](width, n_logits(classes), 1)

    def forward(self, image: Image) -> Features:
        down = self.encode(image)
        decoder, x = {}, down.bottleneck
        for level in reversed(range(len(self.decoder))):
            skip = self.skips[level](down.encoder[f"stride{2**level}"])
            x = self.decoder[level](torch.cat([self.up[level](x), skip], dim=1))
            decoder[f"stride{2**level}"] = x
        return Features(down.encoder, down.bottleneck, dict(reversed(decoder.items())), self.output(x))
