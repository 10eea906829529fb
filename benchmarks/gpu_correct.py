"""Compares a device with a CPU: a step, a run in bfloat16, a resumed run, an augmented patch."""

from __future__ import annotations

import copy
import math
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import replace

import torch
from gpu_systems import SUBJECTS, Scale, Subject, batch_for, phantom_cases, system_for
from torch import Tensor

from dsnotes.data import augment
from dsnotes.data.augment import Augmentation
from dsnotes.supervision.base import Batch
from dsnotes.training.fit import fit
from dsnotes.training.system import System

# Relative errors against a step in float64. One step of a deep network amplifies rounding errors of 2^-24 and 2^-9.
# TF32 rounds a convolution's factors to 2^-11.
BOUNDS = {"float32": (1e-4, 1e-2), "TF32": (1e-2, 0.1), "bfloat16": (3e-2, 0.5)}
ONE_STEP = ["system", "computed in", "loss off by", "gradients off by", "weights off by", "verdict"]
SAME_END = ["system", "Dice, float32", "Dice, bfloat16", "difference", "noise", "verdict"]
RESUMED = ["system", "computed in", "largest difference of a weight", "verdict"]
AUGMENTED = ["patch", "image off by, in its own deviations", "labels that differ", "verdict"]


def one_step(key: str, device: str, scale: Scale) -> Iterator[list]:
    """A step of a small system from the same weights on the same batch: on a CPU in float64, and on the device."""
    subject = SUBJECTS[key]
    system = system_for(subject, width=4 if scale.tiny else 8, small=True)
    batch = batch_for(system.settings, samples=2)
    exact = stepped(system, batch, torch.device("cpu"), torch.float64)
    ways = {"float32": None, "TF32": None, "bfloat16": torch.bfloat16}
    for way, amp in ways.items():
        if way == "TF32" and not device.startswith("cuda"):
            continue
        with tf32(allowed=way == "TF32"):
            found = stepped(system, batch, torch.device(device), torch.float32, amp=amp)
        loss, gradients, weights = (relative(a, b) for a, b in zip(found, exact, strict=True))
        within = loss <= BOUNDS[way][0] and gradients <= BOUNDS[way][1]
        bounds = f"loss ≤ {BOUNDS[way][0]:g}, gradients ≤ {BOUNDS[way][1]:g}"
        yield [
            subject.label, way, f"{loss:.1e}", f"{gradients:.1e}", f"{weights:.1e}",
            "as it should be" if within else f"**too far**: {bounds}",
        ]  # fmt: skip


def stepped(
    system: System, batch: Batch, device: torch.device, dtype: torch.dtype, *, amp: torch.dtype | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, gradients and weights after a step of a copy, in float64 on the CPU."""
    twin = copy.deepcopy(system)
    twin.network.to(device, dtype)
    there = {name: v.to(device, dtype if v.is_floating_point() else None) for name, v in batch.items()}
    loss = twin.make_step(twin, twin.settings, amp=amp)(there)["loss"]
    parameters = [p for p in twin.network.parameters() if p.grad is not None]
    return (
        loss.double().cpu().reshape(1),
        torch.cat([p.grad.double().cpu().flatten() for p in parameters]),
        torch.cat([p.detach().double().cpu().flatten() for p in parameters]),
    )


def relative(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


class tf32:  # noqa: N801
    """Inside, convolutions and products on CUDA may round their factors to TF32, or may not."""

    def __init__(self, *, allowed: bool) -> None:
        self.allowed = allowed

    def __enter__(self) -> None:
        self.before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = self.allowed

    def __exit__(self, *error: object) -> None:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = self.before


def same_end(key: str, device: str, scale: Scale) -> Iterator[list]:
    """The same runs in both precisions; noise is two standard errors of the difference over the seeds."""
    subject = SUBJECTS[key]
    train = phantom_cases(subject.dims, 2 if scale.tiny else 12, 1)
    val = phantom_cases(subject.dims, 1 if scale.tiny else 8, 2)
    scores = {amp: [run_on_phantoms(subject, device, scale, amp, seed, train, val) for seed in scale.seeds]
              for amp in (False, True)}  # fmt: skip
    means = {amp: statistics.mean(found) for amp, found in scores.items()}
    off = means[True] - means[False]
    noise = 2 * math.sqrt(sum(statistics.variance(found) for found in scores.values()) / len(scale.seeds))
    yield [
        subject.label,
        *(f"{means[amp]:.3f} ± {statistics.stdev(scores[amp]):.3f}" for amp in (False, True)),
        f"{off:+.3f}", f"{noise:.3f}", "within noise" if abs(off) <= max(noise, 0.01) else "**beyond noise**",
    ]  # fmt: skip


def run_on_phantoms(subject: Subject, device: str, scale: Scale, amp: bool, seed: int, train, val) -> float:
    width = 4 if scale.tiny else 16
    options = {"critic_width": 4} if scale.tiny and subject.name == "dsnet" else {}
    system = system_for(subject, width=width, small=True, **options)
    settings = replace(system.settings, epochs=1, iterations=scale.steps, batch=4, accumulate=1, stop="never", lr=1e-3)
    patch = (32, 32) if subject.dims == 2 else subject.small
    history = fit(
        replace(system, settings=settings), train, val, patch=patch, seed=seed, amp=amp, device=device,
        deterministic=False, progress=False,
    )  # fmt: skip
    return history[-1]["val_score"]


def resumed(key: str, device: str, scale: Scale) -> Iterator[list]:
    """Four epochs in one go, and two and two: with `deterministic=True` not a bit may differ."""
    subject = SUBJECTS[key]
    cases = phantom_cases(subject.dims, 2, 1)
    for amp in (False,) if scale.tiny else (False, True):  # a CPU's bfloat16 kernels do not promise it
        ends = []
        for stop_after in (None, 2):
            with tempfile.TemporaryDirectory() as folder:
                for until in (stop_after, None) if stop_after else (None,):
                    system = system_for(subject, width=4 if scale.tiny else 8, small=True)
                    settings = replace(system.settings, epochs=4, batch=2, accumulate=1, stop="never", augment=True)
                    system = replace(system, settings=settings)
                    fit(
                        system, cases, iterations=1 if scale.tiny else 3, amp=amp, device=device, out=folder,
                        progress=False,
                        on_epoch=lambda history, until=until: len(history) == until,
                    )  # fmt: skip
            ends.append([value.double().cpu() for value in system.network.state_dict().values()])
        off = max(float((a - b).abs().max()) for a, b in zip(*ends, strict=True) if a.numel())
        verdict = "to the last bit" if off == 0 else "**differs**: some operation gives other bits each time"
        yield [subject.label, "bfloat16" if amp else "float32", f"{off:.1e}", verdict]


def augmented(dims: int, device: str, scale: Scale) -> Iterator[list]:
    """The same drawn parameters applied to the same patch, on the CPU in float64 and on the device."""
    space = ((48, 48) if dims == 2 else (16, 24, 24)) if scale.tiny else ((240, 240) if dims == 2 else (48, 192, 192))
    every = Augmentation(p_rotation=1, p_scale=1, p_elastic=1, p_gamma=1)
    drawn = augment.draw(every, batch=2, space=space, generator=torch.Generator().manual_seed(0))
    label = torch.zeros(2, *space, dtype=torch.long)
    label[(slice(None), *(slice(n // 4, 3 * n // 4) for n in space))] = 1
    image = smooth(torch.randn(2, 1, *space, generator=torch.Generator().manual_seed(1)))
    ours, our_label, _ = augment.apply(drawn, image.double(), label)
    theirs, their_label, _ = augment.apply(drawn, image.to(device), label.to(device))
    off = float((theirs.double().cpu() - ours).abs().max() / ours.std())
    differ = float((their_label.cpu() != our_label).double().mean())
    fine = off < 1e-2 and differ < 1e-4
    yield [" × ".join(map(str, space)), f"{off:.1e}", f"{differ:.1e}", "equal" if fine else "**not equal**"]


def smooth(image: Tensor) -> Tensor:
    """As a scanner's noise is: in white noise a thousandth of a voxel shows."""
    pool = torch.nn.functional.avg_pool2d if image.ndim == 4 else torch.nn.functional.avg_pool3d
    return pool(image, 5, stride=1, padding=2)
