"""Other people's networks that several of the papers compare with, each with the supervision of its own paper."""

from __future__ import annotations

from functools import partial

from dsnotes.networks.baselines.dsn_3d import DSN3D, AuxiliaryClassifiers
from dsnotes.networks.baselines.rd_unet import RDUNet
from dsnotes.networks.baselines.v_net import VNet
from dsnotes.networks.unet import UNet
from dsnotes.papers.recipe import Recipe
from dsnotes.supervision import Plain, supervise
from dsnotes.supervision.multi_scale import FullSize
from dsnotes.training.system import System


def unet(
    name: str, *, in_channels: int, classes: int, width: int, dims: int, norm: str = "batch", dice: float = 1.0
) -> System:
    """The U-Net of Ronneberger et al. and its 3-D form, trained on CE + Dice."""
    backbone = UNet(in_channels=in_channels, classes=classes, dims=dims, width=width, norm=norm)
    objective = Plain(dice=dice)
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


def v_net(name: str, *, in_channels: int, classes: int, width: int, dims: int) -> System:
    """V-Net on its own Dice, with squares below the line."""
    objective = Plain(cross_entropy=0.0, squared=True, over_batch=False)
    backbone = VNet(in_channels=in_channels, classes=classes, width=width, dims=dims)
    return System(name, supervise(backbone, objective), objective)


def dsn_3d(name: str, *, in_channels: int, classes: int, width: int, dims: int, aux_bias: bool = True) -> System:
    """3-D DSN, its three cross-entropies weighed 5 : 1 : 2 as in the authors' release."""
    objective = FullSize(
        partial(AuxiliaryClassifiers, aux_bias=aux_bias), {"stride1": 5.0, "stride2": 1.0, "stride4": 2.0}
    )
    backbone = DSN3D(in_channels=in_channels, classes=classes, width=width, dims=dims)
    return System(name, supervise(backbone, objective), objective)


def rd_unet(name: str, *, in_channels: int, classes: int, width: int, dims: int) -> System:
    """The recurrent dense U-Net on plain cross-entropy; the paper's patch is 8 slices of 256x256."""
    objective = Plain(dice=0.0)
    backbone = RDUNet(in_channels=in_channels, classes=classes, width=width, dims=dims)
    return System(name, supervise(backbone, objective), objective)


NORM = {"norm": "'batch' or 'instance'"}
DICE = {"dice": "weight of the Dice term beside cross-entropy; 0.0 for cross-entropy alone"}
SYSTEMS = {
    "unet-2d": Recipe(
        unet,
        width=64,
        dims=2,
        tables=("msds-1", "msds-6", "msds-14", "dsms-1", "mu-net-2", "mu-net-4"),
        options=NORM | DICE,
    ),
    "unet-3d": Recipe(unet, width=32, dims=3, tables=("msds-1", "msds-6"), options=NORM | DICE),
    "v-net": Recipe(v_net, width=16, dims=3, tables=("msds-2",)),
    "dsn-3d": Recipe(
        dsn_3d, width=32, dims=3, tables=("msds-2",), options={"aux_bias": "False for the authors' own layer"}
    ),
    "rd-unet": Recipe(rd_unet, width=32, dims=3, tables=("msds-10", "msds-11", "msds-13")),
    "res-unet-3d": Recipe(res_unet, width=30, dims=3, tables=("msds-1", "msds-10", "msds-13"), options=NORM),
}
