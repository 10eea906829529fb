"""The device of a run, reproducible kernels, and advice when memory runs out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

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
