"""A step of ours against nnU-Net's own, or against a plain loop, on the same network, loss and batch."""

from __future__ import annotations

import copy
import importlib.util
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import torch
from gpu_speed import wait
from gpu_systems import SUBJECTS, Scale, at_scale, batch_for
from timing import ratio, take_turns
from torch import nn

from dsnotes.shapes import Outputs
from dsnotes.supervision.base import Batch
from dsnotes.training import devices
from dsnotes.training.settings import Settings
from dsnotes.training.step import make_optimiser
from dsnotes.training.system import System

PEER = ["system at its paper's sizes", "peer", "dsnotes, ms a step", "peer, ms a step", "dsnotes ÷ peer"]


def against_peer(key: str, device: str, scale: Scale) -> Iterator[list]:
    """The same network, loss and batch in nnU-Net's own trainer step where that is installed, else in a plain loop."""
    subject, place = SUBJECTS[key], torch.device(device)
    system = at_scale(subject, scale)
    system.network.to(place)
    settings = replace(system.settings, accumulate=1)
    batch = {name: value.to(place) for name, value in batch_for(settings).items()}
    twin = copy.deepcopy(system)
    ours = system.make_step(system, settings, amp=torch.bfloat16)
    name, theirs = peer(twin, settings, place)

    def finished(step: Callable) -> Callable[[], None]:
        def run() -> None:
            for _ in range(1 if scale.tiny else 5):
                step(batch)
            wait(place)

        return run

    with devices.reproducible(place, deterministic=False):
        taken = take_turns({"ours": finished(ours), "theirs": finished(theirs)}, 2 if scale.tiny else 5)
    each = {who: statistics.median(seconds) * 1e3 / (1 if scale.tiny else 5) for who, seconds in taken.items()}
    times = ratio(taken["ours"], taken["theirs"])
    yield [subject.sized(settings), name, f"{each['ours']:.4g}", f"{each['theirs']:.4g}", f"{times:.2f}"]


def peer(system: System, settings: Settings, place: torch.device) -> tuple[str, Callable[[Batch], object]]:
    network = system.network.train()
    optimiser = make_optimiser(network, settings)
    if importlib.util.find_spec("nnunetv2"):
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

        scaler = torch.amp.GradScaler(place.type) if place.type == "cuda" else None
        trainer = SimpleNamespace(
            device=place, network=network, optimizer=optimiser, grad_scaler=scaler,
            loss=lambda outputs, target: loss_of(system, outputs, target),
        )  # fmt: skip
        return "nnU-Net's `train_step`", lambda batch: nnUNetTrainer.train_step(
            trainer, {"data": batch["image"], "target": batch["label"]}
        )

    def plain(batch: Batch) -> float:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(place.type, torch.bfloat16):
            outputs = network(batch["image"])
        loss = loss_of(system, outputs, batch["label"])
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimiser.step()
        return loss.item()  # as nnU-Net does, a history wants it

    return "a plain loop", plain


def loss_of(system: System, outputs: Outputs, label: torch.Tensor) -> torch.Tensor:
    batch = {"image": label.unsqueeze(1).float(), "label": label}
    with torch.autocast(label.device.type, enabled=False):
        return sum(system.objective.terms(outputs.in_float32(), batch).values())
