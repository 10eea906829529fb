"""MSS U-Net: multi-scale supervision, the exponential-logarithmic loss, and post-processing for kidneys.

Zhao, Jiang, Peña Queralta and Westerlund 2020, "Multi-Scale Supervised 3D U-Net for Kidneys and Kidney Tumor
Segmentation", https://arxiv.org/abs/2004.08108

Where the paper and its code differ, `preset="paper"` follows the paper and `preset="official_code"` the code: level
weights (.4 .2 .2 .1 .1 against .6 .1 .1 .1 .1), Dice denominator (squares against plain sums), cross-entropy (Eq. 2, a
mean over voxels, against a mean over weights, which is 3.4 times as large beside the Dice), and how the label is
downsampled (the paper does not say, nearest here, against linear interpolation of the label map and rounding).
"""

from __future__ import annotations

from dataclasses import replace

from dsnotes.data.preprocess import Preprocess
from dsnotes.networks.mss_unet import MSSUNet, initialise, plan
from dsnotes.papers.protocol import protocol
from dsnotes.papers.recipe import Recipe, tables_of
from dsnotes.supervision import MultiScale, Plain, Supervision, supervise
from dsnotes.supervision.multi_scale import ExponentialLogAndEntropy, entropy_and_dice
from dsnotes.training.system import System

STRATEGIES = ("multi-scale", "exponential-log")
PRESETS = ("paper", "official_code")
LEVEL_WEIGHTS = {"paper": (0.4, 0.2, 0.2, 0.1, 0.1), "official_code": (0.6, 0.1, 0.1, 0.1, 0.1)}
SPACING = (3.0, 0.78162, 0.78162)  # the "interpolated" KiTS19 set; depth, height, width
PATCH = (48, 192, 192)

# The percentiles, mean and standard deviation of the training foreground, as the release measured them on KiTS19; for
# other data, compute them with dsnotes.data.preprocess.foreground_statistics.
PREPROCESS = Preprocess(spacing=SPACING, clip=(-68.34, 285.91), normalise=(94.54, 70.52))

# `OFFICIAL` adds what only the release has: AMSGrad, weight decay, forced foreground, stopping only below a rate.
SETTINGS = protocol("mss").settings
OFFICIAL = protocol("mss-official-code").settings


def level_weights(levels: int, preset: str = "paper") -> tuple[float, ...]:
    """The published weights of the finest `levels` levels, scaled to sum 1 if a network has fewer than five."""
    kept = LEVEL_WEIGHTS[preset][:levels]
    if len(kept) < levels:
        raise ValueError(
            f"the paper has weights for {len(kept)} levels, this network has {levels}. Pass halvings=5 or fewer."
        )
    return tuple(weight / sum(kept) for weight in kept)


def objective(
    classes: int, levels: int, *, strategies: tuple[str, ...] = STRATEGIES, preset: str = "paper"
) -> Supervision:
    """The supervision of a network with `levels` decoder levels; fits any backbone."""
    if unknown := sorted(set(strategies) - set(STRATEGIES)):
        raise ValueError(
            f"strategies {unknown} are not the paper's. Choose from {list(STRATEGIES)}, or () for neither."
        )
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r} is unknown. Choose one of {list(PRESETS)}.")
    squared = preset == "paper"
    if not strategies:
        return Plain(squared=squared)
    loss = entropy_and_dice
    if "exponential-log" in strategies:
        foregrounds = max(classes - 1, 1)
        loss = ExponentialLogAndEntropy(squared=squared, normalised=preset == "official_code")
        if foregrounds != 2:  # the published weights are kidney's and tumour's
            loss = replace(loss, dice_weights=(1 / foregrounds,) * foregrounds, entropy_weights=None)
    return MultiScale(
        weights=level_weights(levels, preset) if "multi-scale" in strategies else (1.0,),
        levels=None if "multi-scale" in strategies else ("stride1",),
        reduction="nearest" if preset == "paper" else "official_code",
        loss=loss,
        bias=False,
    )


def mss_unet(
    name: str,
    *,
    in_channels: int,
    classes: int,
    width: int,
    dims: int,
    strategies: tuple[str, ...] | None = None,
    preset: str = "paper",
    patch: tuple[int, ...] | None = None,
    spacing: tuple[float, ...] | None = None,
    halvings: int = 5,
) -> System:
    """`classic-unet-3d` is the same network with neither strategy; patch and spacing re-derive strides and kernels."""
    if strategies is None:
        strategies = () if name == "classic-unet-3d" else STRATEGIES
    shape = plan(patch or PATCH[-dims:], spacing or SPACING[-dims:], halvings=halvings)
    backbone = MSSUNet(in_channels=in_channels, classes=classes, width=width, plan=shape)
    goal = objective(classes, len(backbone.sides()), strategies=strategies, preset=preset)
    network = supervise(backbone, goal)
    initialise(network.heads)
    return System(name, network, goal, settings=SETTINGS if preset == "paper" else OFFICIAL)


OPTIONS = {
    "strategies": f"any of {STRATEGIES}, () for neither",
    "preset": "'paper' or 'official_code'",
    "patch": "voxels per axis; strides are derived from it",
    "spacing": "mm per axis; strides are derived from it",
    "halvings": "most halvings per axis, 5 in the paper",
}
SYSTEMS = {
    "mss-unet": Recipe(mss_unet, width=30, dims=3, tables=("mss-2", "mss-3", "mss-4", "mss-5"), options=OPTIONS),
    "classic-unet-3d": Recipe(mss_unet, width=30, dims=3, tables=("mss-2", "mss-3"), options=OPTIONS),
}

TABLES = tables_of("mss_unet")
METRICS = TABLES[2].columns
