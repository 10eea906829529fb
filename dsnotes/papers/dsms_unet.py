"""DSMS U-Net: a restoration decoder as deep supervision, and convolutions of several sizes on the skip connections.

Wang, Wang and Xu 2020, "Tumor Segmentation Based on Deeply Supervised Multi-Scale U-Net". The paper calls the full
system DSMS U-Net in its title and DSMSC U-Net in its table.
"""

from __future__ import annotations

from dsnotes.networks.baselines.fcn import FCN
from dsnotes.networks.dsms_unet import DSMSUNet
from dsnotes.papers.protocol import protocol
from dsnotes.papers.recipe import Recipe, tables_of
from dsnotes.supervision import Plain, Restoration, supervise
from dsnotes.supervision.restoration import LOSSES
from dsnotes.training.system import System

# The paper says only "gradient accumulation" about its training: the values here are ours.
SETTINGS = protocol("dsms").settings

GRID = {  # the system's name -> (module on the skips, restoration decoder)
    "drs-unet": ("none", True),
    "kcm-unet": ("kcm", False),
    "mscm-unet": ("msc", False),
    "kcmdrs-unet": ("kcm", True),
    "dsmsc-unet": ("msc", True),
}


def dsms_unet(
    name: str,
    *,
    in_channels: int,
    classes: int,
    width: int,
    dims: int,
    ratio: float = 10.0,
    loss: str = "bce",
    like: str | None = None,
    norm: str = "batch",
) -> System:
    """One cell of the grid {restoration on, off} × {no module, KCM, MSC}; "unet-2d" with dice=0 is the sixth."""
    module, restored = GRID[name]
    backbone = DSMSUNet(
        in_channels=in_channels, classes=classes, dims=dims, width=width, module=module, like=like, norm=norm
    )
    goal = Restoration(segmentation=ratio, restoration=1.0 if restored else 0.0, loss=loss, norm=norm)
    return System(name, supervise(backbone, goal), goal, settings=SETTINGS)


def fcn(name: str, *, in_channels: int, classes: int, width: int, dims: int) -> System:
    """FCN-8s with cross-entropy alone, as in its paper."""
    backbone = FCN(in_channels=in_channels, classes=classes, dims=dims, width=width)
    goal = Plain(dice=0.0)
    return System(name, supervise(backbone, goal), goal, settings=SETTINGS)


OPTIONS = {
    "ratio": "weight of the segmentation loss; the restoration loss has weight 1",
    "loss": f"the restoration loss, one of {list(LOSSES)}; 'bce' is reported minus the entropy of the grey values",
    "like": "'msc' or 'kcm': gives the module on the skips as many weights as that one has",
    "norm": "'batch', 'instance' or 'none'",
}
PRINTED = {"drs-unet", "kcmdrs-unet", "dsmsc-unet"}
SYSTEMS = {
    name: Recipe(
        dsms_unet,
        width=64,
        dims=2,
        tables=("dsms-1",) if name in PRINTED else (),
        options=OPTIONS,
        papers=("dsms_unet",),
    )
    for name in GRID
}
SYSTEMS["fcn"] = Recipe(fcn, width=64, dims=2, tables=("dsms-1", "mu-net-2", "mu-net-3"))

TABLES = tables_of("dsms_unet")
