"""How many bytes live while something is computed, and how many may.

On a GPU its own allocator says so. Elsewhere the bytes of all tensors are counted while they live: there the system
would not refuse, but swap, or end the process without a word.
"""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Meter(TorchDispatchMode):
    """Counts the bytes of the tensors that are made inside while they live, and refuses those beyond `limit`."""

    def __init__(self, limit: float | int = math.inf) -> None:
        super().__init__()
        self.limit, self.now, self.highest = limit, 0, 0
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
        if self.now > self.limit:
            raise torch.OutOfMemoryError(f"{self.now} bytes live at a time, {self.limit:.0f} are allowed.")

    def forget(self, name: int, size: int) -> None:
        self.known.discard(name)
        self.now -= size


def storages(values: object) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


@contextmanager
def metered(room: float | int, weights: int, device: torch.device) -> Iterator[Callable[[], int]]:
    """Inside, no more than `room` bytes are had; the answer is how many were, the copy's weights counted once."""
    if device.type != "cuda":
        with Meter(room - weights) as meter:
            yield lambda: meter.highest + weights
        return
    before = allowed_share(device)
    share = (room + weights) / torch.cuda.mem_get_info(device)[1]  # for a moment there are two networks
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    torch.cuda.set_per_process_memory_fraction(min(share, before), device)
    try:
        yield lambda: torch.cuda.max_memory_allocated(device) - weights
    finally:
        torch.cuda.set_per_process_memory_fraction(before, device)


def allowed_share(device: torch.device) -> float:
    """Of a GPU's memory, for this process; 1 where torch is too old to say."""
    return getattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 1.0)(device)


def free(device: torch.device) -> int | None:
    """The bytes that a run may still have, with what this process has already; None where nobody says."""
    if device.type == "cuda":
        unused, all_of_it = torch.cuda.mem_get_info(device)
        return int(min(unused + torch.cuda.memory_reserved(device), allowed_share(device) * all_of_it))
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    available = re.search(r"MemAvailable: +(\d+) kB", read(Path("/proc/meminfo")))
    limits = [read(Path("/sys/fs/cgroup", name)) for name in ("memory.max", "memory/memory.limit_in_bytes")]
    known = [int(size) for size in limits if size.strip().isdigit()]
    known += [int(available[1]) * 1024] if available else []
    return min(known, default=None)


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def out_of_memory(error: RuntimeError) -> bool:
    """CUDA has a class for it, the CPU's allocator only a sentence."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
