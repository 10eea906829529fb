"""MCROI-CNN: a LeNet-like network on three channels: the image, its bright part, and its gradient.

Paper: Sun, Zheng and Qian 2017, "Automatic feature learning using multichannel ROI based on deep structured algorithms
for computerized lung cancer diagnosis", https://doi.org/10.1016/j.compbiomed.2017.04.006
A reconstruction: the paper classifies nodules as benign or malignant, with the segmented nodule as second channel. For
segmentation that would be the answer, so here the second channel is the image above Otsu's threshold. Layer sizes are
from secondary sources.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from dsnotes.networks.encoders import require_slices
from dsnotes.networks.voxelwise import Dense, mirrored_slices
from dsnotes.shapes import Image, Logits

SIDE = 52
LEVELS = 64  # grey levels for the search of the threshold


class MCROICNN(Dense):
    """`width` is the number of channels of the first convolution (12). No padding, so all patches share the work."""

    def __init__(self, *, in_channels: int = 1, classes: int = 2, dims: int = 2, width: int = 12) -> None:
        require_slices(dims, "MCROI-CNN")
        super().__init__(in_channels=in_channels, classes=classes, dims=dims)
        second, third, joined = max(2 * width // 3, 1), max(width // 2, 1), 25 * width // 3  # 8, 6 and 100
        self.conv1 = nn.Conv2d(3 * in_channels, width, 5)
        self.conv2 = nn.Conv2d(width, second, 5, dilation=2)
        self.conv3 = nn.Conv2d(second, third, 5, dilation=4)
        self.join = nn.Conv2d(third, joined, 3, dilation=8)
        self.output = nn.Conv2d(joined, self.outputs, 1)

    def everywhere(self, image: Image) -> dict[str, Logits]:
        x = mirrored_slices(three_channels(image), SIDE // 2, SIDE // 2 - 1)
        x = max_pool2d(self.conv1(x).relu(), 2, 1)
        x = max_pool2d(self.conv2(x).relu(), 2, 1, dilation=2)
        x = max_pool2d(self.conv3(x).relu(), 2, 1, dilation=4)
        return {"cross-entropy": self.output(self.join(x).relu())}


def three_channels(image: Image) -> Tensor:
    """[the image, the image where it exceeds Otsu's threshold, the magnitude of its gradient]."""
    bright = torch.where(image > otsu(image), image, image.amin((2, 3), keepdim=True))
    around = mirrored_slices(image, 1, 1)
    down = (around[..., 2:, 1:-1] - around[..., :-2, 1:-1]) / 2
    right = (around[..., 1:-1, 2:] - around[..., 1:-1, :-2]) / 2
    return torch.cat([image, bright, (down**2 + right**2).sqrt()], dim=1)


def otsu(image: Image) -> Tensor:
    """(B, C, 1, 1): Otsu's threshold, which maximises the variance between two classes of grey values."""
    low, high = image.amin((2, 3), keepdim=True), image.amax((2, 3), keepdim=True)
    grey = ((image - low) / (high - low).clamp(min=1e-12) * LEVELS).floor().clamp(max=LEVELS - 1)
    level = torch.arange(LEVELS, device=image.device)
    counts = torch.stack([(grey == at).float().mean((2, 3)) for at in range(LEVELS)], dim=-1)  # (B, C, LEVELS)
    below, moment = counts.cumsum(-1), (counts * level).cumsum(-1)
    mean = moment[..., -1:]
    apart = (mean * below - moment) ** 2 / (below * (1 - below)).clamp(min=1e-12)
    best = apart[..., :-1].argmax(-1)[..., None, None]
    return low + (high - low) * (best + 1) / LEVELS
