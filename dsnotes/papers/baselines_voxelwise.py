"""The patch classifiers in DSNet's Table 2, each trained on randomly drawn voxels."""

from __future__ import annotations

from dsnotes.networks.baselines.cascaded_cnn import CascadedCNN
from dsnotes.networks.baselines.cf_cnn import CFCNN
from dsnotes.networks.baselines.db_resnet import DBResNet
from dsnotes.networks.baselines.mc_cnn import MCCNN
from dsnotes.networks.baselines.mcroi_cnn import MCROICNN
from dsnotes.networks.baselines.mv_dcnn import MVDCNN
from dsnotes.papers.recipe import Recipe
from dsnotes.supervision import supervise
from dsnotes.supervision.voxel_sampling import Voxels
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

NETWORKS = {
    "cf-cnn": CFCNN,
    "mc-cnn": MCCNN,
    "mv-dcnn": MVDCNN,
    "mcroi-cnn": MCROICNN,
    "cascaded-cnn": CascadedCNN,
    "db-resnet": DBResNet,
}


def voxelwise(name: str, *, in_channels: int, classes: int, width: int, dims: int, each: int = 64, **options) -> System:
    """Learning rates and batches are ours: the published values belong to datasets of patches."""
    goal = Voxels(each)
    backbone = NETWORKS[name](in_channels=in_channels, classes=classes, dims=dims, width=width, **options)
    settings = Settings(patch=(64, 64) if dims == 2 else (8, 64, 64))
    return System(name, supervise(backbone, goal), goal, settings=settings)


EACH = {"each": "voxels drawn per image from the lesion, and as many from the rest"}
EVERY = {"every": "2 classifies every second row and column and interpolates the others"}
WIDTHS = {"cf-cnn": 36, "mc-cnn": 64, "mv-dcnn": 36, "mcroi-cnn": 12, "cascaded-cnn": 64, "db-resnet": 32}
VOLUMES = ("cf-cnn", "mv-dcnn", "db-resnet")  # these read several slices and cut out a patch per voxel
SYSTEMS = {
    name: Recipe(
        voxelwise,
        width=width,
        dims=3 if name in VOLUMES else 2,
        tables=("dsnet-2",),
        options=EACH | EVERY if name in VOLUMES else EACH,
    )
    for name, width in WIDTHS.items()
}
