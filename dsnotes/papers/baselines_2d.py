"""Networks for slices that DSNet's tables compare with, three of them on encoders that others pretrain."""

from __future__ import annotations

from pathlib import Path

from dsnotes.networks.baselines.ce_net import CENet
from dsnotes.networks.baselines.deeplab_v3_plus import DeepLabV3Plus
from dsnotes.networks.baselines.inf_net import InfNet
from dsnotes.networks.baselines.med_t import MedT
from dsnotes.papers.recipe import Recipe
from dsnotes.supervision import Plain, supervise
from dsnotes.supervision.edge_guided import EdgeGuided
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

Pretrained = str | Path | None


def deeplab_v3_plus(
    name: str,
    *,
    in_channels: int,
    classes: int,
    width: int,
    dims: int,
    separable: bool = False,
    pretrained: Pretrained = None,
) -> System:
    """DeepLabV3+ on cross-entropy, as its own paper trains it."""
    backbone = DeepLabV3Plus(
        in_channels=in_channels, classes=classes, dims=dims, width=width, separable=separable, pretrained=pretrained
    )
    goal = Plain(dice=0.0)
    return System(name, supervise(backbone, goal), goal)


def ce_net(
    name: str,
    *,
    in_channels: int,
    classes: int,
    width: int,
    dims: int,
    cross_entropy: float | int = 0.0,
    pretrained: Pretrained = None,
) -> System:
    """CE-Net on Dice over the batch: its release computes the cross-entropy of its paper and drops it."""
    backbone = CENet(in_channels=in_channels, classes=classes, dims=dims, width=width, pretrained=pretrained)
    goal = Plain(cross_entropy=float(cross_entropy), squared=False)
    return System(name, supervise(backbone, goal), goal)


def inf_net(
    name: str,
    *,
    in_channels: int,
    classes: int,
    width: int,
    dims: int,
    reference_bce: bool = False,
    pretrained: Pretrained = None,
) -> System:
    """Inf-Net with its five outputs; the last of the refined scores is deployed, by its sigmoid."""
    backbone = InfNet(in_channels=in_channels, classes=classes, dims=dims, width=width, pretrained=pretrained)
    goal = EdgeGuided(reference_bce)
    return System(name, supervise(backbone, goal), goal, settings=Settings(lr=1e-4))


def medt(
    name: str, *, in_channels: int, classes: int, width: int, dims: int, size: int = 128, reference: bool = False
) -> System:
    """MedT on cross-entropy."""
    backbone = MedT(in_channels=in_channels, classes=classes, dims=dims, width=width, size=size, reference=reference)
    goal = Plain(dice=0.0)
    settings = Settings(patch=(size, size), batch=4, lr=1e-3, weight_decay=1e-5, epochs=400)
    return System(name, supervise(backbone, goal), goal, settings=settings)


PRETRAINED = {"pretrained": "the encoder's usual state dict, a .pth file of yours"}
SYSTEMS = {
    "deeplabv3+": Recipe(
        deeplab_v3_plus,
        width=64,
        dims=2,
        tables=("dsnet-1",),
        options=PRETRAINED | {"separable": "True for depthwise convolutions in pyramid and decoder"},
    ),
    "ce-net": Recipe(
        ce_net,
        width=64,
        dims=2,
        tables=("dsnet-1",),
        options=PRETRAINED | {"cross_entropy": "its weight beside Dice, 0 as in the release"},
    ),
    "inf-net": Recipe(
        inf_net,
        width=64,
        dims=2,
        tables=("msds-14", "dsnet-1", "dsnet-5"),
        options=PRETRAINED | {"reference_bce": "True for the release's unweighted cross-entropy"},
    ),
    "medt": Recipe(
        medt,
        width=8,
        dims=2,
        tables=("dsnet-1", "dsnet-5"),
        options={
            "size": "the side of the square images it is made for",
            "reference": "True for the release's two logits and unread parameters",
        },
    ),
}
