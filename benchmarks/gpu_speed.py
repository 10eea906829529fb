"""How fast is a step, what does it hold, how near is that to what the card can do, and who waits for whom?"""

from __future__ import annotations

import copy
import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import torch
from gpu_systems import SUBJECTS, Scale, Subject, at_scale, batch_for, noise_cases
from timing import ratio, take_turns
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dsnotes.networks.outputs import Network
from dsnotes.shapes import Outputs
from dsnotes.supervision.objective import Batch
from dsnotes.training import devices
from dsnotes.training.fit import fit
from dsnotes.training.memory import Meter
from dsnotes.training.precision import in_float32
from dsnotes.training.step import make_optimiser
from dsnotes.training.system import System

# bfloat16 products a second with float32 sums, dense, from the vendors' data sheets; the longest name that fits counts.
PEAK_TFLOPS = {
    "B200": 2250, "H200": 989, "H100": 989, "H100 PCIe": 756, "H100 NVL": 835, "GH200": 989, "A100": 312, "A40": 150,
    "A30": 165, "A10": 125, "A10G": 70, "RTX A6000": 155, "L40S": 362, "L40": 181, "L4": 121, "RTX 6000 Ada": 364,
    "RTX 5090": 210, "RTX 4090": 165, "RTX 4080": 97, "RTX 3090": 71, "RTX 3080": 60,
}  # fmt: skip
FAST = ["system at its paper's sizes", "way", "ms a step", "steps/s", "peak GB", "TFLOP/s", "of the card's", "loss"]
WAITING = ["system at its paper's sizes", "ms a step alone", "in `fit`", "augmenting too", "data", "augmentation"]
PEER = ["system at its paper's sizes", "peer", "dsnotes, ms a step", "peer, ms a step", "dsnotes ÷ peer"]


def peak_tflops(card: str) -> float | None:
    known = [name for name in PEAK_TFLOPS if f" {name} " in f" {card.replace('-', ' ')} "]
    return PEAK_TFLOPS[max(known, key=len)] if known else None


def product_tflops(device: str, scale: Scale) -> Iterator[list]:
    """What a plain product of two bfloat16 matrices reaches here, against the data sheet."""
    n = 256 if scale.tiny else 8192
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = timed(lambda: a @ b, torch.device(device), scale)
    card = torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"
    peak = peak_tflops(card)
    yield [
        card, f"{n}² × {n}²", f"{2 * n**3 / seconds / 1e12:.4g}", peak or "unknown card",
        f"{2 * n**3 / seconds / 1e12 / peak:.0%}" if peak else "",
    ]  # fmt: skip


def ways(key: str, device: str, scale: Scale, compiled: bool) -> Iterator[list]:
    """One row for each way to compute the same step: the seconds, the bytes, the multiply-adds."""
    subject = SUBJECTS[key]
    first, named = None, subject.sized(at_scale(subject, scale).settings)
    try:
        flops = counted(subject, torch.device(device), scale)
    except torch.OutOfMemoryError:
        flops = None  # not even in bfloat16
    for way, how in (compiled_ways if compiled else plain_ways)(subject).items():
        try:
            found = one_way(subject, torch.device(device), scale, **how)
        except (RuntimeError, ValueError) as error:  # one way that fails is a row, and the next has its turn
            yield [named, way, *failed(error)]
            continue
        first = found["loss"] if first is None else first
        rate = flops / found["seconds"] / 1e12 if flops else math.nan
        peak = peak_tflops(torch.cuda.get_device_name(device)) if device.startswith("cuda") else None
        yield [
            named, way, f"{found['seconds'] * 1e3:.4g}", f"{1 / found['seconds']:.3g}",
            f"{found['bytes'] / 1e9:.3g}", f"{rate:.3g}", f"{rate / peak:.1%}" if peak else "unknown card",
            f"{found['loss']:.4f}" + " **(another)**" * (abs(found["loss"] - first) > 0.05 * abs(first)),
        ]  # fmt: skip
        free(device)


def plain_ways(subject: Subject) -> dict[str, dict]:
    lowered = {"amp": torch.bfloat16}
    return {
        "float32": {},
        "bfloat16": lowered,
        "bfloat16, channels last": lowered | {"channels_last": True},
    } | ({"bfloat16, checkpointing": lowered | {"checkpointing": True}} if subject.dims == 3 else {})


def compiled_ways(subject: Subject) -> dict[str, dict]:
    """CUDA graphs spare the launches that a small network's step consists of."""
    lowered = {"amp": torch.bfloat16, "channels_last": subject.dims == 2}
    return {"bfloat16, compiled": lowered | {"compile": True}} | (
        {"bfloat16, CUDA graphs": lowered | {"compile": "reduce-overhead"}} if subject.dims == 2 else {}
    )


def one_way(subject: Subject, device: torch.device, scale: Scale, *, channels_last: bool = False, **how) -> dict:
    system = at_scale(subject, scale)
    system.network.to(device)
    devices.arrange(system.network, system.dims, channels_last, device)
    batch = {name: value.to(device) for name, value in batch_for(system.settings).items()}
    step = system.make_step(system, system.settings, **how)
    losses = [step(batch)["loss"] for _ in range(3)]  # to warm up; the third is compared between the ways
    used = held(lambda: step(batch), device)
    seconds = timed(lambda: step(batch), device, scale)
    return {"seconds": seconds, "bytes": used, "loss": float(losses[-1])}


def counted(subject: Subject, device: torch.device, scale: Scale) -> int:
    """Floating-point operations of a plain step; what a way computes twice is no work done."""
    system = at_scale(subject, scale)
    system.network.to(device)
    batch = {name: value.to(device) for name, value in batch_for(system.settings).items()}
    with FlopCounterMode(display=False) as counter:
        system.make_step(system, system.settings, amp=torch.bfloat16)(batch)
    return counter.get_total_flops()


def held(step: Callable, device: torch.device) -> int:
    """The most bytes at a time, weights and all."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device)
    with Meter() as meter:
        step()
    return meter.highest


def timed(step: Callable, device: torch.device, scale: Scale) -> float:
    """Seconds of a call: the median of three stretches, each long enough for the clock."""
    step()
    wait(device)
    started = time.perf_counter()
    step()
    wait(device)
    count = max(1, int(scale.seconds / 3 / max(time.perf_counter() - started, 1e-6)))
    stretches = []
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(count):
            step()
        wait(device)
        stretches.append((time.perf_counter() - started) / count)
    return statistics.median(stretches)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def free(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def failed(error: BaseException) -> list[str]:
    if isinstance(error, torch.OutOfMemoryError):
        return ["out of memory"]
    return [f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else 'no words'}"]


def waiting(key: str, device: str, scale: Scale) -> Iterator[list]:
    """A step on a batch that lies there, and `fit`'s own over fresh patches; what is between them was waited for."""
    subject, place = SUBJECTS[key], torch.device(device)
    system = at_scale(subject, scale)
    system.network.to(place)
    devices.arrange(system.network, system.dims, "auto", place)
    settings = replace(system.settings, accumulate=1, stop="never", epochs=2)
    batch = {name: value.to(place) for name, value in batch_for(settings).items()}
    step = system.make_step(system, settings, amp=torch.bfloat16)
    alone = timed(lambda: step(batch), place, scale)
    cases = noise_cases(settings)
    count = max(2, int(scale.seconds / alone))
    inside = {}
    for augment in (False, True):
        fresh = at_scale(subject, scale)
        history = fit(
            replace(fresh, settings=replace(settings, augment=augment)), cases, iterations=count, amp=True,
            device=device, deterministic=False, progress=False,
        )  # fmt: skip
        inside[augment] = settings.batch / history[-1]["samples_per_second"]
    yield [
        subject.sized(settings), f"{alone * 1e3:.4g}", *(f"{inside[augment] * 1e3:.4g}" for augment in (False, True)),
        f"{1 - alone / inside[False]:.0%}", f"{1 - inside[False] / inside[True]:.0%}",
    ]  # fmt: skip


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

    taken = take_turns({"ours": finished(ours), "theirs": finished(theirs)}, 2 if scale.tiny else 5)
    each = {who: statistics.median(seconds) * 1e3 / (1 if scale.tiny else 5) for who, seconds in taken.items()}
    times = ratio(taken["ours"], taken["theirs"])
    yield [subject.sized(settings), name, f"{each['ours']:.4g}", f"{each['theirs']:.4g}", f"{times:.2f}"]


def peer(system: System, settings, place: torch.device) -> tuple[str, Callable[[Batch], object]]:
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


class Answered(Network):
    """The network with its answer at hand, for an objective that asks for it once."""

    def __init__(self, network: Network, outputs: Outputs) -> None:
        super().__init__(network.backbone, dict(network.heads.items()))
        self.outputs = outputs

    def forward(self, image: torch.Tensor, **which) -> Outputs:
        return self.outputs


def loss_of(system: System, outputs: Outputs, label: torch.Tensor) -> torch.Tensor:
    answered = Answered(system.network, in_float32(outputs))
    with torch.autocast(label.device.type, enabled=False):
        return sum(system.objective(answered, {"image": label.unsqueeze(1).float(), "label": label}).values())
