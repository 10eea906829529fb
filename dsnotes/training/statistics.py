"""Batch norm statistics re-estimated over training images with fixed weights.

Paper: Izmailov et al. 2018, https://arxiv.org/abs/1803.05407, section 3.2; torch has it as `swa_utils.update_bn`.
Departs from torch's: norms that stay in evaluation mode (a frozen teacher's) or that the image never reaches are not
changed.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from dsnotes.shapes import Image


@torch.no_grad()
def reestimate_statistics(network: nn.Module, images: Iterable[Image]) -> None:
    """Replace each batch norm's mean and variance by their plain average over batches of `images`.

    During training the running statistics average over outdated weights; with momentum 0.01 they reach back hundreds of
    steps. `images` are batches as in training, on the network's device.
    """
    was = network.training
    network.train()
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    norms = [norm for norm in norms if norm.track_running_stats]
    before = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # in torch: a plain average over all batches
    try:
        for image in images if norms else ():
            network(image)
    finally:
        for norm, buffers, momentum in zip(norms, before, momenta, strict=True):
            if not norm.num_batches_tracked:  # the image did not reach this norm
                for name, value in norm.named_buffers():
                    value.copy_(buffers[name])
            norm.momentum = momentum
        network.train(was)
