"""µ-Net: pseudo-labels from the mask's own pass, and a decoder tied to the encoder.

Yuan, Xu, Tian, Wang, Zhan and Lukasiewicz, "µ-Net: Medical image segmentation using efficient and effective deep
supervision".
"""

from __future__ import annotations

from dsnotes.networks.unet import UNet
from dsnotes.papers.recipe import Recipe
from dsnotes.supervision import supervise
from dsnotes.supervision.pseudo_labels import PseudoLabels
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

# The largest number of epochs is not printed; training ends at twice the best epoch.
SETTINGS = Settings(
    patch=(240, 240),
    batch=4,
    epochs=200,
    optimiser="adam",
    lr=3e-4,
    schedule="exponential",
    step_every=3,
    factor=0.9,
    stop="twice_best",
)

# (output, mask, restored_mask, restored_image, features, restored_features) as chosen for each dataset; the list in
# print has the spleen twice, the second is the liver.
PRESETS = {
    "brats": (5.0, 1.0, 1.0, 1.0, 9.0, 6.0),
    "cardiac": (7.0, 1.0, 4.0, 1.0, 9.0, 6.0),
    "spleen": (3.0, 5.0, 2.0, 2.0, 8.0, 6.0),
    "liver": (6.0, 1.0, 3.0, 1.0, 9.0, 6.0),
}
BATCH = {"brats": 4, "cardiac": 2, "spleen": 1, "liver": 1}

VARIANT = {
    "unet-deep": "deep",
    "unet-auto": "auto",
    "mu-net-seg": "seg",
    "mu-net-rec": "rec",
    "mu-net-hyb": "hyb",
}


def mu_net(
    name: str,
    *,
    in_channels: int,
    classes: int,
    width: int,
    dims: int,
    preset: str = "brats",
    detach_targets: bool = True,
    norm: str = "batch",
) -> System:
    """One of the five systems of Tables 4 and 5 on the plain U-Net."""
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r} is unknown. The paper's datasets are {list(PRESETS)}.")
    backbone = UNet(in_channels=in_channels, classes=classes, dims=dims, width=width, norm=norm)
    goal = PseudoLabels(VARIANT[name], *PRESETS[preset], detach_targets=detach_targets)
    return System(name, supervise(backbone, goal), goal, settings=SETTINGS)


OPTIONS = {
    "preset": f"the loss weights found for one of {list(PRESETS)}",
    "detach_targets": "False lets gradients into the pseudo-labels",
    "norm": "'batch' or 'instance'",
}
SYSTEMS = {
    name: Recipe(
        mu_net,
        width=64,
        dims=2,
        tables=("mu-net-2", "mu-net-3", "mu-net-4", "mu-net-5") if name == "mu-net-hyb" else ("mu-net-4", "mu-net-5"),
        options=OPTIONS,
    )
    for name in VARIANT
}
