"""2-D networks that DSNet's tables compare with; three have encoders that are usually pretrained."""

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
    """DeepLabV3+ with cross-entropy, as in its paper."""
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
    cross_entropy: float = 0.0,
    pretrained: Pretrained = None,
) -> System:
    """CE-Net with Dice over the batch: its release computes the paper's cross-entropy but does not add it."""
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
    """Inf-Net with its five outputs; it predicts with the sigmoid of the last refined one."""
    backbone = InfNet(in_channels=in_channels, classes=classes, dims=dims, width=width, pretrained=pretrained)
    goal = EdgeGuided(reference_bce)
    return System(name, supervise(backbone, goal), goal, settings=Settings(lr=1e-4))


def medt(
    name: str, *, in_channels: int, classes: int, width: int, dims: int, size: int = 128, reference: bool = False
) -> System:
    """MedT with cross-entropy."""
    backbone = MedT(in_channels=in_channels, classes=classes, dims=dims, width=width, size=size, reference=reference)
    goal = Plain(dice=0.0)
    settings = Settings(patch=(size, size), batch=4, lr=1e-3, weight_decay=1e-5, epochs=400)
    return System(name, supervise(backbone, goal), goal, settings=settings)


PRETRAINED = {"pretrained": "path of a .pth file with the encoder's usual state dict"}
SYSTEMS = {
    "deeplabv3+": Recipe(
        deeplab_v3_plus,
        width=64,
        dims=2,
        tables=("dsnet-1",),
        options=PRETRAINED | {"separable": "True for depthwise separable convolutions in pyramid and decoder"},
    ),
    "ce-net": Recipe(
        ce_net,
        width=64,
        dims=2,
        tables=("dsnet-1",),
        options=PRETRAINED | {"cross_entropy": "weight of the cross-entropy beside Dice, 0 as in the release"},
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
            "size": "side of the square input images, in pixels",
            "reference": "True for the release's two logits and unused parameters",
        },
    ),
}
