"""A frozen super-resolution network in front of another one, and a cache of its outputs."""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import Tensor, nn

from dsnotes.networks.srgan import Generator
from dsnotes.shapes import Image


class OutputCache:
    """A cache of outputs by the hash of their input, of at most `limit` bytes.

    If it is full and nothing was ever found in it (random patches, augmented images), it empties itself and stays off.
    """

    def __init__(self, limit: int = 2**30) -> None:
        self.limit, self.size, self.hits, self.misses = limit, 0, 0, 0
        self.outputs: dict[bytes, Tensor] = {}
        self.open = limit > 0

    def find(self, key: bytes) -> Tensor | None:
        found = self.outputs.get(key)
        self.hits, self.misses = self.hits + (found is not None), self.misses + (found is None)
        return found

    def keep(self, key: bytes, output: Tensor) -> None:
        size = output.numel() * output.element_size()
        if self.size + size <= self.limit:
            self.outputs[key] = output.clone()  # a view would keep its whole batch alive
            self.size += size
        elif not self.hits:
            self.outputs.clear()
            self.open = False


class Teacher(nn.Module):
    """teacher(image) -> (B, channels [+ width], scale · size): the super-resolved image [and its feature maps].

    It is frozen, and `train()` leaves its batch norm in evaluation mode. While `cache` is set, an image that was seen
    before is looked up instead of computed, bit for bit the same.
    """

    def __init__(self, generator: Generator, *, with_features: bool = True) -> None:
        super().__init__()
        self.generator = generator.requires_grad_(False).eval()
        self.with_features = with_features
        self.channels = generator.channels + (generator.width if with_features else 0)
        self.cache: OutputCache | None = None

    def train(self, mode: bool = True) -> Teacher:
        super().train(mode)
        self.generator.eval()
        return self

    @torch.no_grad()
    def forward(self, image: Image) -> Tensor:
        if self.cache is None or not self.cache.open or torch.compiler.is_compiling():  # a lookup cannot be traced
            return self.compute(image)
        return self.looked_up(image)

    def compute(self, image: Image) -> Tensor:
        raised, features = self.generator(image)
        return torch.cat([raised, features.to(raised.dtype)], dim=1) if self.with_features else raised

    def looked_up(self, image: Image) -> Tensor:
        """One image at a time, so that an output does not depend on the rest of the batch."""
        cache, outputs = self.cache, []
        for one, raw in zip(image.split(1), image.detach().float().cpu().contiguous().numpy(), strict=True):
            key = blake2b(raw.tobytes(), digest_size=16).digest()
            found = cache.find(key)
            if found is None:
                found = self.compute(one)
                cache.keep(key, found)
            outputs.append(found)
        return torch.cat(outputs)
