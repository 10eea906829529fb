"""MC-CNN: three crops of a feature map around a voxel: the whole pooled twice, its centre pooled once, the innermost
centre unpooled.

Paper: Shen et al. 2017, "Multi-crop convolutional neural networks for lung nodule malignancy suspiciousness
classification", https://doi.org/10.1016/j.patcog.2016.05.029
A reconstruction: the paper classifies nodules as benign or malignant; how DSNet's authors used it for segmentation is
not published. The layers follow the abstract and secondary sources, in 2-D, on patches of 64 x 64. The convolutions see
the image around the patch instead of zeros, so that one pass over the image predicts every pixel.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import conv2d, max_pool2d

from dsnotes.networks.encoders import require_slices
from dsnotes.networks.voxelwise import Dense, mirrored_slices
from dsnotes.shapes import Image, Logits

SIDE = 64
RIM = 2 + 2 * 2 + 4 * 1  # pixels that the three convolutions see beyond the patch


class MCCNN(Dense):
    """`width` is the number of channels of each convolution (64).

    A pooling by two per patch becomes a pooling at every pixel, and later layers are dilated by two (then four): the
    results are the same and shared by all patches.
    """

    def __init__(self, *, in_channels: int = 1, classes: int = 2, dims: int = 2, width: int = 64) -> None:
        require_slices(dims, "MC-CNN")
        super().__init__(in_channels=in_channels, classes=classes, dims=dims)
        self.conv1 = nn.Conv2d(in_channels, width, 5)
        self.conv2 = nn.Conv2d(width, width, 5, dilation=2)
        self.conv3 = nn.Conv2d(width, width, 3, dilation=4)
        joined = max(width // 2, 1)
        self.join = nn.Conv2d(3 * width, joined, 4)  # of 4 x 4 regions of three crops: a fully connected layer
        self.output = nn.Conv2d(joined, self.outputs, 1)

    def everywhere(self, image: Image) -> dict[str, Logits]:
        x = mirrored_slices(image, SIDE // 2 + RIM, SIDE // 2 - 1 + RIM)  # (B, C, H + 83, W + 83)
        x = max_pool2d(self.conv1(x).relu(), 2, 1)
        x = max_pool2d(self.conv2(x).relu(), 2, 1, dilation=2)
        x = self.conv3(x).relu()  # (B, width, H + 60, W + 60): 16 x 16 per patch, every fourth pixel
        whole, middle, centre = self.join.weight.chunk(3, dim=1)
        height, width = image.shape[2:]
        y = conv2d(max_pool2d(x, 4, 1, dilation=4), whole, dilation=16)  # pooling by two twice is pooling by four
        y = y + conv2d(max_pool2d(x, 2, 1, dilation=4), middle, dilation=8)[..., 16 : 16 + height, 16 : 16 + width]
        y = y + conv2d(x, centre, dilation=4)[..., 24 : 24 + height, 24 : 24 + width]
        y = torch.relu(y + self.join.bias.view(-1, 1, 1))
        return {"cross-entropy": self.output(y)}
