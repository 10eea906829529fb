"""The interface of a supervision: the heads it needs on a backbone, the outputs it uses, and the terms of its loss.

Training calls `run` under autocast, converts the outputs to float32, and passes them to `terms`, which does not see the
network.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from dsnotes.networks.base import Backbone, Head, Network
from dsnotes.shapes import Outputs, Scalar

Batch = dict[str, Tensor]  # "image", "label" and, where a supervision compares with it, "soft"


@runtime_checkable
class Supervision(Protocol):
    """A subclass defines `terms`, and overrides `heads` and `run` where it needs to."""

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        """The heads this supervision needs, built from `backbone.levels` alone; often none."""
        return {}

    def run(self, network: Network, batch: Batch) -> Outputs:
        """The forward pass; a supervision that uses more than the image overrides it."""
        return network(batch["image"])

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Scalar]:
        """Named, already weighted scalars; their sum is the loss."""
        ...


def supervise(backbone: nn.Module, objective: Supervision) -> Network:
    """Add the heads that `objective` needs to `backbone`."""
    check_backbone(backbone)
    check_objective(objective)
    try:
        return Network(backbone, objective.heads(backbone))
    except ValueError as error:
        listing = getattr(backbone, "listing", "")  # a wrapped network lists the modules that can be levels
        if not listing or listing in str(error):
            raise
        raise ValueError(f"{error} {listing}") from error


def loss_terms(objective: Supervision, network: Network, batch: Batch) -> dict[str, Scalar]:
    """The terms of one forward pass, in the network's precision."""
    return objective.terms(objective.run(network, batch), batch)


def check_backbone(backbone: object) -> None:
    """Raise a TypeError unless `backbone` is one; the message says how to make one of it."""
    if isinstance(backbone, Network):
        raise TypeError("a network with heads came, but a backbone is needed. Pass network.backbone.")
    if not isinstance(backbone, nn.Module):
        raise TypeError(
            f"a {type(backbone).__name__} came, but a backbone is needed. Any torch network can be one: "
            f"dsnotes.wrap(module, classes=2)."
        )
    name = type(backbone).__name__
    lacking = [part for part in ("levels", "stride", "in_channels", "classes") if not hasattr(backbone, part)]
    if isinstance(backbone, Backbone) and not lacking:
        return
    if isinstance(backbone, Backbone):
        raise TypeError(
            f"{name} lacks {', '.join(lacking)}. A backbone's __init__ sets levels (name -> Level(channels, stride))"
            f", stride, in_channels and classes; dsnotes.networks.unet.UNet is an example."
        )
    raise TypeError(
        f"{name} is a plain torch network without {', '.join(lacking or ['Features'])}, which heads read. Wrap it: "
        f"dsnotes.wrap(module, classes=2) for Plain(), or with levels for other supervisions: dsnotes.wrap(module, "
        f"classes=2, levels={{'stride2': 'path.of.a.module'}})."
    )


def check_objective(objective: object) -> None:
    if isinstance(objective, type):
        raise TypeError(f"the class {objective.__name__} came, but an instance is needed: {objective.__name__}().")
    if not isinstance(objective, Supervision):
        lacking = [part for part in ("heads", "run", "terms") if not hasattr(objective, part)]
        raise TypeError(
            f"a {type(objective).__name__} is not a supervision: it lacks {', '.join(lacking)}. Pass for instance "
            f"dsnotes.supervision.MultiScale(); CONTRIBUTING.md shows how to write one."
        )
