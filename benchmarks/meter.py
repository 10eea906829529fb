"""How many bytes live while something is computed."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


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
