"""DSNet: detail from a super-resolution network, fused selectively; soft masks by matting; a critic of every pixel.

Wang, Xu, Xu, Meng, Xiao, Peng and Zhang, "Accurate Lung Nodules Segmentation with Detailed Representation Transfer and
Soft Mask Supervision", https://arxiv.org/abs/2007.14556 (version 2; later ones rename the modules).

    teacher, _ = dsnet.train_teacher(any_ct, width=16, blocks=4, epochs=(30, 10), out="runs/teacher")
    system = dsnotes.build("dsnet", width=16, teacher=teacher)          # or teacher="runs/teacher/adversarial/best.pt"
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from dsnotes.data.case import Case
from dsnotes.networks.dsnet import GATE_MOMENTUM, DSNet
from dsnotes.networks.srgan import SRGAN, Generator, generator_of
from dsnotes.papers.recipe import Recipe, Table
from dsnotes.supervision import supervise
from dsnotes.supervision.soft_adversarial import SoftAdversarial
from dsnotes.supervision.super_resolution import SuperResolution
from dsnotes.training import checkpoints
from dsnotes.training.adversarial_step import AdversarialStep
from dsnotes.training.fit import fit
from dsnotes.training.history import History
from dsnotes.training.remembering import TaughtAdversarialStep, TaughtStep
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

# Print has the rate, its decay, the batch and the epochs; β1 and the power are pix2pix's and DeepLab's.
SETTINGS = Settings(
    patch=(64, 64),
    batch=1,
    epochs=60,
    optimiser="adam",
    lr=2e-4,
    betas=(0.5, 0.999),
    schedule="poly",
    power=0.9,
    clip=None,
)
# SRGAN's own: crops of 96², 16 of them, 1e-4; where a case shows foreground is of no interest here.
TEACHER_SETTINGS = Settings(patch=(96, 96), batch=16, epochs=100, lr=1e-4, foreground=0, clip=None)

CHAIN = {  # Table 3 from above: what the U-Net sees, and the weights of soft mask and critic
    "dsnet-backbone": ("interpolated", 0.0, 0.0),
    "dsnet-sr": ("super-resolved", 0.0, 0.0),
    "dsnet-edrfm": ("edrfm", 0.0, 0.0),
    "dsnet-sdrfm": ("sdrfm", 0.0, 0.0),
    "dsnet-soft": ("sdrfm", 100.0, 0.0),
    "dsnet": ("sdrfm", 100.0, 1.0),
}


def dsnet(
    name: str,
    *,
    in_channels: int,
    classes: int,
    width: int,
    dims: int,
    teacher: System | str | Path | None = None,
    scale: int = 4,
    fused: int | None = None,
    gate_momentum: float = GATE_MOMENTUM,
    critic_lr: float | int | None = None,
    critic_width: int = 64,
    saturating: bool = False,
    memory: int = 2**30,
) -> System:
    """A row of Table 3; that of the backbone alone works on the same fine grid as the others, without their detail."""
    fusion, soft, adversarial = CHAIN[name]
    taught = fusion != "interpolated"
    backbone = DSNet(
        in_channels=in_channels,
        classes=classes,
        dims=dims,
        width=width,
        fusion=fusion,
        generator=frozen(teacher) if taught else None,
        scale=scale,
        fused=fused,
        gate_momentum=gate_momentum,
    )
    goal = SoftAdversarial(soft=soft, adversarial=adversarial, saturating=saturating, critic_width=critic_width)
    system = System(name, supervise(backbone, goal), goal, settings=SETTINGS)
    if not taught:
        return system
    step = partial(TaughtAdversarialStep, critic_lr=critic_lr) if adversarial else TaughtStep
    return replace(system, make_step=partial(step, memory=memory))


def frozen(teacher: System | str | Path | None) -> Generator | None:
    """A copy of the generator that was trained; without one None, which is warned of when training begins."""
    if teacher is None:
        return None
    weights = (
        teacher.network.state_dict() if isinstance(teacher, System) else checkpoints.read(Path(teacher))["network"]
    )
    return generator_of(copy.deepcopy(weights))


def super_resolution(
    *,
    in_channels: int = 1,
    width: int = 64,
    blocks: int = 16,
    scale: int = 4,
    backbone: SRGAN | None = None,
    adversarial: float | int = 0.0,
) -> System:
    """The teacher as a system of its own, for `fit`: on squares alone, or with `adversarial=1e-3` against a critic.

    It learns from images as they are: take the cases through `unlabelled`, and leave `foreground` at 0.
    """
    backbone = backbone or SRGAN(in_channels=in_channels, width=width, blocks=blocks, scale=scale)
    goal = SuperResolution(adversarial=adversarial, critic_width=backbone.generator.width)
    system = System("srgan", supervise(backbone, goal), goal, settings=TEACHER_SETTINGS, deploy=None)
    return replace(system, make_step=AdversarialStep) if adversarial else system


def train_teacher(
    cases: Sequence[Case],
    val: Sequence[Case] | None = None,
    *,
    width: int = 64,
    blocks: int = 16,
    scale: int = 4,
    epochs: tuple[int, int] = (100, 20),
    adversarial: float | int = 1e-3,
    out: str | Path | None = None,
    **how,
) -> tuple[System, list[History]]:
    """Squares first, then squares and the critic: two runs of `fit`, in out/squares and out/adversarial.

    `epochs=(30, 0)` leaves out the second. `how` goes to `fit`; images are taken as they are, so window them as those
    that the segmenter will see.
    """
    cases, val = unlabelled(cases), None if val is None else unlabelled(val)
    system = super_resolution(in_channels=cases[0].channels, width=width, blocks=blocks, scale=scale)
    histories = []
    for phase, weight, length in zip(("squares", "adversarial"), (0.0, adversarial), epochs, strict=True):
        if not length:
            continue
        system = super_resolution(backbone=system.network.backbone, adversarial=weight)
        histories.append(fit(system, cases, val, epochs=length, out=None if out is None else Path(out) / phase, **how))
        if histories[-1].stopped == "interrupted":
            break
    return system, histories


def unlabelled(cases: Sequence[Case]) -> list[Case]:
    """The cases with nothing marked in them, which `fit` asks for and super-resolution does not look at."""
    return [replace(case, label=np.broadcast_to(np.uint8(0), case.space), extras={}) for case in cases]


SCALE = {
    "scale": "how many times finer than the image the mask is found, 4 in the paper; a trained teacher has its own",
    "gate_momentum": "of the batch norm in CBAM's spatial gate: .01 as in its release, .1 is torch's default",
}
TEACHER = {
    "teacher": "a system of train_teacher, or its checkpoint; without one it is untrained",
    "memory": "the most bytes of the teacher's answers that are kept where nothing is augmented",
}
FUSED = {"fused": "maps after the fusion, by default `width`"}
CRITIC = {
    "critic_lr": "the critic's rate, by default the network's",
    "critic_width": "the critic's maps, 64 by default",
    "saturating": "True for the log(1 - D) of print",
}
OPTIONS = {
    "dsnet-backbone": SCALE,
    "dsnet-sr": SCALE | TEACHER,
    "dsnet-edrfm": SCALE | TEACHER | FUSED,
    "dsnet-sdrfm": SCALE | TEACHER | FUSED,
    "dsnet-soft": SCALE | TEACHER | FUSED,
    "dsnet": SCALE | TEACHER | FUSED | CRITIC,
}
SYSTEMS = {
    name: Recipe(
        dsnet,
        width=64,
        dims=2,
        tables=("dsnet-1", "dsnet-2", "dsnet-3", "dsnet-4", "dsnet-5") if name == "dsnet" else ("dsnet-3",),
        options=OPTIONS[name],
    )
    for name in CHAIN
}

MEAN_AND_STD = ("dice", "± dice", "sensitivity", "± sensitivity", "ppv", "± ppv")
TABLES = {
    1: Table(
        caption="LNSM: 400 held-out crops of DeepLesion, soft masks from RECIST axes; percent, mean ± deviation.",
        columns=MEAN_AND_STD,
        rows={
            "unet-2d": (87.88, 1.1, 86.62, 3.2, 89.04, 5.7),
            "deeplabv3+": (87.64, 2.4, 85.21, 3.1, 88.60, 2.4),
            "attention-unet": (87.64, 2.4, 85.21, 1.7, 88.60, 2.2),
            "unet++": (88.57, 2.7, 89.24, 0.5, 91.86, 3.7),
            "ce-net": (89.24, 2.2, 89.82, 1.4, 91.33, 1.6),
            "unet3+": (90.55, 1.5, 89.70, 2.7, 93.65, 1.2),
            "inf-net": (90.05, 1.8, 88.17, 2.3, 93.41, 3.7),
            "medt": (90.13, 2.6, 89.56, 3.1, 92.41, 1.2),
            "dsnet": (91.90, 1.5, 89.97, 1.3, 94.29, 2.5),
        },
        starred="dsnet",
        slips=(
            "DeepLabV3+ and Attention U-Net have the same three means and one deviation: one row is a copy.",
            "Said to exceed the others significantly; no test is reported, and sensitivity leads CE-Net's by .15.",
        ),
    ),
    2: Table(
        caption="LIDC-IDRI: 544 nodules of 986, masks by half of four readers; percent, mean ± deviation.",
        columns=MEAN_AND_STD,
        rows={
            "unet-2d": (77.84, 21.74, 77.98, 24.52, 82.52, 21.53),
            "cf-cnn": (78.55, 12.49, 86.01, 15.22, 75.79, 14.73),
            "mc-cnn": (75.51, 11.4, 88.83, 12.34, 71.42, 14.78),
            "mv-dcnn": (77.85, 12.94, 86.96, 15.73, 77.33, 13.26),
            "mcroi-cnn": (77.01, 12.91, 85.43, 15.97, 73.52, 14.62),
            "cascaded-cnn": (79.83, 10.91, 86.86, 13.35, 76.14, 13.46),
            "db-resnet": (82.74, 10.19, 89.35, 11.79, 79.64, 13.54),
            "dsnet": (83.35, 7.85, 89.37, 13.24, 83.26, 14.14),
        },
        starred="dsnet",
        slips=(
            "The text calls this table a figure.",
            "The split trains on 387 nodules and tests on 544, and is said to be a four-fold cross-validation too.",
            "Best in all metrics, but in sensitivity by .02 with a deviation of 13.",
        ),
    ),
    3: Table(
        caption="The ablation, Dice in percent; rows 3 to 5 are alternatives, the last two add to the fifth.",
        columns=("LNSM", "± LNSM", "LIDC", "± LIDC"),
        rows={
            "unet-2d": (87.88, 1.1, 77.84, 21.74),
            "dsnet-backbone": (89.57, 1.3, 79.32, 25.34),
            "dsnet-sr": (90.15, 2.1, 80.69, 15.67),
            "dsnet-edrfm": (90.37, 1.9, 81.99, 17.91),
            "dsnet-sdrfm": (91.03, 1.7, 82.83, 8.15),
            "dsnet-soft": (91.56, 2.4, 83.11, 11.45),
            "dsnet": (91.90, 1.5, 83.35, 7.85),
        },
        starred="dsnet",
        metrics={"LNSM": "dice in LNSM", "LIDC": "dice in LIDC"},
        slips=(
            "Every step after the first is smaller than the deviation of either row.",
            "The caption refers to Section 2 of a paper without numbered sections.",
        ),
    ),
    4: Table(
        caption="LIDC-IDRI: Dice in percent between four readers, the half of them, and DSNet trained on LNSM.",
        columns=("D1", "D2", "D3", "D4", "consensus", "dsnet"),
        rows={
            "D1": (None, 70.65, 73.14, 62.57, 77.51, 77.76),
            "D2": (70.65, None, 74.46, 64.91, 82.92, 74.30),
            "D3": (73.14, 74.46, None, 76.31, 83.01, 80.88),
            "D4": (62.57, 64.91, 76.31, None, 69.74, 69.71),
            "consensus": (77.51, 82.92, 83.01, 69.74, None, 86.35),
            "dsnet": (77.76, 74.30, 80.88, 69.71, 86.35, None),
        },
        unfilled={
            **dict.fromkeys(("D1", "D2", "D3", "D4"), "a radiologist"),
            "consensus": "what half of the radiologists marked",
        },
        starred="dsnet",
        slips=(
            "Nearer to the consensus than any reader, it says; but each reader is a quarter of the consensus and none "
            "saw it, so the comparison is not of like with like.",
            "Against a single reader DSNet is nearer than every other reader only for D1 and D3; D3 is nearer to D2 "
            "(74.46 against 74.30) and to D4 (76.31 against 69.71).",
            "The caption has no deviations and no number of nodules.",
        ),
    ),
    5: Table(
        caption="Membranes of ISBI 2012 and prostates of PROMISE12, percent.",
        columns=("dice ISBI", "dice PROMISE", "sensitivity ISBI", "sensitivity PROMISE", "ppv ISBI", "ppv PROMISE"),
        rows={
            "unet-2d": (None, None, None, None, 91.3, 90.4),
            "unet3+": (96.3, 91.5, 89.9, 87.8, 94.1, 93.3),
            "inf-net": (None, None, None, None, 94.3, 92.3),
            "medt": (None, None, None, None, 94.4, 93.1),
            "dsnet": (None, None, None, None, 94.7, 93.6),
        },
        starred="dsnet",
        slips=(
            "The rows of Dice and sensitivity are legible for UNet3+ alone in the text this was taken from.",
            "UNet3+'s Dice of 96.3 lies above both its sensitivity (89.9) and its PPV (94.1), between which the Dice "
            "of every image lies.",
        ),
    ),
}
