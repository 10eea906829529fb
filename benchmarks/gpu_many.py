"""Several processes against one: the same gradients, and how much faster."""

from __future__ import annotations

import copy
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from gpu_correct import tf32
from gpu_speed import wait
from gpu_systems import SUBJECTS, Scale, at_scale, batch_for, system_for
from torch import nn

from dsnotes.supervision.base import Batch
from dsnotes.training import devices

MANY = ["system", "processes", "gradients off by", "ms a step alone", "ms together", "samples/s, times", "verdict"]
SWEEP = ["GPUs that `dsnotes sweep` finds", "a worker's CUDA_VISIBLE_DEVICES"]


def together(key: str, device: str, scale: Scale) -> Iterator[list]:
    """NCCL between the GPUs there are; on one GPU, and on a CPU, two processes that share it, by gloo."""
    gpus = torch.cuda.device_count() if device.startswith("cuda") else 0
    count, backend = (gpus, "nccl") if gpus > 1 else (2, "gloo")
    with tempfile.TemporaryDirectory() as folder:
        given = (count, backend, key, device if gpus < 2 else "cuda", scale, folder)
        torch.multiprocessing.spawn(one_of_several, given, nprocs=count)
        off, alone, both = torch.load(Path(folder) / "found.pt")
    where = f"{count}, {backend}" + (" on one GPU" if gpus == 1 else "")
    verdict = "equal" if off < 1e-3 else "**not equal**"
    yield [
        SUBJECTS[key].label, where, f"{off:.1e}", f"{alone * 1e3:.4g}", f"{both * 1e3:.4g}",
        f"{count * alone / both:.2f}", verdict,
    ]  # fmt: skip


def one_of_several(rank: int, count: int, backend: str, key: str, device: str, scale: Scale, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
    place = torch.device("cuda", rank) if device == "cuda" else torch.device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    store = Path(folder, "store").as_uri()
    dist.init_process_group(backend, init_method=store, rank=rank, world_size=count)
    try:
        off = gradients_off(key, place, rank, count)
        alone, both = step_seconds(key, place, scale, rank)
        if rank == 0:
            torch.save((off, alone, both), Path(folder) / "found.pt")
        dist.barrier()
    finally:
        dist.destroy_process_group()


def gradients_off(key: str, place: torch.device, rank: int, count: int) -> float:
    """Relative, of the first step's. Batch norm sees its own process's share, so it gives way to group norm here."""
    subject = SUBJECTS[key]
    system = system_for(subject, width=4, small=True, **({"critic_width": 4} if subject.name == "dsnet" else {}))
    without_batch_norm(system.network)
    system.network.to(place)
    settings = replace(system.settings, batch=2, accumulate=1, clip=None)
    joint = {name: value.to(place) for name, value in batch_for(settings, samples=2 * count).items()}
    mine = {name: value[2 * rank : 2 * rank + 2] for name, value in joint.items()}
    with tf32(allowed=False):
        with devices.single_process():
            exact = gradients(copy.deepcopy(system), settings, joint)
        found = gradients(system, settings, mine)
    return float((found - exact).norm() / exact.norm())


def gradients(system, settings, batch: Batch) -> torch.Tensor:
    system.make_step(system, settings)(batch)
    return torch.cat([p.grad.double().flatten() for p in system.network.parameters() if p.grad is not None])


def without_batch_norm(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(module, name, nn.GroupNorm(1, child.num_features))
        else:
            without_batch_norm(child)


def step_seconds(key: str, place: torch.device, scale: Scale, rank: int) -> tuple[float, float]:
    """At the paper's sizes, on each process its own batch: first each for itself, then with their gradients shared."""
    system = at_scale(SUBJECTS[key], scale)
    system.network.to(place)
    settings = replace(system.settings, accumulate=1)
    batch = {name: value.to(place) for name, value in batch_for(settings, seed=rank).items()}
    found = []
    for shared in (False, True):
        twin = copy.deepcopy(system)
        step = twin.make_step(twin, settings, amp=torch.bfloat16)
        with nullcontext() if shared else devices.single_process():
            for counted in (False, True):
                dist.barrier()
                started, steps = time.perf_counter(), 1 if scale.tiny else 10
                for _ in range(steps):
                    step(batch)
                wait(place)
                if counted:
                    found.append((time.perf_counter() - started) / steps)
    return found[0], found[1]


def sweep() -> Iterator[list]:
    from dsnotes.runs.cluster import gpus_here

    gpus = gpus_here()
    yield [len(gpus), ", ".join(gpus) or "none: one run at a time"]
