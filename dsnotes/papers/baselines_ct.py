"""Networks that MSDS-UNet's tables (chest CT) and MSS U-Net's tables (kidneys) compare with."""

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
    """FRRN with its loss over the hardest pixels; "A" has Table 13's 49 layers, "B" nearly its number of parameters."""
    backbone = FRRN(in_channels=in_channels, classes=classes, dims=dims, width=width, variant=variant)
    goal = Pixelwise(partial(hardest, pixels=pixels))
    return System(name, supervise(backbone, goal), goal, settings=Settings(lr=1e-3))


def in_mrrn(name: str, *, in_channels: int, classes: int, width: int, dims: int) -> System:
    """In-MRRN with cross-entropy and Dice, which is our choice: its release only predicts."""
    goal = Plain()
    backbone = InMRRN(in_channels=in_channels, classes=classes, dims=dims, width=width)
    return System(name, supervise(backbone, goal), goal)


def anam_net(name: str, *, in_channels: int, classes: int, width: int, dims: int) -> System:
    """Anam-Net with a cross-entropy in which every class has the same total weight."""
    goal = Pixelwise(balanced)
    backbone = AnamNet(in_channels=in_channels, classes=classes, dims=dims, width=width)
    settings = Settings(batch=5, epochs=100, lr=5e-4, schedule="step", step_every=33)
    return System(name, supervise(backbone, goal), goal, settings=settings)


def covid_ct_mask_net(
    name: str, *, in_channels: int, classes: int, width: int, dims: int, smallest: int = 100
) -> System:
    """Mask R-CNN with its five losses; it predicts with the masks of its confident detections."""
    goal = Detection(smallest)
    backbone = CovidCTMaskNet(in_channels=in_channels, classes=classes, dims=dims, width=width)
    settings = Settings(patch=(512, 512), batch=1, epochs=100, lr=1e-5, weight_decay=1e-3)
    return System(name, supervise(backbone, goal), goal, settings=settings)


def pspnet(name: str, *, in_channels: int, classes: int, width: int, dims: int) -> System:
    """PSPNet with weight 0.4 for its auxiliary output; the table uses it on a cropped region, `dsnotes.data.region`."""
    goal = FullSize(AuxiliaryScore, {"stride1": 1.0, "stride8": 0.4})
    backbone = PSPNet(in_channels=in_channels, classes=classes, dims=dims, width=width)
    settings = Settings(batch=16, optimiser="sgd", lr=1e-2, weight_decay=1e-4, schedule="poly")
    return System(name, supervise(backbone, goal), goal, settings=settings)


def plain(
    backbone: type, settings: Settings, name: str, *, in_channels: int, classes: int, width: int, dims: int
) -> System:
    """A network with cross-entropy and Dice on its output."""
    goal = Plain()
    network = supervise(backbone(in_channels=in_channels, classes=classes, dims=dims, width=width), goal)
    return System(name, network, goal, settings=settings)


def vb_net(
    name: str, *, in_channels: int, classes: int, width: int, dims: int, shrink: int = 4, margin: int = 8
) -> System:
    """Two VB-Nets, each with its own Dice; the coarse one finds foreground of any class."""
    shape = {"in_channels": in_channels, "dims": dims, "width": width}
    backbone = TwoStage(VBNet(classes=2, **shape), VBNet(classes=classes, **shape), shrink=shrink, margin=margin)
    goal = TwoStageLoss()
    return System(name, supervise(backbone, goal), goal)


def boundary_aware(name: str, *, in_channels: int, classes: int, width: int, dims: int, edges: float = 1.0) -> System:
    """The network predicts masks and borders; the masks are the prediction."""
    goal = Boundary(float(edges))
    backbone = BoundaryAware(in_channels=in_channels, classes=classes, dims=dims, width=width)
    return System(name, supervise(backbone, goal), goal)


# The winner's: 1000 epochs of 250 steps, batches of two patches, augmented; the learning rate is ours.
KITS = Settings(
    patch=(80, 160, 160), epochs=1000, iterations=250, optimiser="sgd", lr=1e-2, schedule="poly", augment="nnu-net"
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
            "pixels": "how many of each image's hardest pixels count, 32768; a quarter of a smaller image",
        },
    ),
    "in-mrrn": Recipe(in_mrrn, width=32, dims=2, tables=LUNG),
    "anam-net": Recipe(anam_net, width=64, dims=2, papers=("msds_unet",)),  # in its text, not in its Table 14
    "covid-ct-mask-net": Recipe(
        covid_ct_mask_net,
        width=64,
        dims=2,
        tables=("msds-14",),
        options={"smallest": "smallest component of the label that counts as an object, 100 pixels"},
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
            "shrink": "how many times coarser the first network's grid is, 4",
            "margin": "voxels around the region that the first network finds",
        },
    ),
    "boundary-aware": Recipe(
        boundary_aware,
        width=32,
        dims=3,
        tables=("mss-5",),
        options={"edges": "weight of the border loss, mask loss 1"},
    ),
}
