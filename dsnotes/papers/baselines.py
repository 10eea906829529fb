"""Published networks that several of the papers compare with, each with the supervision of its own paper.

Systems without settings here use the defaults.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from dsnotes.losses import full_scale, soft_dice
from dsnotes.networks.baselines.attention_unet import AttentionUNet
from dsnotes.networks.baselines.dsn_3d import DSN3D, AuxiliaryClassifiers
from dsnotes.networks.baselines.m_net import MNet, MNetSides, mean_answer
from dsnotes.networks.baselines.mlds_net import MLDSNet, ProjectionHeads
from dsnotes.networks.baselines.rd_unet import RDUNet
from dsnotes.networks.baselines.res_unet_plus_plus import ResUNetPlusPlus
from dsnotes.networks.baselines.unet3_plus import UNet3Plus
from dsnotes.networks.baselines.unet_plus_plus import NestedHeads, UNetPlusPlus, mean_of_depths
from dsnotes.networks.baselines.v_net import VNet
from dsnotes.networks.heads import InterpolatedHeads
from dsnotes.networks.unet import UNet
from dsnotes.papers.recipe import Recipe
from dsnotes.shapes import Logits, Scalar, SoftMask
from dsnotes.supervision import Plain, supervise
from dsnotes.supervision.full_size import FullSize
from dsnotes.supervision.multi_label import MultiLabel
from dsnotes.supervision.plain import foreground
from dsnotes.supervision.pseudo_labels import segmentation
from dsnotes.supervision.targets import probabilities
from dsnotes.training.settings import Settings
from dsnotes.training.system import System


def unet(
    name: str, *, in_channels: int, classes: int, width: int, dims: int, norm: str = "batch", dice: float = 1.0
) -> System:
    """The U-Net of Ronneberger et al. and its 3-D form, trained on CE + Dice."""
    backbone = UNet(in_channels=in_channels, classes=classes, dims=dims, width=width, norm=norm)
    objective = Plain(dice=dice)
    return System(name, supervise(backbone, objective), objective)


def res_unet(name: str, *, in_channels: int, classes: int, width: int, dims: int, norm: str = "batch") -> System:
    """MSDS-UNet's "3D U-Net with ResNet": 30…480 channels, three bottleneck convolutions, 26.38 M parameters."""
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
    """V-Net with its own Dice loss, which has squares in the denominator."""
    objective = Plain(cross_entropy=0.0, squared=True, over_batch=False)
    backbone = VNet(in_channels=in_channels, classes=classes, width=width, dims=dims)
    # Its paper: 128 x 128 x 64 voxels, batches of two, 1e-4 with a momentum of .99; the number of epochs is ours.
    settings = Settings(patch=(64, 128, 128)[-dims:], optimiser="sgd", lr=1e-4, momentum=0.99, clip=None)
    return System(name, supervise(backbone, objective), objective, settings=settings)


def dsn_3d(name: str, *, in_channels: int, classes: int, width: int, dims: int, aux_bias: bool = True) -> System:
    """3-D DSN with its three cross-entropies weighted 5 : 1 : 2, as in the authors' release."""
    objective = FullSize(
        partial(AuxiliaryClassifiers, aux_bias=aux_bias), {"stride1": 5.0, "stride2": 1.0, "stride4": 2.0}
    )
    backbone = DSN3D(in_channels=in_channels, classes=classes, width=width, dims=dims)
    settings = Settings(patch=(64,) * dims, batch=4, clip=None)  # crop and batch of the release; the rest is ours
    return System(name, supervise(backbone, objective), objective, settings=settings)


def rd_unet(name: str, *, in_channels: int, classes: int, width: int, dims: int) -> System:
    """The recurrent dense U-Net with plain cross-entropy; the paper's patch is 8 slices of 256x256."""
    objective = Plain(dice=0.0)
    backbone = RDUNet(in_channels=in_channels, classes=classes, width=width, dims=dims)
    # The release's: Adam at 1e-4, batches of two windows, 30 epochs, rate halved after three without progress.
    settings = Settings(
        patch=(8, 256, 256)[-dims:], lr=1e-4, epochs=30, schedule="plateau", factor=0.5, patience=3, clip=None
    )
    return System(name, supervise(backbone, objective), objective, settings=settings)


def attention_unet(name: str, *, in_channels: int, classes: int, width: int, dims: int, norm: str = "batch") -> System:
    """Attention U-Net with the Dice loss alone, computed per image."""
    objective = Plain(cross_entropy=0.0, squared=False, over_batch=False)
    backbone = AttentionUNet(in_channels=in_channels, classes=classes, width=width, dims=dims, norm=norm)
    return System(name, supervise(backbone, objective), objective)


def res_unet_plus_plus(name: str, *, in_channels: int, classes: int, width: int, dims: int) -> System:
    """ResUNet++ with the Dice loss alone, over the whole batch, with 1 added to numerator and denominator."""
    objective = Plain(cross_entropy=0.0, squared=False, over_batch=True, eps=1.0)
    backbone = ResUNetPlusPlus(in_channels=in_channels, classes=classes, width=width, dims=dims)
    return System(name, supervise(backbone, objective), objective)


def unet_plus_plus(
    name: str, *, in_channels: int, classes: int, width: int, dims: int, norm: str = "batch", answer: str = "last"
) -> System:
    """U-Net++ with its four outputs weighted equally in BCE / 2 + 1 - Dice."""
    if answer not in ANSWERS:
        raise ValueError(f"answer={answer!r} is unknown. Choose one of {list(ANSWERS)}.")
    backbone = UNetPlusPlus(in_channels=in_channels, classes=classes, width=width, dims=dims, norm=norm)
    depths = [f"depth{j}" for j in range(backbone.depth, 0, -1)]
    heads = partial(NestedHeads, deployed=answer == "mean")
    objective = FullSize(heads, dict.fromkeys(depths, 1 / len(depths)), segmentation)
    system = System(name, supervise(backbone, objective), objective)
    return replace(system, deploy=mean_of_depths) if answer == "mean" else system


def unet3_plus(name: str, *, in_channels: int, classes: int, width: int, dims: int, norm: str = "batch") -> System:
    """UNet3+ with its full-scale supervision: focal + MS-SSIM + IoU of five outputs, each upsampled linearly."""
    backbone = UNet3Plus(in_channels=in_channels, classes=classes, width=width, dims=dims, norm=norm)
    levels = [*backbone.sides(), f"stride{backbone.stride[0]}"]
    heads = partial(InterpolatedHeads, kernel=3, mode="linear", bottleneck=True)
    objective = FullSize(heads, dict.fromkeys(levels, 1 / len(levels)), full_scale)
    return System(name, supervise(backbone, objective), objective)


def m_net(name: str, *, in_channels: int, classes: int, width: int, dims: int) -> System:
    """M-Net with the Dice of its four side outputs, weight 0.1 each, and of their mean, which it predicts with."""
    backbone = MNet(in_channels=in_channels, classes=classes, width=width, dims=dims)
    objective = FullSize(MNetSides, {**dict.fromkeys(backbone.sides(), 0.1), "mean": 0.6}, dice_of_the_batch)
    return System(name, supervise(backbone, objective), objective, deploy=mean_answer)


def dice_of_the_batch(logits: Logits, t: SoftMask) -> Scalar:
    """1 - D with 1 added to numerator and denominator, sums over the batch; the authors' loss is -D, from 0 to -1."""
    return soft_dice(foreground(probabilities(logits)), foreground(t), squared=False, over_batch=True, eps=1.0)


def mlds_net(name: str, *, in_channels: int, classes: int, width: int, dims: int, norm: str = "batch") -> System:
    """MLDS-Net: cross-entropy of the output, and at five levels a multi-label loss: which classes a cell contains."""
    backbone = MLDSNet(in_channels=in_channels, classes=classes, width=width, dims=dims, norm=norm)
    objective = MultiLabel(partial(ProjectionHeads, norm=norm))
    return System(name, supervise(backbone, objective), objective)


ANSWERS = ("last", "mean")
MU_NET = tuple(f"mu-net-{number}" for number in (2, 3))
DSNET = ("dsnet-1", "dsnet-2", "dsnet-3", "dsnet-5")
NORM = {"norm": "'batch', 'instance' or 'none'"}
DICE = {"dice": "weight of the Dice term beside cross-entropy; 0.0 for cross-entropy alone"}
SYSTEMS = {
    "unet-2d": Recipe(
        unet,
        width=64,
        dims=2,
        tables=("msds-1", "msds-6", "msds-7", "msds-8", "msds-14", "dsms-1", *MU_NET, "mu-net-4", "mu-net-5", *DSNET),
        options=NORM | DICE,
    ),
    "unet-3d": Recipe(unet, width=32, dims=3, tables=("msds-1", "msds-6", "msds-7", "msds-8"), options=NORM | DICE),
    "v-net": Recipe(v_net, width=16, dims=3, tables=("msds-2",)),
    "dsn-3d": Recipe(
        dsn_3d, width=32, dims=3, tables=("msds-2",), options={"aux_bias": "False for the authors' own layer"}
    ),
    "rd-unet": Recipe(rd_unet, width=32, dims=3, tables=("msds-10", "msds-11", "msds-13")),
    "attention-unet": Recipe(attention_unet, width=64, dims=2, tables=(*MU_NET, "dsnet-1"), options=NORM),
    "res-unet++": Recipe(res_unet_plus_plus, width=16, dims=2, tables=MU_NET),
    "unet++": Recipe(
        unet_plus_plus,
        width=32,
        dims=2,
        tables=(*MU_NET, "mu-net-4", "mu-net-5", "dsnet-1"),
        options=NORM | {"answer": "'last' head, or the 'mean' of all, as its paper's accurate mode has it"},
    ),
    "unet3+": Recipe(unet3_plus, width=64, dims=2, tables=(*MU_NET, "dsnet-1", "dsnet-5"), options=NORM),
    "m-net": Recipe(m_net, width=32, dims=2, tables=MU_NET),
    "mlds-net": Recipe(mlds_net, width=64, dims=2, tables=MU_NET, options=NORM),
    "res-unet-3d": Recipe(
        res_unet, width=30, dims=3, tables=("msds-1", "msds-10", "msds-11", "msds-13", "msds-14"), options=NORM
    ),
}
