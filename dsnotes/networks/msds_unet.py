"""MSDS-UNet: a residual 3-D U-Net whose decoder predicts at every level, at full size and at the level's own size.

Paper: Yang et al. 2021, "MSDS-UNet: A multi-scale deeply supervised 3D U-Net for automatic segmentation of lung
tumor in CT", Computerized Medical Imaging and Graphics.
Departs from the paper, which gives neither widths nor block depth: 30…480 channels, two convolutions per block and
three in the bottleneck are the simplest layout we found that has the published 26.38 M parameters, and 26.45 M with
local branches six maps wide.
"""

from __future__ import annotations

from dsnotes.networks.unet import UNet


def msds_backbone(
    *, in_channels: int = 1, classes: int = 2, dims: int = 3, width: int = 30, norm: str = "batch"
) -> UNet:
    """26,379,781 parameters at the paper's setting."""
    return UNet(
        in_channels=in_channels,
        classes=classes,
        dims=dims,
        width=width,
        residual=True,
        bottleneck_convs=3,
        norm=norm,
    )
