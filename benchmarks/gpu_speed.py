"""A step's time and memory, its share of the card's peak, and the time spent waiting for data."""

from __future__ import annotations

import gc
import math
import statistics
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from gpu_systems import SUBJECTS, Scale, Subject, at_scale, batch_for, noise_cases
from gpu_worker import DEAD
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from dsnotes.training import devices
from dsnotes.training.fit import fit
from dsnotes.training.forward_pass import to_channels_last
from dsnotes.training.system import System

# bfloat16 products a second with float32 sums, dense, from the vendors' data sheets; the longest name that fits counts.
PEAK_TFLOPS = {
    "B200": 2250, "H200": 989, "H200 NVL": 835, "GH200": 989, "H100": 989, "H100 NVL": 835, "H100 PCIe": 756,
    "A100": 312, "A40": 150, "A30": 165, "A10": 125, "A10G": 70, "RTX A6000": 155, "L40S": 362, "L40": 181, "L4": 121,
    "RTX 6000 Ada": 364, "RTX 5090": 210, "RTX 4090": 165, "RTX 4080": 97, "RTX 3090": 71, "RTX 3080": 60,
}  # fmt: skip
FAST = ["system at its paper's sizes", "way", "ms a step", "steps/s", "peak GB", "TFLOP/s", "of the card's", "loss"]
WAITING = ["system at its paper's sizes", "ms a step alone", "in `fit`", "augmenting too", "data", "augmentation"]


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
        free(device)
        try:
            found = one_way(subject, torch.device(device), scale, **how)
        except Exception as error:  # one way that fails is a row, and the next has its turn
            if any(word in str(error) for word in DEAD):
                raise
            found, said = None, failed(error)
        if found is None:
            yield [named, way, *said, *[""] * (len(FAST) - 3)]
            continue
        first = found["loss"] if first is None else first
        rate = flops / found["seconds"] / 1e12 if flops else math.nan
        peak = peak_tflops(torch.cuda.get_device_name(device)) if device.startswith("cuda") else None
        yield [
            named, way, f"{found['seconds'] * 1e3:.4g}", f"{1 / found['seconds']:.3g}",
            f"{found['bytes'] / 1e9:.3g}", f"{rate:.3g}", f"{rate / peak:.1%}" if peak else "unknown card",
            f"{found['loss']:.4f}" + " **(another)**" * (abs(found["loss"] - first) > 0.05 * abs(first)),
        ]  # fmt: skip


def plain_ways(subject: Subject) -> dict[str, dict]:
    lowered = {"amp": torch.bfloat16}
    return {
        "float32": {},
        "bfloat16": lowered,
        "bfloat16, deterministic": lowered | {"deterministic": True},
        "bfloat16, channels last": lowered | {"channels_last": True},
    } | ({"bfloat16, checkpointing": lowered | {"checkpointing": True}} if subject.dims == 3 else {})


def compiled_ways(subject: Subject) -> dict[str, dict]:
    """CUDA graphs spare the launches that a small network's step consists of."""
    lowered = {"amp": torch.bfloat16, "channels_last": subject.dims == 2}
    return {"bfloat16, compiled": lowered | {"compile": True}} | (
        {"bfloat16, CUDA graphs": lowered | {"compile": "reduce-overhead"}} if subject.dims == 2 else {}
    )


def one_way(
    subject: Subject,
    device: torch.device,
    scale: Scale,
    *,
    channels_last: bool = False,
    deterministic: bool = False,
    **how,
) -> dict:
    """`deterministic` is what `fit` does unless told otherwise; without, cuDNN tries its algorithms and takes one."""
    with devices.reproducible(device, deterministic=deterministic), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*deterministic")
        return one_system(at_scale(subject, scale), device, scale, channels_last=channels_last, **how)


def one_system(system: System, device: torch.device, scale: Scale, *, channels_last: bool, **how) -> dict:
    system.network.to(device)
    to_channels_last(system.network, channels_last, amp=how.get("amp"))
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


class Meter(TorchDispatchMode):
    """Counts the bytes of the tensors that are made inside while they live: a CPU has no allocator that says so."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.highest = 0, 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {id(storage) for storage in storages((args, kwargs))}
        made = function(*args, **(kwargs or {}))
        for storage in storages(made):
            if id(storage) not in given:  # a view of what was there before takes nothing
                self.count(storage)
        return made

    def count(self, storage: torch.UntypedStorage) -> None:
        if id(storage) in self.known:
            return
        size = storage.nbytes()
        self.known.add(id(storage))
        weakref.finalize(storage, self.forget, id(storage), size).atexit = False
        self.now += size
        self.highest = max(self.highest, self.now)

    def forget(self, name: int, size: int) -> None:
        self.known.discard(name)
        self.now -= size


def storages(values: object) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


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
    gc.collect()
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
    to_channels_last(system.network, "auto", amp=torch.bfloat16)
    settings = replace(system.settings, accumulate=1, stop="never", epochs=2)
    batch = {name: value.to(place) for name, value in batch_for(settings).items()}
    step = system.make_step(system, settings, amp=torch.bfloat16)
    with devices.reproducible(place, deterministic=False):
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
