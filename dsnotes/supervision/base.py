"""What a supervision is: the heads it needs on a backbone, the outputs it looks at, and the terms of its loss.

Outputs in, terms out. Training calls `run` under autocast, raises the outputs to float32 once, and hands them to
`terms`, which sees no network.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

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


def supervise(backbone: nn.Module, objective: Supervision) -> Network:
    """Put the heads that `objective` needs on `backbone`: any supervision on any backbone."""
    check_backbone(backbone)
    check_objective(objective)
    try:
        return Network(backbone, objective.heads(backbone))
    except ValueError as error:
        listing = getattr(backbone, "listing", "")  # a wrapped network's modules, from which levels are named
        if not listing or listing in str(error):
            raise
        raise ValueError(f"{error} {listing}") from error


def loss_terms(objective: Supervision, network: Network, batch: Batch) -> dict[str, Scalar]:
    """One forward pass and its terms, in the precision of the network."""
    return objective.terms(objective.run(network, batch), batch)


def check_backbone(backbone: object) -> None:
    """Refuse at once what training would stumble over later, with the line that makes a backbone of it."""
    if isinstance(backbone, Network):
        raise TypeError("a network with heads came; heads are put on a backbone. Pass network.backbone.")
    if not isinstance(backbone, nn.Module):
        raise TypeError(
            f"a {type(backbone).__name__} came; needed is a backbone, or any torch network as one: "
            f"dsnotes.wrap(module, classes=2)."
        )
    name = type(backbone).__name__
    lacking = [part for part in ("levels", "stride", "in_channels", "classes") if not hasattr(backbone, part)]
    if isinstance(backbone, Backbone) and not lacking:
        return
    if isinstance(backbone, Backbone):
        raise TypeError(
            f"{name} sets no {', '.join(lacking)}. A backbone's __init__ sets levels (name -> Level(channels, stride))"
            f", stride, in_channels and classes; dsnotes.networks.unet.UNet is an example."
        )
    raise TypeError(
        f"{name} is a plain torch network: it has no {', '.join(lacking or ['Features'])}, which heads read. Wrap it, "
        f"dsnotes.wrap(module, classes=2) for Plain(); for others name its levels: dsnotes.wrap(module, classes=2, "
        f"levels={{'stride2': 'path.of.a.module'}})."
    )


def check_objective(objective: object) -> None:
    if isinstance(objective, type):
        raise TypeError(f"the class {objective.__name__} came; needed is one of its kind: {objective.__name__}().")
    if not isinstance(objective, Supervision):
        lacking = [part for part in ("heads", "run", "terms") if not hasattr(objective, part)]
        raise TypeError(
            f"a {type(objective).__name__} supervises nothing: it has no {', '.join(lacking)}. Pass, for instance, "
            f"dsnotes.supervision.MultiScale(); CONTRIBUTING.md shows how to write one."
        )
