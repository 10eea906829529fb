"""What a supervision is: the heads it needs on a backbone, and the named terms whose sum is the loss."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

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


def supervise(backbone: nn.Module, objective: Objective) -> Network:
    """Put the heads that `objective` asks for on `backbone`: any supervision on any backbone."""
    check_backbone(backbone)
    check_objective(objective)
    try:
        return Network(backbone, objective.heads(backbone))
    except ValueError as error:
        listing = getattr(backbone, "listing", "")  # a wrapped network's modules, from which levels are named
        if not listing or listing in str(error):
            raise
        raise ValueError(f"{error} {listing}") from error


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
    if not isinstance(objective, Objective):
        lacking = [part for part in ("heads", "__call__") if not hasattr(objective, part)]
        raise TypeError(
            f"a {type(objective).__name__} supervises nothing: it has no {', '.join(lacking)}. Pass, for instance, "
            f"dsnotes.supervision.MultiScale(); CONTRIBUTING.md shows how to write one."
        )
