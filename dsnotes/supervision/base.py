"""What a supervision is: the heads it needs on a backbone, and the named terms whose sum is the loss."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from dsnotes.networks.base import Backbone, Head, Network
from dsnotes.shapes import Scalar

Batch = dict[str, Tensor]  # "image", "label" and, where asked for, "soft"


@runtime_checkable
class Objective(Protocol):
    """objective(network, batch) -> named, already weighted scalars; the loss is their sum."""

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        """The trainable parts this supervision needs, built from `backbone.levels` alone; often none."""
        ...

    def __call__(self, network: Network, batch: Batch) -> dict[str, Scalar]: ...


def supervise(backbone: Backbone, objective: Objective) -> Network:
    """Put the heads that `objective` asks for on `backbone`: any supervision on any backbone."""
    return Network(backbone, objective.heads(backbone))
