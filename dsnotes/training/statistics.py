"""Running statistics of batch norm counted anew over training images, once the weights stand still.

Paper: Izmailov et al. 2018, https://arxiv.org/abs/1803.05407, section 3.2; torch has it as `swa_utils.update_bn`.
Departs from torch's: norms that stay in evaluation while the network trains, a frozen teacher's, are left alone, and
so are those that the image never reaches, a critic's.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from dsnotes.shapes import Image


@torch.no_grad()
def reestimate_statistics(network: nn.Module, images: Iterable[Image]) -> None:
    """Replace each batch norm's mean and variance by their plain average over batches of `images`.

    While a network trains, its running statistics average over weights that no longer exist, and a norm of momentum
    0.01 remembers hundreds of steps. `images` are batches as in training, on the network's device.
    """
    was = network.training
    network.train()
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    norms = [norm for norm in norms if norm.track_running_stats]
    before = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain average over all batches
    try:
        for image in images if norms else ():
            network(image)
    finally:
        for norm, buffers, momentum in zip(norms, before, momenta, strict=True):
            if not norm.num_batches_tracked:  # nothing came here
                for name, value in norm.named_buffers():
                    value.copy_(buffers[name])
            norm.momentum = momentum
        network.train(was)
