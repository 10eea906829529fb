"""µ-Net: pseudo-labels, the features that the network computes from the mask, and a decoder tied to the encoder.

Yuan, Xu, Tian, Wang, Zhan and Lukasiewicz, "µ-Net: Medical image segmentation using efficient and effective deep
supervision".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from dsnotes.networks.baselines.unet_plus_plus import UNetPlusPlus
from dsnotes.networks.heads import InterpolatedHeads, SideHeads
from dsnotes.networks.unet import UNet
from dsnotes.papers.protocol import protocol
from dsnotes.papers.recipe import Recipe, tables_of
from dsnotes.supervision import supervise
from dsnotes.supervision.full_size import FullSize
from dsnotes.supervision.multi_label import MultiLabel
from dsnotes.supervision.pseudo_labels import VARIANTS, Vae, segmentation
from dsnotes.training.system import System

# For BraTS; a preset has its own batch and image size. The two CT datasets were resized to 480 × 480.
SETTINGS = protocol("mu-net-brats").settings

# (output, mask, restored_mask, restored_image, features, restored_features) as chosen for each dataset; the paper
# lists the spleen twice, the second is the liver.
PRESETS = {
    "brats": (5.0, 1.0, 1.0, 1.0, 9.0, 6.0),
    "cardiac": (7.0, 1.0, 4.0, 1.0, 9.0, 6.0),
    "spleen": (3.0, 5.0, 2.0, 2.0, 8.0, 6.0),
    "liver": (6.0, 1.0, 3.0, 1.0, 9.0, 6.0),
}
# The effect of λ depends on the norm, which the paper does not name. At initialisation, with Cardiac's weights and
# batch norm, U-Net-Deep's feature term is 33 against 8.5 for the output's, and its gradient 70 against 3.2; with
# norm="none" they are .001, and .04 against 1.4 (benchmarks/results/mu_net_weights.md). With the published weights,
# networks with batch norm stay behind the plain U-Net for hundreds of steps. These presets divide λ and η by ten.
BATCH_NORM = "-batch-norm"
PRESETS_OF_ALL = PRESETS | {f"{name}{BATCH_NORM}": (*w[:4], w[4] / 10, w[5] / 10) for name, w in PRESETS.items()}
# α, β, a, b, λ, η of the paper, and γ, ξ, which it leaves at 1.
WEIGHTS = ("output", "mask", "restored_mask", "restored_image", "features", "restored_features")
WEIGHTS += ("agree", "agree_restored")
VARIANT = {
    "unet-deep": "deep",
    "unet-auto": "auto",
    "mu-net-seg": "seg",
    "mu-net-rec": "rec",
    "mu-net-hyb": "hyb",
    "mu-net-vae": "vae",
}
RAISE = {"unet-up": True, "unet-down": False}


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
    patch: tuple[int, ...] | None = None,
    squared: bool = True,
    weights: Mapping[str, float] | None = None,
    levels: Mapping[str, float] | None = None,
    restored_levels: Mapping[str, float] | None = None,
) -> System:
    """A row of Tables 4 and 5, on the U-Net, or with "++" on U-Net++ at the U-Net's widths; also Fig. 4's rival."""
    if preset not in PRESETS_OF_ALL:
        raise ValueError(
            f"preset={preset!r} is unknown. The paper's datasets are {list(PRESETS)}; add {BATCH_NORM!r} to the name, "
            f"as in 'cardiac{BATCH_NORM}', to divide λ and η by ten."
        )
    network = UNetPlusPlus if name.endswith("++") else UNet
    backbone = network(in_channels=in_channels, classes=classes, dims=dims, width=width, norm=norm)
    given = {"levels": levels, "restored_levels": restored_levels}
    chosen = {option: dict(by_level) for option, by_level in given.items() if by_level is not None}
    if unknown := sorted(set(weights or {}) - set(WEIGHTS)):
        raise ValueError(f"weights names {', '.join(unknown)}. The paper has weights for {', '.join(WEIGHTS)}.")
    found = dict(zip(WEIGHTS, PRESETS_OF_ALL[preset], strict=False)) | dict(weights or {})
    goal = VARIANTS[VARIANT[name.removesuffix("++")]](**found, **chosen, detach_targets=detach_targets)
    if isinstance(goal, Vae):
        goal = replace(goal, patch=patch, squared=squared)
    settings = protocol(f"mu-net-{preset.removesuffix(BATCH_NORM)}").settings
    return System(name, supervise(backbone, goal), goal, settings=settings)


def resized(name: str, *, in_channels: int, classes: int, width: int, dims: int, norm: str = "batch") -> System:
    """Fig. 3's rivals: side outputs upsampled to the mask as in M-Net, or the mask downsampled to them as in MLDS-Net.

    The paper names no loss for either: here the output and the upsampled side outputs have equal shares of its L_BD,
    the side outputs at their own size MLDS-Net's cross-entropy of each class.
    """
    backbone = UNet(in_channels=in_channels, classes=classes, dims=dims, width=width, norm=norm)
    if RAISE[name]:
        goal = FullSize(InterpolatedHeads, dict.fromkeys(backbone.sides(), 1 / len(backbone.sides())), segmentation)
    else:
        deep = tuple(level for level in backbone.sides() if level != "stride1")
        goal = MultiLabel(partial(SideHeads, levels=deep), loss=segmentation)
    return System(name, supervise(backbone, goal), goal, settings=SETTINGS)


NORM = {"norm": "'batch', 'instance' or 'none'"}
OPTIONS = {
    "preset": f"the published loss weights for one of {list(PRESETS)}, with its batch and image size; with "
    f"{BATCH_NORM!r} added to the name, λ and η are divided by ten, so that networks with batch norm learn",
    "weights": f"some of {list(WEIGHTS)} instead of the preset's, such as {{'features': 0.9}}",
    "levels": "ω, weights of the levels whose features are compared, such as {'stride16': 1.0}; by default 1 per level",
    "restored_levels": "σ, the same for the features of the restoration decoder",
    "detach_targets": "False lets gradients flow into the pseudo-labels",
} | NORM
VARIATIONAL = {
    "patch": "image size that the latent code is built for, 256 pixels per axis",
    "squared": "False uses the cross-entropies and weights of the tied decoder for restoration",
}
WHOLE = ("mu-net-2", "mu-net-3", "mu-net-4", "mu-net-5")
SYSTEMS = {
    **{
        name: Recipe(
            mu_net, width=64, dims=2, tables=WHOLE if name.startswith("mu-net-hyb") else WHOLE[2:], options=OPTIONS
        )
        for variant in VARIANT
        if variant != "mu-net-vae"
        for name in (variant, f"{variant}++")
    },
    "mu-net-vae": Recipe(mu_net, width=64, dims=2, options=OPTIONS | VARIATIONAL, papers=("mu_net",)),
    **{name: Recipe(resized, width=64, dims=2, options=NORM, papers=("mu_net",)) for name in RAISE},
}

TABLES = tables_of("mu_net")
