"""What a supervision is: the heads it needs on a backbone, the outputs it looks at, and the terms of its loss.

Outputs in, terms out. Training calls `run` under autocast, raises the outputs to float32 once, and hands them to
`terms`, which sees no network.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from dsnotes.networks.base import Backbone, Head, Network
from dsnotes.shapes import Outputs, Scalar

Batch = dict[str, Tensor]  # "image", "label" and, where a supervision compares with it, "soft"


@runtime_checkable
class Supervision(Protocol):
    """What is new in a paper. A subclass gives `terms`, and what differs of the other two."""

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        """The trainable parts this supervision needs, built from `backbone.levels` alone; often none."""
        return {}

    def run(self, network: Network, batch: Batch) -> Outputs:
        """What the network computes; a supervision that looks at more than the image says so here."""
        return network(batch["image"])

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Scalar]:
        """Named, already weighted scalars, whose sum is the loss."""
        ...


def supervise(backbone: Backbone, objective: Supervision) -> Network:
    """Put the heads that `objective` needs on `backbone`: any supervision on any backbone."""
    return Network(backbone, objective.heads(backbone))


def loss_terms(objective: Supervision, network: Network, batch: Batch) -> dict[str, Scalar]:
    """One forward pass and its terms, in the precision of the network."""
    return objective.terms(objective.run(network, batch), batch)
