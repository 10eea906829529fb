"""MSDS-UNet: two pathways of deep supervision, and GradNorm to weigh them.

Yang, Wu, Li, Cao and Zaiane 2021, "MSDS-UNet: A multi-scale deeply supervised 3D U-Net for automatic segmentation of
lung tumor in CT", Computerized Medical Imaging and Graphics.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from dsnotes.data.preprocess import Preprocess
from dsnotes.networks.msds_unet import msds_backbone
from dsnotes.papers.protocol import protocol
from dsnotes.papers.recipe import Recipe, tables_of
from dsnotes.supervision import supervise
from dsnotes.supervision.two_pathway import ALPHA, EMPTY, NUMBERING, OBJECTIVES, TwoPathway, average
from dsnotes.training.gradnorm_step import GradNormStep
from dsnotes.training.system import System

# The paper gives neither the window nor its lung segmentation: lung to soft tissue and a 20 mm margin are ours.
PREPROCESS = Preprocess(spacing=(1.0, 1.0, 1.0), lungs=20.0, clip=(-1000.0, 400.0), normalise="window")

# The paper searches λ3 in 0.1…1000; such a penalty on the weights would outweigh any Dice. A decay of 1e-5 is
# λ3 = 5e-6, for the gradient of λ3 W² is 2 λ3 W.
SETTINGS = protocol("msds").settings


def msds_unet(
    name: str,
    *,
    in_channels: int,
    classes: int,
    width: int,
    dims: int,
    objective: str = "all",
    sides: str = "(1234)",
    soft_weight: float = 1.0,
    local_weight: float = 1.0,
    reduction: str = "nearest",
    empty: str = "background",
    numbering: str = NUMBERING[0],
    norm: str = "batch",
    asymmetry: float = 1.5,
    shared: str | None = None,
) -> System:
    """`msds-unet-gm` is the same network with α moved by GradNorm."""
    backbone = msds_backbone(in_channels=in_channels, classes=classes, dims=dims, width=width, norm=norm)
    goal = TwoPathway(
        objective=objective,
        sides=sides,
        soft_weight=soft_weight,
        local_weight=local_weight,
        reduction=reduction,
        empty=empty,
        numbering=numbering,
    )
    network = supervise(backbone, goal)
    system = System(name, network, goal, settings=SETTINGS, deploy=partial(average, parts=goal.parts))
    if name == "msds-unet-gm":
        if objective not in ("hard", "hard+soft", "all"):
            raise ValueError(
                f"objective={objective!r} leaves GradNorm nothing to balance by α. Choose 'hard', 'hard+soft' or 'all'."
            )
        system = replace(system, make_step=partial(GradNormStep, asymmetry=asymmetry, shared=shared))
    return system


OPTIONS = {
    "objective": f"one of {OBJECTIVES}",
    "sides": f"one of {[f'({s})' for s in ALPHA]}",
    "numbering": f"which side output is number 4: one of {NUMBERING}; the paper contradicts itself",
    "empty": f"the loss of a patch without tumour: one of {EMPTY}; the published one has no gradient there",
    "soft_weight": "λ1",
    "local_weight": "λ2",
    "reduction": "how the mask is downsampled to a local side output: 'nearest', 'area', 'max' or 'corner'",
    "norm": "'batch', 'instance' or 'none'",
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

TABLES = tables_of("msds_unet")
