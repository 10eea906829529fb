"""Overlapping regions (whole tumour ⊃ core ⊃ enhancing), each a binary task with its own sigmoid.

As in nnU-Net (Isensee et al. 2020, https://arxiv.org/abs/2011.00848, sec. 2.3). A network of 1 + R classes has one
channel per region and an unused background channel; the loss is the mean over the regions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from dsnotes.networks.base import Backbone, Head, Network
from dsnotes.shapes import Outputs, Probs, Scalar
from dsnotes.supervision.base import Batch, Supervision


@dataclass(frozen=True)
class Regions(Supervision):
    """`binary` is the supervision of each region; `regions` maps names to label values."""

    binary: Supervision
    regions: Mapping[str, tuple[int, ...]]

    voxelwise = True

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        return self.binary.heads(backbone)

    def run(self, network: Network, batch: Batch) -> Outputs:
        return self.binary.run(network, batch)

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Scalar]:
        found = {}
        for number, (name, values) in enumerate(self.regions.items()):
            own = batch | {"label": members(batch["label"], values).long()}
            for term, value in self.binary.terms(of_region(outputs, number), own).items():
                found[f"{name}: {term}"] = value / len(self.regions)
        return found


def regions_of(objective: object) -> tuple[tuple[int, ...], ...]:
    """The label values of each region; empty if the labels are plain classes."""
    return tuple(getattr(objective, "regions", {}).values())


def label_values(objective: object, classes: int) -> int:
    """The number of values a label may hold, including the background."""
    return 1 + max((value for values in regions_of(objective) for value in values), default=classes - 1)


def members(label: Tensor, values: tuple[int, ...]) -> Tensor:
    """Where the label is one of the region's values."""
    return torch.isin(label, torch.tensor(values, device=label.device))


def of_region(outputs: Outputs, number: int) -> Outputs:
    """The outputs with only one region's channel; fields without classes stay as they are."""

    def one(x: Tensor | None) -> Tensor | None:
        channel = number + 1 if x is not None and x.shape[1] > 1 else number
        return None if x is None else x[:, channel : channel + 1]

    changed = {}
    for field in fields(outputs):
        value = getattr(outputs, field.name)
        if field.name in ("logits", "fused", "fine"):
            changed[field.name] = one(value)
        elif field.name in ("side_outputs", "upsampled"):
            changed[field.name] = {name: one(x) for name, x in value.items()}
    return replace(outputs, **changed)


@dataclass(frozen=True)
class RegionProbabilities:
    """Deployment: `deploy` applied to each region's channel, (B, R, *space)."""

    deploy: Callable[[Outputs], Probs]
    count: int

    def __call__(self, outputs: Outputs) -> Probs:
        return torch.cat([self.deploy(of_region(outputs, number)) for number in range(self.count)], 1)
