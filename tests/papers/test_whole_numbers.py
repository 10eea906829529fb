"""Weights, exponents and rates may be written without a decimal point: 1 for 1.0, wherever a number is asked for."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import dsnotes
from dsnotes import losses
from dsnotes.data.case import Case
from dsnotes.networks.mss_unet import plan
from dsnotes.networks.unet import UNet
from dsnotes.papers import build
from dsnotes.supervision import MultiScale, Plain, Restoration, supervise
from dsnotes.supervision.boundary import Boundary
from dsnotes.supervision.full_size import FullSize
from dsnotes.supervision.gradnorm import GradNorm
from dsnotes.supervision.multi_label import MultiLabel
from dsnotes.supervision.multi_scale import ExponentialLogAndEntropy
from dsnotes.supervision.pixelwise import hardest
from dsnotes.supervision.pseudo_labels import PseudoLabels
from dsnotes.supervision.soft_adversarial import SoftAdversarial
from dsnotes.supervision.super_resolution import SuperResolution
from dsnotes.supervision.two_pathway import TwoPathway
from dsnotes.training.gradnorm_step import GradNormStep
from dsnotes.training.settings import Settings, learning_rate
from dsnotes.training.system import System

ONE, TWO = (torch.rand(2, n, 16, 16) for n in (1, 2))
T1 = (torch.rand(2, 1, 16, 16) > 0.5).float()
T2 = torch.cat([T1, 1 - T1], dim=1)

LOSSES = {
    "soft_dice": lambda n: losses.soft_dice(ONE, T1, eps=n(1)),
    "dice_coefficient": lambda n: losses.dice_coefficient(ONE, T1, eps=n(1)),
    "soft_iou": lambda n: losses.soft_iou(ONE, T1, eps=n(1)),
    "focal": lambda n: losses.focal(TWO, T2, gamma=n(2)),
    "exponential_log": lambda n: losses.exponential_log(ONE, T1, weights=(n(1),), gamma=n(1), eps=n(1)),
    "cross_entropy": lambda n: losses.cross_entropy(TWO, T2, weights=(n(1), n(3))),
    "hardest": lambda n: hardest(ONE, T1, share=n(1)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_takes_whole_numbers(name):
    assert torch.equal(LOSSES[name](int), LOSSES[name](float))


OPTIONS = [
    ("dsmsc-unet", {"ratio": 10}),
    ("msds-unet", {"soft_weight": 1, "local_weight": 2, "dims": 2}),
    ("msds-unet-gm", {"asymmetry": 1, "dims": 2}),
    ("mss-unet", {"spacing": (3, 1, 1), "patch": (16, 32, 32)}),
    ("unet-2d", {"dice": 0}),
    ("ce-net", {"cross_entropy": 1}),
    ("boundary-aware", {"edges": 2, "dims": 2}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_a_system_takes_whole_numbers(name, options):
    system = build(name, width=4, **options)
    size = {2: (64, 64), 3: (16, 32, 32)}[system.dims]
    batch = {"image": torch.randn(2, 1, *size), "label": torch.randint(0, 2, (2, *size))}
    system.make_step(system, replace(system.settings, lr=1))(batch)


OBJECTIVES = [
    Plain(cross_entropy=1, dice=2),
    Restoration(segmentation=10, restoration=1),
    MultiScale(weights=(1, 1, 0, 0)),
    MultiScale(weights=(1, 2, 3, 4), loss=ExponentialLogAndEntropy((1,), None)),
    TwoPathway(alpha=(1, 1, 1, 1), soft_weight=1, local_weight=1),
    PseudoLabels("seg", 5, 1, 1, 1, 9, 6, 1, 1),
    SoftAdversarial(dice=1, soft=0, adversarial=0),
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda goal: type(goal).__name__)
def test_an_objective_takes_whole_numbers(objective):
    system = System("mine", supervise(UNet(width=4), objective), objective, Settings(lr=1, clip=1, min_lr=0))
    batch = {"image": torch.randn(2, 1, 32, 32), "label": torch.randint(0, 2, (2, 32, 32))}
    system.make_step(system, system.settings)(batch)


def test_what_needs_a_network_of_its_own_takes_whole_numbers():
    assert (Boundary(2).weight, MultiLabel(print, weight=1).weight) == (2, 1)
    assert FullSize(print, {"stride1": 1}).weights == {"stride1": 1}
    assert SuperResolution(adversarial=1).adversarial == 1
    assert GradNorm(("a", "b"), start=(1, 3), asymmetry=1, lr=1).weights.tolist() == [0.25, 0.75]
    assert plan((16, 32, 32), (3, 1, 1)) == plan((16, 32, 32), (3.0, 1.0, 1.0))


@pytest.mark.parametrize("schedule", ["constant", "step", "exponential", "poly", "plateau"])
def test_a_rate_is_a_number_with_a_point(schedule):
    settings = Settings(lr=1, factor=1, power=1, threshold=0, min_lr=0, schedule=schedule)
    for epoch in (0, 60):
        rate = learning_rate(settings, epoch, [1, 1, 1])
        assert isinstance(rate, float)
    assert learning_rate(replace(settings, min_lr=2), 0) == 2.0


def test_a_training_takes_whole_numbers():
    label = np.zeros((32, 32), np.uint8)
    label[8:20, 8:20] = 1
    case = Case("square", label.astype(np.float32), label, (1.0, 1.0))
    objective = TwoPathway()
    step = partial(GradNormStep, asymmetry=1, balance_lr=1, start=(1, 1, 1, 1))
    system = System("mine", supervise(UNet(width=4), objective), objective, Settings(lr=1), make_step=step)
    history = dsnotes.fit(system, [case], epochs=1, lr=1, device="cpu", amp=False, progress=False)
    assert history["lr"] == [1.0]
