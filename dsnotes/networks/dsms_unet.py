"""DSMS U-Net: parallel convolutions of several sizes on every skip, and a second decoder that restores the image.

Paper: Wang, Wang and Xu 2020, "Tumor Segmentation Based on Deeply Supervised Multi-Scale U-Net".
Departs from the paper, which gives no widths: each parallel convolution keeps the number of channels and is followed by
norm and ReLU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsnotes.networks.blocks import conv_norm_relu
from dsnotes.networks.unet import UNet

KERNELS = {"none": (), "kcm": (3, 3, 3), "msc": (1, 3, 5)}


class ParallelConvs(nn.Module):
    """Parallel convolutions, concatenated, then a 1x1 convolution back to the channels that the decoder expects.

    Kernels (1, 3, 5) are the paper's multi-scale module MSC, (3, 3, 3) its control KCM. In 2-D, KCM has 27 C² weights
    and MSC 1 + 9 + 25 = 35 C². Each branch has `factor` times the input's channels.
    """

    def __init__(
        self, channels: int, *, kernels: tuple[int, ...], dims: int, norm: str = "batch", factor: float = 1.0
    ) -> None:
        super().__init__()
        inner = max(1, round(channels * factor))
        self.branches = nn.ModuleList(
            conv_norm_relu(channels, inner, dims=dims, kernel=kernel, norm=norm) for kernel in kernels
        )
        self.merge = conv_norm_relu(inner * len(kernels), channels, dims=dims, kernel=1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.merge(torch.cat([branch(x) for branch in self.branches], dim=1))


def factor_like(module: str, like: str | None, *, dims: int) -> float:
    r"""The factor that widens the branches of `module` until a skip has as many weights as with `like`.

    $\sum_{k \in \mathrm{like}} (k^d + 1) \,/\, \sum_{k \in \mathrm{module}} (k^d + 1)$: a branch of f C channels holds
    k^d f C² weights, and the merging convolution f C² more for it.
    """
    if unknown := sorted({module, like or module} - set(KERNELS)):
        raise ValueError(f"module={unknown[0]!r} is unknown. Choose one of {list(KERNELS)}.")
    if like is None:
        return 1.0
    if not KERNELS[module] or not KERNELS[like]:
        raise ValueError(
            f"module={module!r} cannot have as many weights as like={like!r}: 'none' has no convolution to widen. "
            f"Leave out `like`, or choose both from {[name for name, kernels in KERNELS.items() if kernels]}."
        )
    theirs, ours = (sum(kernel**dims + 1 for kernel in KERNELS[name]) for name in (like, module))
    return theirs / ours


class DSMSUNet(UNet):
    """A U-Net with `module` ("none", "kcm" or "msc") on each skip; the restoration decoder is a head.

    `like="msc"` widens KCM until it has as many weights as MSC: a control of equal size, which the paper lacks.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 2,
        dims: int = 2,
        width: int = 64,
        module: str = "msc",
        like: str | None = None,
        norm: str = "batch",
    ) -> None:
        super().__init__(in_channels=in_channels, classes=classes, dims=dims, width=width, norm=norm)
        factor = factor_like(module, like, dims=dims)
        if module != "none":
            self.skips = nn.ModuleList(
                ParallelConvs(level.channels, kernels=KERNELS[module], dims=dims, norm=norm, factor=factor)
                for level in self.sides().values()
            )
