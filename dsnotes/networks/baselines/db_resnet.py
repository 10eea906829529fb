"""DB-ResNet: one residual branch for three planes, one for three scales, and the grey values at the centre.

Paper: Cao et al. 2020, https://arxiv.org/abs/1905.02413
A reconstruction from the abstract (dual residual branches for views and scales, central intensity pooling, sampling
weighted towards borders). Depths, widths and the 3x3 of the central pooling are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsnotes.networks.baselines.mv_dcnn import require_volumes
from dsnotes.networks.stage import Stage
from dsnotes.networks.voxelwise import Patchwise, Where, beside, resized, sections

SIDE, SCALES = 35, (35, 50, 65)
BLOCKS = (3, 4, 3)


def conv_norm(n_in: int, n_out: int, kernel: int = 1, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(n_out)]


class Bottleneck(nn.Module):
    """1x1 to a quarter, 3x3, 1x1 back; the shortcut is 1x1 where width or size change."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        inner = max(n_out // 4, 1)
        self.body = nn.Sequential(
            *conv_norm(n_in, inner),
            nn.ReLU(inplace=True),
            *conv_norm(inner, inner, 3, stride),
            nn.ReLU(inplace=True),
            *conv_norm(inner, n_out),
        )
        self.shortcut = nn.Identity() if n_in == n_out else nn.Sequential(*conv_norm(n_in, n_out, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).add_(self.shortcut(x)).relu_()


class Branch(Stage):
    """(N, C, 35, 35) -> (N, 8 width + 9 C): the mean features, and the grey values of the central 3x3."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        layers, n_in = [*conv_norm(channels, width, 3), nn.ReLU(inplace=True)], width
        for group, blocks in enumerate(BLOCKS):
            n_out = 2 * width * 2**group
            for block in range(blocks):
                layers.append(Bottleneck(n_in, n_out, 2 if group and not block else 1))
                n_in = n_out
        self.body = nn.Sequential(*layers)

    def forward(self, patches: Tensor) -> Tensor:
        return torch.cat([self.body(patches).mean((2, 3)), central_intensities(patches)], dim=1)


def central_intensities(patches: Tensor) -> Tensor:
    """(N, 9 C): the central 3x3 grey values, which averaging over the map would lose."""
    middle = patches.shape[-1] // 2
    return patches[..., middle - 1 : middle + 2, middle - 1 : middle + 2].flatten(1)


class DBResNet(Patchwise):
    """`width` is 32. Resample to isotropic voxels first, or two of the three planes are distorted.

    A voxel takes 133 million multiply-adds, and patches share none of them (see `networks.voxelwise`). A slice of
    64 x 64 takes 4.5 s on the two CPU cores of `benchmarks/results/voxelwise.md`, or 3.3 s at their peak convolution
    rate; bfloat16 (`predict(..., amp=True)`) takes two thirds of the time, every=2 a quarter.
    """

    reach = (SIDE // 2, SCALES[-1] // 2, SCALES[-1] // 2)
    patches_per_thread = 16  # half the default, because the maps are twice as wide

    def __init__(
        self, *, in_channels: int = 1, classes: int = 2, dims: int = 3, width: int = 32, every: int = 1
    ) -> None:
        require_volumes(dims, "DB-ResNet")
        super().__init__(in_channels=in_channels, classes=classes, dims=dims, every=every)
        self.views, self.scales = (Branch(3 * in_channels, width) for _ in range(2))
        joined = 75 * width // 16  # 150 for width 32
        self.output = nn.Sequential(
            nn.Linear(2 * (8 * width + 27 * in_channels), joined), nn.ReLU(), nn.Linear(joined, self.outputs)
        )

    def classify(self, volume: Tensor, at: Where) -> Tensor:
        views = beside(*(sections(volume, at, across=across, side=SIDE) for across in range(3)))
        scales = beside(*(resized(sections(volume, at, across=0, side=side), SIDE) for side in SCALES))
        return self.output(torch.cat([self.views(views), self.scales(scales)], dim=1))
