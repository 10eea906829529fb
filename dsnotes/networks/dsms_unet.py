"""DSMS U-Net: convolutions of several sizes on every skip, and a second decoder that restores the image.

Paper: Wang, Wang and Xu 2020, "Tumor Segmentation Based on Deeply Supervised Multi-Scale U-Net".
Departs from the paper, which gives no widths: each parallel convolution keeps its channels, norm and ReLU follow.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsnotes.networks.blocks import conv_norm_relu
from dsnotes.networks.unet import UNet

KERNELS = {"none": (), "kcm": (3, 3, 3), "msc": (1, 3, 5)}


class ParallelConvs(nn.Module):
    """Convolutions side by side, then a 1x1 one back to the channels that the decoder expects.

    (1, 3, 5) is the paper's multi-scale module MSC; (3, 3, 3) its control KCM, which has 27 C² weights where MSC has
    1 + 9 + 25 = 35 C². `narrow` scales the parallel convolutions' channels, for a control of the very same size.
    """

    def __init__(
        self, channels: int, *, kernels: tuple[int, ...], dims: int, norm: str = "batch", narrow: float = 1.0
    ) -> None:
        super().__init__()
        inner = max(1, round(channels * narrow))
        self.branches = nn.ModuleList(
            conv_norm_relu(channels, inner, dims=dims, kernel=kernel, norm=norm) for kernel in kernels
        )
        self.merge = conv_norm_relu(inner * len(kernels), channels, dims=dims, kernel=1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.merge(torch.cat([branch(x) for branch in self.branches], dim=1))


class DSMSUNet(UNet):
    """A U-Net with `module` ("none", "kcm" or "msc") on each skip; the restoration decoder is a head."""

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 2,
        dims: int = 2,
        width: int = 64,
        module: str = "msc",
        narrow: float = 1.0,
        norm: str = "batch",
    ) -> None:
        super().__init__(in_channels=in_channels, classes=classes, dims=dims, width=width, norm=norm)
        if module not in KERNELS:
            raise ValueError(f"module={module!r} is unknown. Choose one of {list(KERNELS)}.")
        if module != "none":
            self.skips = nn.ModuleList(
                ParallelConvs(level.channels, kernels=KERNELS[module], dims=dims, norm=norm, narrow=narrow)
                for level in self.sides().values()
            )
