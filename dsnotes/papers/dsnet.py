"""DSNet: detail from a super-resolution network, fused selectively; soft masks by matting; a per-pixel critic.

Wang, Xu, Xu, Meng, Xiao, Peng and Zhang, "Accurate Lung Nodules Segmentation with Detailed Representation Transfer and
Soft Mask Supervision", https://arxiv.org/abs/2007.14556 (version 2; later ones rename the modules).

    teacher, _ = dsnet.train_teacher(any_ct, width=16, blocks=4, epochs=(30, 10), out="runs/teacher")
    system = dsnotes.build("dsnet", width=16, teacher=teacher)  # or teacher="runs/teacher/adversarial/checkpoint.pt"
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
from dsnotes.papers.protocol import protocol
from dsnotes.papers.recipe import Recipe, tables_of
from dsnotes.supervision import supervise
from dsnotes.supervision.soft_adversarial import SoftAdversarial
from dsnotes.supervision.super_resolution import SuperResolution
from dsnotes.training import checkpoints
from dsnotes.training.adversarial_step import AdversarialStep, CachedTeacherAdversarialStep, CachedTeacherStep
from dsnotes.training.fit import fit
from dsnotes.training.history import History
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

SETTINGS = protocol("dsnet").settings
# SRGAN's own: batches of 16 crops of 96², 1e-4. Super-resolution ignores foreground.
TEACHER_SETTINGS = Settings(patch=(96, 96), batch=16, epochs=100, lr=1e-4, foreground=0, clip=None)

CHAIN = {  # Table 3, top row first: the U-Net's input, and the weights of soft mask and critic
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
    scale: int | None = None,
    fused: int | None = None,
    gate_momentum: float = GATE_MOMENTUM,
    critic_lr: float | None = None,
    critic_width: int = 64,
    saturating: bool = False,
    memory: int = 2**30,
) -> System:
    """A row of Table 3. "dsnet-backbone" takes the image itself, the rows below it a fourfold enlargement.

    The paper enlarges images for its super-resolved input and for the two modules, but does not say so for the
    backbone; `scale=4` gives the backbone the interpolated image, on the same fine grid as the others.
    """
    fusion, soft, adversarial = CHAIN[name]
    taught = fusion != "interpolated"
    scale = scale or (4 if taught else 1)
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
    step = partial(CachedTeacherAdversarialStep, critic_lr=critic_lr) if adversarial else CachedTeacherStep
    return replace(system, make_step=partial(step, memory=memory))


def frozen(teacher: System | str | Path | None) -> Generator | None:
    """A copy of the trained generator; None without a teacher, which training warns about when it starts."""
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
    adversarial: float = 0.0,
) -> System:
    """The teacher as a system for `fit`: squared error alone, or with `adversarial=1e-3` against a critic.

    It learns from images without labels: pass the cases through `unlabelled`, and leave `foreground` at 0.
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
    adversarial: float = 1e-3,
    out: str | Path | None = None,
    **how,
) -> tuple[System, list[History]]:
    """First squared error alone, then with the critic: two runs of `fit`, in out/squares and out/adversarial.

    `epochs=(30, 0)` leaves out the second. `how` goes to `fit`. Images are not changed, so window them as for the
    segmentation network.
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
    """The cases with empty labels: `fit` needs labels, super-resolution does not use them."""
    return [replace(case, label=np.broadcast_to(np.uint8(0), case.space), extras={}) for case in cases]


SCALE = {
    "scale": "how many times finer than the image the output is: 4, or 1 for dsnet-backbone; a teacher sets its own",
    "gate_momentum": "momentum of the batch norm in CBAM's spatial gate: .01 as in its release, .1 is torch's default",
}
TEACHER = {
    "teacher": "a system of train_teacher, or its checkpoint; without one it is untrained",
    "memory": "most bytes of teacher output to cache where nothing is augmented",
}
FUSED = {"fused": "channels after the fusion, by default `width`"}
CRITIC = {
    "critic_lr": "the critic's learning rate, by default the network's",
    "critic_width": "channels of the critic's first layer, 64 by default",
    "saturating": "True for the published log(1 - D)",
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

TABLES = tables_of("dsnet")
