"""Where a run computes: its device, in one process or in several started by `torchrun`.

torchrun --nproc-per-node=4 train.py

`batch` is the batch of each process, so n processes use n times as many samples per step. Gradients are averaged, which
equals one process with the joint batch if the loss is a mean over samples; batch normalisation and a Dice over the
batch see only their own process's share.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dsnotes.training.settings import Settings


def pick(device: str | torch.device, *, local: int = 0) -> torch.device:
    """ "auto" is a CUDA GPU if there is one (one per process), else Apple's GPU, else the CPU."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", local)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device={str(device)!r} is not available ({reason}). Pass device='auto' or device='cpu'."
        ) from error
    return torch.device("cuda", local) if chosen == torch.device("cuda") else chosen


@contextmanager
def reproducible(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Inside, kernels are deterministic and the random state is the run's own; everything is restored on exit.

    Operations without a deterministic kernel, such as some CUDA poolings and interpolations, run with a warning.
    """
    cudnn = torch.backends.cudnn
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
        cudnn.benchmark,
    )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs it before its first use
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs a pass over memory
    cudnn.benchmark = not deterministic
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory, cudnn.benchmark = before[2:]


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # malloc.h


@contextmanager
def keep_freed_memory(device: torch.device) -> Iterator[None]:
    """Inside, freed memory stays with the process, instead of going back to the system and being cleared anew.

    A step on a CPU frees and asks for the same memory hundreds of times (`benchmarks/pages.py`). Only glibc can be told
    so. On exit the memory is given back, and glibc keeps as much as its own rule allows after one large array.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if device.type != "cpu" or not hasattr(library, "mallopt"):
        yield
        return
    library.mallopt(M_MMAP_MAX, 0)
    library.mallopt(M_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        for parameter, value in ((M_MMAP_MAX, 2**16), (M_MMAP_THRESHOLD, 2**25), (M_TRIM_THRESHOLD, 2**26)):
            library.mallopt(parameter, value)
        library.malloc_trim(0)


def seed_everything(seed: int, device: torch.device) -> None:
    """Like `torch.manual_seed`, but only for the generators in use: torch's takes a millisecond even without a GPU."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        getattr(torch, device.type).manual_seed(seed)


@contextmanager
def explained_memory(settings: Settings, stride: tuple[int, ...], device: torch.device) -> Iterator[None]:
    """Inside, an out-of-memory error names smaller sizes to try."""
    try:
        yield
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        came = f"patch={settings.patch} × batch={settings.batch} × accumulate={settings.accumulate}"
        raise torch.OutOfMemoryError(
            f"{device} has too little memory for {came}. Try {smaller(settings, stride)}; or checkpointing=True."
        ) from error


def free_memory(device: torch.device) -> float:
    """In bytes, of a CUDA GPU or else of the machine; 8 GiB where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 8 * 2**30


def out_of_memory(error: Exception) -> bool:
    """True for CUDA's out-of-memory class and for the CPU allocator's message."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def smaller(settings: Settings, stride: tuple[int, ...]) -> str:
    """Settings that need less memory: a smaller batch with more accumulation, or half the patch along one axis."""
    patch, batch = tuple(settings.patch), settings.batch
    tries = []
    if batch > 1:
        fewer = batch // 2 if batch % 2 == 0 else 1
        tries.append(f"batch={fewer}, accumulate={settings.accumulate * (batch // fewer)} (as many samples per step)")
    longest = max(range(len(patch)), key=lambda axis: patch[axis] // stride[axis])
    half = -(-patch[longest] // (2 * stride[longest])) * stride[longest]
    if half < patch[longest]:
        tries.append(f"patch={tuple(half if axis == longest else n for axis, n in enumerate(patch))}")
    return "; or ".join(tries) or "a narrower network (width=…)"


@dataclass(frozen=True)
class World:
    """The rank of this process among `size` processes; only the first writes files and prints."""

    rank: int = 0
    size: int = 1
    local: int = 0  # rank on this machine: selects the GPU

    @property
    def first(self) -> bool:
        return self.rank == 0


ONE_PROCESS = World()
_single = False


def world_from_env() -> World:
    """The rank that torchrun gave this process; a single process without torchrun."""
    if _single or "RANK" not in os.environ or "MASTER_ADDR" not in os.environ:
        return ONE_PROCESS
    return World(
        *(int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)))
    )


@contextmanager
def joined(world: World, device: torch.device) -> Iterator[None]:
    """Inside, the processes are connected: by NCCL between GPUs, by gloo between CPUs."""
    opened = world.size > 1 and not dist.is_initialized()
    if opened:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=world.rank, world_size=world.size)
    try:
        yield
    finally:
        if opened:
            dist.destroy_process_group()


def several() -> bool:
    return not _single and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@contextmanager
def single_process() -> Iterator[None]:
    """Inside, each process computes on its own."""
    global _single
    before, _single = _single, True
    try:
        yield
    finally:
        _single = before


def parallel(module: nn.Module, reaches_all: Callable[[], bool]) -> nn.Module:
    """`module` with gradients averaged over the processes during backward; `module` itself for one process.

    All processes start with the weights of the first. DistributedDataParallel waits for the gradient of every
    parameter. If the objective does not reach every head, it must search for unused parameters in every step.
    """
    if not several():
        return module
    device = next(module.parameters()).device
    return nn.parallel.DistributedDataParallel(
        module,
        device_ids=[device.index] if device.type == "cuda" else None,
        find_unused_parameters=not reaches_all(),
    )


def without_averaging(module: nn.Module) -> AbstractContextManager:
    """Inside, backward only accumulates gradients; the next backward outside averages them."""
    return module.no_sync() if isinstance(module, nn.parallel.DistributedDataParallel) else nullcontext()


def average(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """The mean of every value over the processes, the same in each of them."""
    if not several():
        return values
    joint = total(torch.tensor(list(values.values()), dtype=torch.float64, device=device)) / dist.get_world_size()
    return dict(zip(values, joint.tolist(), strict=True))


def total(values: Tensor) -> Tensor:
    """The sum over the processes."""
    if several():
        dist.all_reduce(values)
    return values


def highest(values: Tensor) -> Tensor:
    """The maximum over the processes."""
    if several():
        dist.all_reduce(values, dist.ReduceOp.MAX)
    return values


def first_nonempty(mine: list[str]) -> list[str]:
    """The names from the first process that has any: a process without cases has none."""
    if not several():
        return mine
    every: list = [None] * dist.get_world_size()
    dist.all_gather_object(every, mine)
    return next(filter(None, every), [])


def barrier() -> None:
    """Wait for all processes."""
    if several():
        dist.barrier()


def from_first(value):
    """The value of the first process, in all of them."""
    if not several():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
