"""Where a run computes, and how reproducibly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from dsnotes.training.memory import out_of_memory
from dsnotes.training.settings import Settings
from dsnotes.training.sizes import Sizes, TooLargeError, fewer_at_a_time, smaller_patches


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


def arrange(network: nn.Module, dims: int, channels_last: bool | str, device: torch.device) -> None:
    """Channels beside each other in memory: what tensor cores like; "auto" does so for 2-D networks on CUDA."""
    if channels_last not in (True, False, "auto"):
        raise ValueError(f"channels_last={channels_last!r} is unknown. Pass 'auto', True or False.")
    if channels_last is True or (channels_last == "auto" and device.type == "cuda" and dims == 2):
        network.to(memory_format={2: torch.channels_last, 3: torch.channels_last_3d}[dims])


@contextmanager
def explained_memory(settings: Settings, stride: tuple[int, ...], device: torch.device) -> Iterator[None]:
    """Inside, running out of memory is answered with the sizes to try."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, TooLargeError) or not out_of_memory(error):
            raise
        came = f"patch={settings.patch} × batch={settings.batch} × accumulate={settings.accumulate}"
        tries = smaller(settings.patch, settings.batch, settings.accumulate, stride)
        raise torch.OutOfMemoryError(f"{device} has too little memory for {came}. Try {tries}.") from error


def smaller(patch: tuple[int, ...], batch: int, accumulate: int, stride: tuple[int, ...]) -> str:
    """What to try when memory ran out: fewer samples at a time and as many a step, then a smaller patch."""
    asked = Sizes(tuple(patch), batch, accumulate, checkpointing=False)
    fewer, cut = next(fewer_at_a_time(asked), None), next(smaller_patches(asked, stride), None)
    tries = [f"batch={fewer.batch}, accumulate={fewer.accumulate} (as many samples a step)"] if fewer else []
    return "; or ".join(tries + ([str(cut)] if cut else [])) or "a narrower network (width=…), or amp=True"
