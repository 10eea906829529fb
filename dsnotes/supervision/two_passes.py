"""A network on images and on their masks, each normalised by batch statistics of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsnotes.networks.base import Network
from dsnotes.shapes import Image, Outputs, map_tensors

SMALL = 2**14  # voxels; twice as many no longer fit in a CPU's caches, and one batch is slower (benchmarks/mu_net.py)


def two_passes(network: Network, image: Image, mask: Image) -> tuple[Outputs, Outputs]:
    """The network on the image and on the mask: one after the other, or as one batch where that is faster.

    Batch norms in training mode keep the two apart either way: each has its own statistics, and the mask's do not enter
    the running ones, because deployment sees images only. With such norms large images, a compiled network and blocks
    computed again in the backward pass take one after the other.
    """
    norms = learning_norms(network)
    if norms and (image.numel() > SMALL or not plain(network)):
        on_image = network(image)
        with statistics_not_kept(norms):
            return on_image, network(mask)
    with normalised_apart(norms):
        together = network(torch.cat([image, mask]))
    halves: dict[int, tuple[Tensor, ...]] = {}  # each tensor is split once

    def half(at: int, value: Tensor) -> Tensor:
        if id(value) not in halves:
            halves[id(value)] = value.chunk(2)
        return halves[id(value)][at]

    return map_tensors(together, partial(half, 0)), map_tensors(together, partial(half, 1))


def plain(network: nn.Module) -> bool:
    recomputed = any(getattr(module, "checkpointing", False) for module in network.modules())
    return isinstance(network, Network) and not recomputed


def learning_norms(network: Network) -> list[nn.Module]:
    """The batch norms in training mode."""
    return [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]


@contextmanager
def statistics_not_kept(norms: list[nn.Module]) -> Iterator[None]:
    """Inside, batch norm in training mode uses batch statistics and does not update the running ones."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


@contextmanager
def normalised_apart(norms: list[nn.Module]) -> Iterator[None]:
    """Inside, both halves of a batch have statistics of their own; only the first half's are kept.

    A network that folds another axis into the batch, as attention along rows does, must keep the images' order.
    """
    for norm in norms:
        norm.forward = partial(_apart, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _apart(norm: nn.Module, x: Tensor) -> Tensor:
    kept, others = x.chunk(2)
    how = {"training": True, "eps": norm.eps}
    return torch.cat(
        [type(norm).forward(norm, kept), functional.batch_norm(others, None, None, norm.weight, norm.bias, **how)]
    )
