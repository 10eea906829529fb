"""MSS U-Net: multi-scale supervision, the exponential-logarithmic loss, and kidneys cleaned up.

Zhao, Jiang, Peña Queralta and Westerlund 2020, "Multi-Scale Supervised 3D U-Net for Kidneys and Kidney Tumor
Segmentation", https://arxiv.org/abs/2004.08108

Where print and released code differ, `preset="paper"` follows print and `preset="official_code"` the code: level
weights (.4 .2 .2 .1 .1 against .6 .1 .1 .1 .1), Dice denominator (squares against plain sums), and how the label is
reduced (nearest, which the paper leaves open, against linear interpolation of the label map and rounding).
"""

from __future__ import annotations

from dsnotes.data.preprocess import Preprocess
from dsnotes.networks.mss_unet import MSSUNet, initialise, plan
from dsnotes.papers.recipe import Recipe, Table
from dsnotes.supervision import MultiScale, Objective, Plain, supervise
from dsnotes.supervision.multi_scale import ExponentialLogAndEntropy, entropy_and_dice
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

STRATEGIES = ("multi-scale", "exponential-log")
PRESETS = ("paper", "official_code")
LEVEL_WEIGHTS = {"paper": (0.4, 0.2, 0.2, 0.1, 0.1), "official_code": (0.6, 0.1, 0.1, 0.1, 0.1)}
SPACING = (3.0, 0.78162, 0.78162)  # the "interpolated" KiTS19 set; depth, height, width
PATCH = (48, 192, 192)

# The percentiles and the mean and deviation of the training foreground, as the release measured them on KiTS19; for
# other data, take them by dsnotes.data.preprocess.foreground_statistics.
PREPROCESS = Preprocess(spacing=SPACING, clip=(-68.34, 285.91), normalise=(94.54, 70.52))

# "An epoch" is 250 patches-in-batches. AMSGrad, weight decay and the share of foreground are the release's.
SETTINGS = Settings(
    patch=PATCH,
    batch=8,
    epochs=1000,
    iterations=250,
    validation_iterations=50,
    optimiser="adam",
    lr=3e-4,
    amsgrad=True,
    weight_decay=3e-5,
    schedule="plateau",
    factor=0.2,
    patience=30,
    stop="moving_average",
    stop_patience=50,
    foreground=1 / 3,
    augment=True,
)


def level_weights(levels: int, preset: str = "paper") -> tuple[float, ...]:
    """The printed weights of the finest `levels` levels, scaled to the sum 1 where a network has fewer than five."""
    kept = LEVEL_WEIGHTS[preset][:levels]
    if len(kept) < levels:
        raise ValueError(
            f"the paper weighs {len(kept)} levels, this network has {levels}. Ask for halvings=5 or fewer."
        )
    return tuple(weight / sum(kept) for weight in kept)


def objective(
    classes: int, levels: int, *, strategies: tuple[str, ...] = STRATEGIES, preset: str = "paper"
) -> Objective:
    """What the sides of a network with `levels` decoder levels are asked for; fits any backbone."""
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
        loss = ExponentialLogAndEntropy(squared=squared)
        if foregrounds != 2:  # the printed weights are kidney's and tumour's
            loss = ExponentialLogAndEntropy((1 / foregrounds,) * foregrounds, None, squared)
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
    spacing: tuple[float | int, ...] | None = None,
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
    return System(name, network, goal, settings=SETTINGS)


OPTIONS = {
    "strategies": f"any of {STRATEGIES}, () for neither",
    "preset": "'paper' or 'official_code'",
    "patch": "voxels an axis: strides are derived from it",
    "spacing": "mm an axis: likewise",
    "halvings": "at most so many, 5 in the paper",
}
SYSTEMS = {
    "mss-unet": Recipe(mss_unet, width=30, dims=3, tables=("mss-2", "mss-3", "mss-4", "mss-5"), options=OPTIONS),
    "classic-unet-3d": Recipe(mss_unet, width=30, dims=3, tables=("mss-2", "mss-3"), options=OPTIONS),
}

METRICS = ("dice", "jaccard", "accuracy", "precision", "recall", "hausdorff_mm")
FIGURES = ("dice", "iou", "accuracy", "ppv", "sensitivity", "hausdorff")  # the same, as dsnotes.score calls them
ORGANS = {"kidney": "dice_kidney", "tumour": "dice_tumour"}
TABLES = {
    1: Table(
        caption="The KiTS19 training set: patients (all, train, validation, test) and volume sizes in voxels.",
        columns=("patients", "train", "validation", "test", "smallest", "largest", "median"),
        rows={"KiTS19": (210, 134, 34, 42, (434, 434, 69), (639, 639, 182), (523, 523, 116))},
        unfilled={"KiTS19": "a dataset"},
    ),
    2: Table(
        caption="Kidney, mean of 42 held-out KiTS19 patients.",
        columns=METRICS,
        rows={
            "mss-unet": (0.969, 0.941, 0.999, 0.971, 0.968, 19.188),
            "classic-unet-3d": (0.962, 0.930, 0.999, 0.961, 0.965, 38.945),
        },
        starred="mss-unet",
        metrics={column: f"{figure}_kidney" for column, figure in zip(METRICS, FIGURES, strict=True)},
        slips=("Accuracy ties at .999: with background voxels counted it cannot tell the two apart.",),
    ),
    3: Table(
        caption="Tumour, mean of 42 held-out KiTS19 patients.",
        columns=METRICS,
        rows={
            "mss-unet": (0.805, 0.716, 0.999, 0.863, 0.802, 33.469),
            "classic-unet-3d": (0.781, 0.699, 0.999, 0.841, 0.810, 50.808),
        },
        starred="mss-unet",
        metrics={column: f"{figure}_tumour" for column, figure in zip(METRICS, FIGURES, strict=True)},
        slips=("Said to prove the improvement, but tumour recall is the baseline's: .810 against .802.",),
    ),
    4: Table(
        caption="Dice against networks that see a region of interest.",
        columns=("kidney", "tumour"),
        rows={"pspnet-2d": (0.902, 0.638), "fcn-ppm-3d": (0.927, 0.802), "mss-unet": (0.969, 0.805)},
        metrics=ORGANS,
        slips=(
            "The two ROI rows come from other data splits; 2D_PSPNET is cited to a paper on brain tumours.",
            "3D_FCN_PPM's own abstract reports .931 for the kidney, not .927.",
        ),
    ),
    5: Table(
        caption="Dice on the 90 hidden cases of the KiTS19 challenge.",
        columns=("place", "kidney", "tumour"),
        rows={
            "res-unet-kits": (1, 0.974, 0.851),
            "Xiaoshuai et al.": (2, 0.967, 0.845),
            "vb-net": (3, 0.973, 0.832),
            "mss-unet": (7, 0.974, 0.818),
            "boundary-aware": (9, 0.974, 0.810),
        },
        unfilled={"Xiaoshuai et al.": "published figures alone: no description of the network is at hand"},
        metrics=ORGANS,
        slips=("The winner changed part of the training data, as the paper says.",),
    ),
}
