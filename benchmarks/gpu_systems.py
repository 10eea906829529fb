"""Each paper's own system at the paper's patch and batch, and as small as a check needs it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import torch

from dsnotes.data.case import Case
from dsnotes.papers import build
from dsnotes.supervision.base import Batch
from dsnotes.training.settings import Settings
from dsnotes.training.system import System


@dataclass(frozen=True)
class Subject:
    """`patch` and `batch` are the paper's, `small` is a patch for checks that count no time."""

    label: str
    name: str
    patch: tuple[int, ...]
    batch: int
    small: tuple[int, ...]
    options: dict = field(default_factory=dict)

    @property
    def dims(self) -> int:
        return len(self.patch)

    def sized(self, settings: Settings) -> str:
        return f"{self.label}, {' × '.join(map(str, settings.patch))} × {settings.batch}"


# What DSNet's teacher answered is forgotten: a benchmark shows it one image again and again, a run does not.
SUBJECTS = {
    "mss": Subject("MSS U-Net", "mss-unet", (48, 192, 192), 8, (16, 32, 32)),
    "msds": Subject("MSDS-UNet", "msds-unet", (128, 128, 128), 1, (32, 32, 32)),
    "gradnorm": Subject("MSDS-UNet, GradNorm", "msds-unet-gm", (128, 128, 128), 1, (32, 32, 32)),
    "dsms": Subject("DSMS U-Net", "dsmsc-unet", (256, 256), 4, (32, 32)),
    "mu": Subject("µ-Net-Hyb", "mu-net-hyb", (240, 240), 4, (32, 32)),
    "dsnet": Subject("DSNet (256² from 64²)", "dsnet", (64, 64), 1, (16, 16), {"memory": 0}),
    "dsnet16": Subject("DSNet (256² from 64²)", "dsnet", (64, 64), 16, (16, 16), {"memory": 0}),
}
OWN = tuple(name for name in SUBJECTS if name != "dsnet16")


@dataclass(frozen=True)
class Scale:
    """How large: the paper's sizes on a GPU; on a CPU sizes that only show that everything still runs."""

    tiny: bool
    quick: bool = False

    @property
    def seconds(self) -> float:
        """What one way of doing a step may be timed for."""
        return 0.0 if self.tiny else 0.7 if self.quick else 2.0

    @property
    def steps(self) -> int:
        """Of the runs whose ends are compared."""
        return 4 if self.tiny else 200

    @property
    def seeds(self) -> range:
        return range(2 if self.tiny else 3)


def system_for(subject: Subject, *, width: int | None = None, small: bool = False, **options) -> System:
    """`width=None` is the paper's; `small` fits the network to the small patch where it is made for one."""
    options = subject.options | options
    if subject.name == "mss-unet" and small:
        options |= {"patch": subject.small, "spacing": (3.0, 1.0, 1.0)}
    torch.manual_seed(0)
    made = build(subject.name, width=width, **options)
    patch = subject.small if small else subject.patch
    return replace(made, settings=replace(made.settings, patch=patch, batch=subject.batch))


def at_scale(subject: Subject, scale: Scale) -> System:
    """At the paper's sizes, or tiny."""
    if not scale.tiny:
        return system_for(subject)
    made = system_for(subject, width=4, small=True, **({"critic_width": 4} if subject.name == "dsnet" else {}))
    return replace(made, settings=replace(made.settings, batch=min(subject.batch, 2)))


def batch_for(settings: Settings, *, seed: int = 0, samples: int | None = None) -> Batch:
    """Noise, a box in it as label, and a soft mask that is as sure as one of matting."""
    samples = samples or settings.batch
    generator = torch.Generator().manual_seed(seed)
    label = torch.zeros(samples, *settings.patch, dtype=torch.long)
    label[(slice(None), *(slice(n // 4, n // 2) for n in settings.patch))] = 1
    image = torch.randn(samples, 1, *settings.patch, generator=generator) + label.unsqueeze(1)
    return {"image": image, "label": label, "soft": label.unsqueeze(1) * 0.9 + 0.05}


def noise_cases(settings: Settings, count: int = 4) -> list[Case]:
    """Larger than the patch, so that a patch must be cut out."""
    rng = np.random.default_rng(0)
    space = tuple(n + n // 4 for n in settings.patch)
    cases = []
    for index in range(count):
        label = np.zeros(space, np.uint8)
        label[tuple(slice(n // 3, n // 2) for n in space)] = 1
        image = rng.standard_normal(space, dtype=np.float32) + label
        cases.append(Case(f"noise-{index}", image, label, (1.0,) * len(space), {"soft": label.astype(np.float32)}))
    return cases


@cache
def phantom_cases(dims: int, count: int, seed: int) -> tuple[Case, ...]:
    """Lung nodules with the share of nodule that is known for each voxel as their soft mask."""
    from dsnotes.data import phantoms

    made = phantoms.nodules(count, seed=seed, size=64 if dims == 2 else 32, dims=dims)
    return tuple(
        replace(c, image=(c.image + 600) / 300, extras={"soft": c.extras["alpha"].astype(np.float32)}) for c in made
    )
