"""The smallest thing that trains: discs in noise, a network of a few hundred weights."""

import numpy as np
import pytest
import torch

from dsnotes.data.case import Case
from dsnotes.networks.unet import UNet
from dsnotes.supervision.base import supervise
from dsnotes.supervision.plain import Plain
from dsnotes.training.settings import Settings
from dsnotes.training.system import System


def make_discs(n: int, *, seed: int = 0, size: int = 16, classes: int = 2) -> list[Case]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    cases = []
    for index in range(n):
        distance = (y - rng.uniform(5, size - 5)) ** 2 + (x - rng.uniform(5, size - 5)) ** 2
        label = sum((distance < radius**2).astype(np.uint8) for radius in (4, 2)[: classes - 1])
        image = label + 0.3 * rng.standard_normal((size, size))
        cases.append(Case(f"disc-{seed}-{index}", image.astype(np.float32), label, (1.0, 1.0)))
    return cases


def make_tiny(objective=None, *, norm: str = "batch", seed: int = 0, **settings) -> System:
    torch.manual_seed(seed)
    objective = objective or Plain()
    classes = settings.pop("classes", 2)
    network = supervise(UNet(width=4, depth=2, norm=norm, classes=classes), objective)
    return System("tiny", network, objective, Settings(**{"batch": 2, "epochs": 3, "lr": 1e-2, **settings}))


@pytest.fixture
def discs():
    return make_discs


@pytest.fixture
def tiny():
    return make_tiny
