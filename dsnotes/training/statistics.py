"""Running statistics of batch norm counted anew over training images, once the weights have stopped moving.

Paper: Izmailov et al. 2018, https://arxiv.org/abs/1803.05407, section 3.2; torch has it as `swa_utils.update_bn`.
Departs from torch's: norms that stay in evaluation while the network trains, a frozen teacher's, are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from dsnotes.shapes import Image


@torch.no_grad()
def reestimate_statistics(network: nn.Module, images: Iterable[Image]) -> int:
    """Replace each batch norm's mean and variance by their plain average over `images`; how many norms there were.

    While a network trains, its running statistics are an average over weights that no longer exist, and a norm of
    momentum 0.01 remembers hundreds of steps. `images` are batches as in training, on the network's device.
    """
    was = network.training
    network.train()
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    norms = [norm for norm in norms if norm.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    seen = 0
    try:
        for image in images if norms else ():
            for norm in norms if not seen else ():
                norm.reset_running_stats()
                norm.momentum = None  # torch's word for a plain average over all batches
            network(image)
            seen += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.train(was)
    if norms and not seen:
        raise ValueError(
            "no images to count statistics over: the network keeps those it had. Pass batches of training images, "
            "such as [batch['image'] for batch in batches]."
        )
    return len(norms)
