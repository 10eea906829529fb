"""Where a run computes, and how reproducibly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dsnotes.training.settings import Settings


def pick(device: str | torch.device, *, local: int = 0) -> torch.device:
    """ "auto": a CUDA GPU where there is one (one a process), else Apple's, else the CPU."""
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
            f"device={str(device)!r} cannot be used here ({reason}). Pass device='auto' or device='cpu'."
        ) from error
    return torch.device("cuda", local) if chosen == torch.device("cuda") else chosen


@contextmanager
def reproducible(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Inside, random numbers are the run's own, and kernels give the same bits each time; outside all is as it was.

    An operation without a deterministic kernel warns and runs: some of CUDA's poolings and interpolations have none.
    """
    cudnn = torch.backends.cudnn
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
        cudnn.benchmark,
    )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it, before its first use
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
    """`torch.manual_seed` for the two generators in use; that one takes a millisecond where there is no GPU."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        getattr(torch, device.type).manual_seed(seed)


@contextmanager
def explained_memory(settings: Settings, stride: tuple[int, ...], device: torch.device) -> Iterator[None]:
    """Inside, running out of memory is answered with the sizes to try."""
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
    """CUDA has a class for it, the CPU's allocator only a sentence."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def smaller(settings: Settings, stride: tuple[int, ...]) -> str:
    """Fewer samples at a time and as many a step; or the axis with the most coarsest voxels halved."""
    patch, batch = tuple(settings.patch), settings.batch
    tries = []
    if batch > 1:
        fewer = batch // 2 if batch % 2 == 0 else 1
        tries.append(f"batch={fewer}, accumulate={settings.accumulate * (batch // fewer)} (as many samples a step)")
    longest = max(range(len(patch)), key=lambda axis: patch[axis] // stride[axis])
    half = -(-patch[longest] // (2 * stride[longest])) * stride[longest]
    if half < patch[longest]:
        tries.append(f"patch={tuple(half if axis == longest else n for axis, n in enumerate(patch))}")
    return "; or ".join(tries) or "a narrower network (width=…)"
