"""A cascade of two two-path networks (local and wide); the second one reads the first one's prediction as an input.

Paper: Havaei et al. 2017, https://arxiv.org/abs/1505.03540, "InputCascadeCNN"; layers as in a public re-implementation.
Departs from it: one pass over the image instead of patches (equivalent, because nothing is padded and poolings have
stride one); both networks are trained together, without a gradient from the second to the first; no second phase on the
natural class frequencies; PyTorch's default initialisation instead of weights within 0.005.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsnotes.networks.encoders import require_slices
from dsnotes.networks.stage import Stage
from dsnotes.networks.voxelwise import Dense, mirrored_slices
from dsnotes.shapes import Image, Logits

SIDE = 33


class Maxout(nn.Module):
    """A convolution to twice the channels, and the maximum of each pair."""

    def __init__(self, n_in: int, n_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, 2 * n_out, kernel)

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(*self.conv(x).chunk(2, dim=1))


class TwoPath(Stage):
    """(B, C, H + 32, W + 32) -> logits (B, K, H, W)."""

    def __init__(self, n_in: int, width: int, outputs: int) -> None:
        super().__init__()
        wide = 5 * width // 2  # 160 for width 64
        self.near = nn.Sequential(
            Maxout(n_in, width, 7), nn.Dropout2d(0.2), nn.MaxPool2d(4, 1),
            Maxout(width, width, 3), nn.Dropout2d(0.2), nn.MaxPool2d(2, 1),
        )  # fmt: skip
        self.far = Maxout(n_in, wide, 13)
        self.output = nn.Conv2d(width + wide, outputs, 21)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.cat([self.near(x), self.far(x)], dim=1))


class CascadedCNN(Dense):
    """`width` is 64. The published 785,156 parameters are for two output channels (`out_channels=2`)."""

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 2,
        dims: int = 2,
        width: int = 64,
        out_channels: int | None = None,
    ) -> None:
        require_slices(dims, "the cascade")
        super().__init__(in_channels=in_channels, classes=classes, dims=dims, out_channels=out_channels)
        self.first = TwoPath(in_channels, width, self.outputs)
        self.second = TwoPath(in_channels + self.outputs, width, self.outputs)

    def everywhere(self, image: Image) -> dict[str, Logits]:
        rim = SIDE // 2
        around = mirrored_slices(image, 2 * rim, 2 * rim)
        first = self.first(around)  # (B, K, H + 32, W + 32): the second network needs a margin
        thought = first.detach().sigmoid() if first.shape[1] == 1 else first.detach().softmax(1)
        second = self.second(torch.cat([around[..., rim:-rim, rim:-rim], thought], dim=1))
        return {"cross-entropy": second, "first": first[..., rim:-rim, rim:-rim]}
