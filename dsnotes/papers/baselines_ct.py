"""Networks that MSDS-UNet's tables of chest CT compare with, and those of MSS U-Net's tables of kidneys."""

from __future__ import annotations

from functools import partial

from dsnotes.networks.baselines.anam_net import AnamNet
from dsnotes.networks.baselines.boundary_aware import BoundaryAware
from dsnotes.networks.baselines.covid_ct_mask_net import CovidCTMaskNet
from dsnotes.networks.baselines.fcn_ppm_3d import FCNPPM
from dsnotes.networks.baselines.frrn import FRRN
from dsnotes.networks.baselines.in_mrrn import InMRRN
from dsnotes.networks.baselines.pspnet_2d import AuxiliaryScore, PSPNet
from dsnotes.networks.baselines.res_unet_kits import ResUNetKiTS
from dsnotes.networks.baselines.vb_net import VBNet
from dsnotes.networks.two_stage import TwoStage
from dsnotes.papers.recipe import Recipe
from dsnotes.supervision import Plain, supervise
from dsnotes.supervision.boundary import Boundary
from dsnotes.supervision.detection import Detection
from dsnotes.supervision.full_size import FullSize
from dsnotes.supervision.pixelwise import Pixelwise, balanced, hardest
from dsnotes.supervision.two_stage import TwoStageLoss
from dsnotes.training.settings import Settings
from dsnotes.training.system import System


def frrn(
    name: str,
    *,
    in_channels: int,
    classes: int,
    width: int,
    dims: int,
    variant: str = "A",
    pixels: int = 512 * 64,
) -> System:
    """FRRN on the pixels that fare worst; "A" has the 49 layers of Table 13, "B" nearly its parameters."""
    backbone = FRRN(in_channels=in_channels, classes=classes, dims=dims, width=width, variant=variant)
    goal = Pixelwise(partial(hardest, pixels=pixels))
    return System(name, supervise(backbone, goal), goal, settings=Settings(lr=1e-3))


def in_mrrn(name: str, *, in_channels: int, classes: int, width: int, dims: int) -> System:
    """In-MRRN on cross-entropy and Dice, which is ours: its release only predicts."""
    goal = Plain()
    backbone = InMRRN(in_channels=in_channels, classes=classes, dims=dims, width=width)
    return System(name, supervise(backbone, goal), goal)


def anam_net(name: str, *, in_channels: int, classes: int, width: int, dims: int) -> System:
    """Anam-Net on a cross-entropy in which every class weighs the same."""
    goal = Pixelwise(balanced)
    backbone = AnamNet(in_channels=in_channels, classes=classes, dims=dims, width=width)
    settings = Settings(batch=5, epochs=100, lr=5e-4, schedule="step", step_every=33)
    return System(name, supervise(backbone, goal), goal, settings=settings)


def covid_ct_mask_net(
    name: str, *, in_channels: int, classes: int, width: int, dims: int, smallest: int = 100
) -> System:
    """Mask R-CNN on its five losses; what its sure detections say of each pixel is deployed."""
    goal = Detection(smallest)
    backbone = CovidCTMaskNet(in_channels=in_channels, classes=classes, dims=dims, width=width)
    settings = Settings(patch=(512, 512), batch=1, epochs=100, lr=1e-5, weight_decay=1e-3)
    return System(name, supervise(backbone, goal), goal, settings=settings)


def pspnet(name: str, *, in_channels: int, classes: int, width: int, dims: int) -> System:
    """PSPNet with 0.4 of its second opinion; the table has it on a region, `dsnotes.data.region`."""
    goal = FullSize(AuxiliaryScore, {"stride1": 1.0, "stride8": 0.4})
    backbone = PSPNet(in_channels=in_channels, classes=classes, dims=dims, width=width)
    settings = Settings(batch=16, optimiser="sgd", lr=1e-2, weight_decay=1e-4, schedule="poly")
    return System(name, supervise(backbone, goal), goal, settings=settings)


def plain(
    backbone: type, settings: Settings, name: str, *, in_channels: int, classes: int, width: int, dims: int
) -> System:
    """Cross-entropy and Dice on the output."""
    goal = Plain()
    network = supervise(backbone(in_channels=in_channels, classes=classes, dims=dims, width=width), goal)
    return System(name, network, goal, settings=settings)


def vb_net(
    name: str, *, in_channels: int, classes: int, width: int, dims: int, shrink: int = 4, margin: int = 8
) -> System:
    """Two VB-Nets, the coarse one for foreground of any class, each on its own Dice."""
    shape = {"in_channels": in_channels, "dims": dims, "width": width}
    backbone = TwoStage(VBNet(classes=2, **shape), VBNet(classes=classes, **shape), shrink=shrink, margin=margin)
    goal = TwoStageLoss()
    return System(name, supervise(backbone, goal), goal)


def boundary_aware(
    name: str, *, in_channels: int, classes: int, width: int, dims: int, edges: float | int = 1.0
) -> System:
    """Masks and borders; the masks are deployed."""
    goal = Boundary(float(edges))
    backbone = BoundaryAware(in_channels=in_channels, classes=classes, dims=dims, width=width)
    return System(name, supervise(backbone, goal), goal)


# The winner's: 1000 epochs of 250 steps of two patches, augmented; its rate is ours.
KITS = Settings(
    patch=(80, 160, 160), epochs=1000, iterations=250, optimiser="sgd", lr=1e-2, schedule="poly", augment=True
)
LUNG = ("msds-10", "msds-11", "msds-13")
SYSTEMS = {
    "frrn": Recipe(
        frrn,
        width=48,
        dims=2,
        tables=LUNG,
        options={
            "variant": "'A' to stride 16, 49 layers, or 'B' to stride 32, 57 layers",
            "pixels": "how many of the worst of each image count, 32768; a quarter of a smaller image",
        },
    ),
    "in-mrrn": Recipe(in_mrrn, width=32, dims=2, tables=LUNG),
    "anam-net": Recipe(anam_net, width=64, dims=2, papers=("msds_unet",)),  # its text has it; its Table 14 has not
    "covid-ct-mask-net": Recipe(
        covid_ct_mask_net,
        width=64,
        dims=2,
        tables=("msds-14",),
        options={"smallest": "pixels above which a component of the label is an object, 100"},
    ),
    "pspnet-2d": Recipe(pspnet, width=64, dims=2, tables=("mss-4",)),
    "fcn-ppm-3d": Recipe(partial(plain, FCNPPM, Settings()), width=32, dims=3, tables=("mss-4",)),
    "res-unet-kits": Recipe(partial(plain, ResUNetKiTS, KITS), width=30, dims=3, tables=("mss-5",)),
    "vb-net": Recipe(
        vb_net,
        width=16,
        dims=3,
        tables=("mss-5",),
        options={
            "shrink": "how many times coarser the grid is on which the region is found, 4",
            "margin": "voxels round what was found",
        },
    ),
    "boundary-aware": Recipe(
        boundary_aware, width=32, dims=3, tables=("mss-5",), options={"edges": "weight of the borders beside masks"}
    ),
}
