"""MSDS-UNet: two pathways of deep supervision, and GradNorm to weigh them.

Yang, Wu, Li, Cao and Zaiane 2021, "MSDS-UNet: A multi-scale deeply supervised 3D U-Net for automatic segmentation of
lung tumor in CT", Computerized Medical Imaging and Graphics.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from dsnotes.data.preprocess import Preprocess
from dsnotes.networks.msds_unet import msds_backbone
from dsnotes.papers.recipe import Recipe, Table
from dsnotes.supervision import supervise
from dsnotes.supervision.two_pathway import ALPHA, OBJECTIVES, TwoPathway, average
from dsnotes.training.gradnorm_step import GradNormStep
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

# The paper names neither the window nor how it segments the lungs: lung to soft tissue and 20 mm round them are ours.
PREPROCESS = Preprocess(spacing=(1.0, 1.0, 1.0), lungs=20.0, clip=(-1000.0, 400.0), normalise="window")

# λ3 is searched in 0.1…1000 in print; as a penalty on the weights that would outweigh any Dice: 1e-5 instead. Patches
# come from anywhere: Table 9 counts those with and without a tumour, as the division of the images gives them.
SETTINGS = Settings(
    patch=(128, 128, 128),
    batch=1,
    epochs=200,
    optimiser="adam",
    lr=1e-3,
    weight_decay=1e-5,
    schedule="step",
    step_every=50,
    factor=0.1,
    foreground=0,
)


def msds_unet(
    name: str,
    *,
    in_channels: int,
    classes: int,
    width: int,
    dims: int,
    objective: str = "all",
    sides: str = "(1234)",
    soft_weight: float | int = 1.0,
    local_weight: float | int = 1.0,
    reduction: str = "nearest",
    norm: str = "batch",
    asymmetry: float | int = 1.5,
    shared: str | None = None,
) -> System:
    """`msds-unet-gm` is the same network with α moved by GradNorm."""
    backbone = msds_backbone(in_channels=in_channels, classes=classes, dims=dims, width=width, norm=norm)
    goal = TwoPathway(
        objective=objective, sides=sides, soft_weight=soft_weight, local_weight=local_weight, reduction=reduction
    )
    network = supervise(backbone, goal)
    system = System(name, network, goal, settings=SETTINGS, deploy=partial(average, network))
    if name == "msds-unet-gm":
        if objective not in ("hard", "hard+soft", "all"):
            raise ValueError(
                f"objective={objective!r} leaves GradNorm nothing to balance by α. Choose 'hard', 'hard+soft' or 'all'."
            )
        system = replace(system, make_step=partial(GradNormStep, asymmetry=asymmetry, shared=shared))
    return system


OPTIONS = {
    "objective": f"one of {OBJECTIVES}",
    "sides": f"one of {[f'({s})' for s in ALPHA]}; 4 is the output",
    "soft_weight": "λ1",
    "local_weight": "λ2",
    "reduction": "how the mask reaches a local side: 'nearest', 'area' or 'max'",
    "norm": "'batch' or 'instance'",
}
GRADNORM = {"asymmetry": "GradNorm's exponent", "shared": "name of the parameter where gradients are compared"}
TABLED = ("msds-1", "msds-2", "msds-10", "msds-11", "msds-14")
SYSTEMS = {
    "msds-unet": Recipe(
        msds_unet,
        width=30,
        dims=3,
        tables=(*TABLED, "msds-3", "msds-4", "msds-5", "msds-6", "msds-7", "msds-8", "msds-12", "msds-13"),
        options=OPTIONS,
    ),
    "msds-unet-gm": Recipe(msds_unet, width=30, dims=3, tables=TABLED, options=OPTIONS | GRADNORM),
}

THREE = ("dice", "sensitivity", "f1")


def _runs(option: str, *values: str) -> dict[str, dict]:
    """Rows that are one option's values; what is the default anyway is left out, so that equal rows are one run."""
    default = {"objective": "all", "sides": "(1234)"}[option]
    return {v: {"system": "msds-unet", "options": {} if v == default else {option: v}} for v in values}


def _figures(of: str, *, precision: bool = False) -> dict[str, str]:
    """The ratios of a part of the voxels: of the tumours of one scale, or, with precision, of some of the slices."""
    names = {"dice": "dice", "sensitivity": "sensitivity"} | ({"precision": "ppv"} if precision else {})
    return {column: f"{name}_{of}" for column, name in names.items()} | {"f1": f"pooled f1_{of}"}


SIDES = _runs("sides", "(4)", "(34)", "(234)", "(134)", "(124)", "(1234)")
PARTS = ("train", "validation", "test")
DICE_AND_F1 = "Dice and F1 are one number for one binary map, yet print has both: how they were averaged is unknown."
TABLES = {
    1: Table(
        caption="Liaoning: 220 CT, five-fold cross-validation.",
        columns=THREE,
        rows={
            "unet-2d": (0.578, 0.566, 0.586),
            "unet-3d": (0.643, 0.693, 0.639),
            "res-unet-3d": (0.649, 0.705, 0.641),
            "msds-unet": (0.664, 0.728, 0.667),
            "msds-unet-gm": (0.675, 0.731, 0.682),
        },
        starred="msds-unet-gm",
        slips=(DICE_AND_F1,),
    ),
    2: Table(
        caption="Liaoning: other 3-D networks.",
        columns=THREE,
        rows={
            "v-net": (0.633, 0.687, 0.648),
            "dsn-3d": (0.651, 0.724, 0.661),
            "msds-unet": (0.664, 0.728, 0.667),
            "msds-unet-gm": (0.675, 0.731, 0.682),
        },
        starred="msds-unet-gm",
    ),
    3: Table(
        caption="Liaoning: the objectives; p against all of them in print.",
        columns=(*THREE, "p dice", "p sensitivity", "p f1"),
        rows={
            "none": (0.649, 0.705, 0.641, 0.066, 0.035, 0.031),
            "hard": (0.654, 0.711, 0.650, 0.015, 0.013, 0.008),
            "soft": (0.659, 0.715, 0.652, 0.020, 0.028, 0.017),
            "side": (0.652, 0.694, 0.646, 0.019, 0.031, 0.026),
            "hard+soft": (0.658, 0.722, 0.659, 0.095, 0.110, 0.015),
            "all": (0.664, 0.728, 0.667, None, None, None),
        },
        starred="all",
        runs=_runs("objective", *OBJECTIVES),
        slips=("'No deep supervision' is starred as significant at 0.05 with p = 0.066.",),
    ),
    4: Table(
        caption="Liaoning: how many sides.",
        columns=(*THREE, "p dice", "p sensitivity", "p f1"),
        rows={
            "(4)": (0.653, 0.701, 0.649, 0.009, 0.022, 0.026),
            "(34)": (0.649, 0.713, 0.644, 0.024, 0.019, 0.017),
            "(234)": (0.654, 0.718, 0.650, 0.031, 0.013, 0.008),
            "(1234)": (0.664, 0.728, 0.667, None, None, None),
        },
        starred="(1234)",
        runs=SIDES,
        slips=("Two sides do worse than one in Dice and F1: more supervision is not always more.",),
    ),
    5: Table(
        caption="Liaoning: which three sides.",
        columns=(*THREE, "p dice", "p sensitivity", "p f1"),
        rows={
            "(234)": (0.654, 0.718, 0.650, 0.014, 0.022, 0.019),
            "(134)": (0.657, 0.680, 0.653, 0.012, 0.022, 0.034),
            "(124)": (0.673, 0.743, 0.669, None, None, None),
        },
        starred="(124)",
        runs=SIDES,
        slips=("(124) beats all four sides of Table 4 (.673 against .664), which the text does not say.",),
    ),
    6: Table(
        caption="Liaoning: large tumours.",
        columns=THREE,
        rows={
            "unet-2d": (0.673, 0.645, 0.679),
            "unet-3d": (0.735, 0.745, 0.730),
            "(34)": (0.749, 0.784, 0.733),
            "(234)": (0.768, 0.787, 0.754),
            "(134)": (0.738, 0.734, 0.733),
            "(124)": (0.758, 0.790, 0.753),
            "(1234)": (0.743, 0.764, 0.739),
        },
        starred="(1234)",
        runs=SIDES,
        metrics=_figures("large"),
    ),
    7: Table(
        caption="Liaoning: medium tumours.",
        columns=THREE,
        rows={
            "unet-2d": (0.621, 0.608, 0.612),
            "unet-3d": (0.665, 0.709, 0.630),
            "(34)": (0.676, 0.718, 0.672),
            "(234)": (0.693, 0.758, 0.687),
            "(134)": (0.698, 0.724, 0.694),
            "(124)": (0.695, 0.759, 0.691),
            "(1234)": (0.682, 0.742, 0.678),
        },
        starred="(1234)",
        runs=SIDES,
        metrics=_figures("medium"),
    ),
    8: Table(
        caption="Liaoning: small tumours.",
        columns=THREE,
        rows={
            "unet-2d": (0.477, 0.502, 0.477),
            "unet-3d": (0.519, 0.619, 0.515),
            "(34)": (0.522, 0.644, 0.515),
            "(234)": (0.499, 0.600, 0.532),
            "(134)": (0.526, 0.573, 0.564),
            "(124)": (0.556, 0.676, 0.568),
            "(1234)": (0.558, 0.651, 0.585),
        },
        starred="(1234)",
        runs=SIDES,
        metrics=_figures("small"),
        slips=("The text calls a (123)-side model second best; the table has (124).",),
    ),
    9: Table(
        caption="TCIA Lung1: patients, patches with and without tumour.",
        columns=("patients", "tumour", "without"),
        rows={
            "fold 1 train": (296, 5126, 30730),
            "fold 1 validation": (60, 1091, 6414),
            "fold 1 test": (66, 1015, 6129),
            "fold 2 train": (297, 5260, 30972),
            "fold 2 validation": (60, 1071, 6012),
            "fold 2 test": (65, 901, 6289),
            "fold 3 train": (296, 5167, 30343),
            "fold 3 validation": (60, 1034, 6721),
            "fold 3 test": (66, 1031, 6209),
        },
        unfilled={f"fold {n} {part}": "a part of a dataset" for n in (1, 2, 3) for part in PARTS},
    ),
    10: Table(
        caption="TCIA Lung1: slices with a tumour.",
        columns=("dice", "sensitivity", "precision", "f1", "false positives", "false negatives"),
        rows={
            "res-unet-3d": (0.667, 0.728, 0.706, 0.688, 894, 134),
            "rd-unet": (0.588, 0.60, 0.691, 0.606, 888, 231),
            "frrn": (0.516, 0.703, 0.489, 0.537, 5164, 58),
            "in-mrrn": (0.564, 0.665, 0.564, 0.582, 4860, 93),
            "msds-unet": (0.683, 0.738, 0.717, 0.709, 790, 175),
            "msds-unet-gm": (0.691, 0.746, 0.719, 0.724, 765, 141),
        },
        starred="msds-unet-gm",
        metrics=_figures("tumour_slices", precision=True),
        slips=("F1 .709 is not the harmonic mean of the printed precision and sensitivity (.727).",),
    ),
    11: Table(
        caption="TCIA Lung1: all slices.",
        columns=("dice", "sensitivity", "precision", "f1"),
        rows={
            "res-unet-3d": (0.516, 0.714, 0.472, 0.513),
            "rd-unet": (0.397, 0.562, 0.368, 0.391),
            "frrn": (0.168, 0.726, 0.117, 0.166),
            "in-mrrn": (0.167, 0.658, 0.115, 0.167),
            "msds-unet": (0.538, 0.707, 0.498, 0.521),
            "msds-unet-gm": (0.552, 0.709, 0.503, 0.529),
        },
        starred="msds-unet-gm",
        metrics=_figures("all_slices", precision=True),
        slips=("Sensitivity .714 of res-unet-3d is starred as beaten by .707 and .709.",),
    ),
    12: Table(
        caption="TCIA Lung1: thresholds.",
        columns=("mean dice", "median dice", "false positives", "false negatives"),
        rows={
            "0.5": (0.688, 0.767, 756, 169),
            "0.6": (0.694, 0.769, 661, 191),
            "0.7": (0.682, 0.755, 545, 222),
            "0.8": (0.659, 0.759, 489, 243),
            "0.9": (0.631, 0.736, 429, 281),
            "none": (0.621, 0.659, 4185, 3),
        },
        unfilled={"none": "print does not say what decides a voxel where there is no threshold"},
        runs={row: {"system": "msds-unet"} for row in ("0.5", "0.6", "0.7", "0.8", "0.9")},
        metrics={
            "mean dice": "dice@{row}",
            "median dice": "median dice@{row}",
            "false positives": "sum false_positives@{row}",
            "false negatives": "sum false_negatives@{row}",
        },
        slips=("0.6 beats both of Table 10's rows without saying which of the two it is.",),
    ),
    13: Table(
        caption="Size and speed.",
        columns=("layers", "parameters (M)", "seconds"),
        rows={
            "res-unet-3d": (59, 26.38, 16.1),
            "rd-unet": (20, 29.10, 18.93),
            "frrn": (49, 24.83, 11.7),
            "in-mrrn": (56, 28.66, 13.5),
            "msds-unet": (62, 26.45, 16.3),
        },
        slips=(
            "RD-UNet's own code has 19.10 M: a slip of one digit, and with it the claim of lower complexity falls.",
            "FRRN's 49 layers are FRRN-A's (17.75 M), 24.83 M is near FRRN-B's (24.76 M).",
            "The text has MSDS-UNet slightly above FRRN and In-MRRN; the table has In-MRRN above it.",
        ),
    ),
    14: Table(
        caption="COVID-19: 108 CT of several hospitals.",
        columns=("dice", "sensitivity", "precision"),
        rows={
            "unet-2d": (0.630, 0.727, 0.646),
            "U-Net with ResNet": (0.667, 0.733, 0.700),
            "covid-ct-mask-net": (0.628, 0.644, 0.688),
            "inf-net": (0.658, 0.704, 0.713),
            "msds-unet": (0.671, 0.710, 0.714),
            "msds-unet-gm": (0.674, 0.733, 0.727),
        },
        starred="msds-unet-gm",
        runs={"U-Net with ResNet": {"system": "res-unet-3d"}},
        slips=(
            "Sensitivity .733 is starred as beaten by an identical .733.",
            "The text introduces Anam-Net, which has no row; COVID-CT-Mask-Net has one and no introduction.",
        ),
    ),
}
