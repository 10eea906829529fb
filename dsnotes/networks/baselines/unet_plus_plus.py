"""U-Net++: nested U-Nets of every depth, connected by a triangle of blocks between encoder and decoder.

Paper: Zhou et al. 2018, https://arxiv.org/abs/1807.10165
Departs from it as the public port does, whose parameters these are: upsampling is bilinear, without parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dsnotes.networks.base import Backbone, Features, Head, Level
from dsnotes.networks.blocks import CONV, LINEAR, DoubleConv
from dsnotes.networks.unet import UNetEncoder
from dsnotes.shapes import Image, Outputs, Probs, n_logits


@dataclass(frozen=True)
class NestedFeatures(Features):
    """`nested` holds the full-size maps X(0, j) as "depth1" …, the last map of the U-Net with j halvings."""

    nested: dict[str, Tensor] = field(default_factory=dict)


class UNetPlusPlus(UNetEncoder):
    """9,162,753 parameters at the paper's width of 32, 36,628,481 at 64 as in µ-Net.

    X(i, j) = block[X(i, 0), …, X(i, j-1), up X(i+1, j-1)]. The column X(i, 0) is the encoder, the outermost diagonal
    X(3, 1), X(2, 2), X(1, 3), X(0, 4) the decoder. It has the U-Net's channels at each level, so all supervisions of
    the U-Net fit, including the tied decoder.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 2,
        dims: int = 2,
        width: int = 32,
        depth: int = 5,
        norm: str = "batch",
    ) -> None:
        super().__init__(in_channels=in_channels, classes=classes, dims=dims, width=width, depth=depth, norm=norm)
        self.levels |= self.decoder_levels(self.widths[:-1])
        self.levels |= {f"nested.depth{j}": Level(width, (1,) * dims) for j in range(1, depth)}
        self.nodes = nn.ModuleDict(
            {
                f"{i}_{j}": DoubleConv(j * self.widths[i] + self.widths[i + 1], self.widths[i], dims=dims, norm=norm)
                for j in range(1, depth)
                for i in range(depth - j)
            }
        )
        self.up = nn.Upsample(scale_factor=2, mode=LINEAR[dims], align_corners=True)
        self.output = CONV[dims](width, n_logits(classes), 1)

    def forward(self, image: Image) -> NestedFeatures:
        down = self.encode(image)
        rows = [[x] for x in (*down.encoder.values(), down.bottleneck)]  # rows[i]: X(i, 0), X(i, 1), …
        last = len(rows) - 1
        for j in range(1, last + 1):
            for i in range(last + 1 - j):
                below = self.up(rows[i + 1][j - 1])
                rows[i].append(self.nodes[f"{i}_{j}"](torch.cat([*rows[i], below], dim=1)))
        decoder = {f"stride{2**i}": rows[i][-1] for i in range(last)}
        nested = {f"depth{j}": x for j, x in enumerate(rows[0]) if j > 0}
        return NestedFeatures(down.encoder, down.bottleneck, decoder, self.output(rows[0][-1]), nested=nested)

    @property
    def depth(self) -> int:
        return len(self.widths) - 1


class NestedHeads(Head):
    """A 1x1 convolution on each X(0, j), all at full size; the last one is the network's own output.

    `deployed=True` keeps them after training: the paper's accurate mode is the mean of all outputs.
    """

    def __init__(self, backbone: Backbone, *, deployed: bool = False) -> None:
        super().__init__()
        names = [name for name in backbone.levels if name.startswith("nested.")]
        if not names:
            raise ValueError(
                f"{type(backbone).__name__} has no nested maps: its levels are {list(backbone.levels)}. "
                f"Use a UNetPlusPlus, or MultiScale, which works with any decoder."
            )
        self.deployed = deployed
        self.branches = nn.ModuleDict(
            {
                name.removeprefix("nested."): CONV[backbone.dims](
                    backbone.levels[name].channels, n_logits(backbone.classes), 1
                )
                for name in names[:-1]
            }
        )
        self.last = names[-1].removeprefix("nested.")

    def forward(self, features: NestedFeatures, image: Image) -> dict:
        shallow = {name: branch(features.nested[name]) for name, branch in self.branches.items()}
        return {"upsampled": {self.last: features.logits, **dict(reversed(shallow.items()))}}


def mean_of_depths(outputs: Outputs) -> Probs:
    """The paper's accurate mode: the mean probability over all depths."""
    probabilities = [z.sigmoid() if z.shape[1] == 1 else z.softmax(1) for z in outputs.upsampled.values()]
    return torch.stack(probabilities).mean(0)
