"""Other people's networks that several of the papers compare with, each with the supervision of its own paper."""

from __future__ import annotations

from dsnotes.networks.unet import UNet
from dsnotes.papers.recipe import Recipe
from dsnotes.supervision import Plain, supervise
from dsnotes.training.system import System


def unet(name: str, *, in_channels: int, classes: int, width: int, dims: int, norm: str = "batch") -> System:
    """The U-Net of Ronneberger et al. and its 3-D form, trained on CE + Dice."""
    backbone = UNet(in_channels=in_channels, classes=classes, dims=dims, width=width, norm=norm)
    objective = Plain()
    return System(name, supervise(backbone, objective), objective)


def res_unet(name: str, *, in_channels: int, classes: int, width: int, dims: int, norm: str = "batch") -> System:
    """MSDS-UNet's "3D U-Net with ResNet": 30…480 channels and three convolutions below hit its 26.38 M parameters."""
    backbone = UNet(
        in_channels=in_channels,
        classes=classes,
        dims=dims,
        width=width,
        residual=True,
        bottleneck_convs=3,
        norm=norm,
    )
    objective = Plain()
    return System(name, supervise(backbone, objective), objective)


NORM = {"norm": "'batch' or 'instance'"}
SYSTEMS = {
    "unet-2d": Recipe(
        unet, width=64, dims=2, tables=("msds-1", "msds-6", "msds-14", "dsms-1", "mu-net-2", "mu-net-4"), options=NORM
    ),
    "unet-3d": Recipe(unet, width=32, dims=3, tables=("msds-1", "msds-6"), options=NORM),
    "res-unet-3d": Recipe(res_unet, width=30, dims=3, tables=("msds-1", "msds-10", "msds-13"), options=NORM),
}
