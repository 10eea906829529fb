"""The interface of every network: a backbone with named levels, and heads that read them.

A backbone does not depend on the supervision. A head is built from `backbone.levels` alone, so that it fits any
backbone that has the levels it reads. A `Network` is one backbone with its heads.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dsnotes.shapes import Image, Outputs


class Level(NamedTuple):
    """A feature map that a head can read: its channels, and its stride along each axis in voxels of the input."""

    channels: int
    stride: tuple[int, ...]


@dataclass(frozen=True)
class Features:
    """The feature maps of a backbone; each dict is ordered finest first, with keys "stride1", "stride2", …

    After `Backbone.encode` the decoder is empty and `logits` is None.
    """

    encoder: dict[str, Tensor]
    bottleneck: Tensor | None  # None if a wrapped network has no level of that name
    decoder: dict[str, Tensor]
    logits: Tensor | None
    fine: Tensor | None = None  # as in `Outputs`

    def __getitem__(self, level: str) -> Tensor:
        """The map of a level, by its name in `Backbone.levels`, such as "decoder.stride4"."""
        part, _, stride = level.partition(".")
        return getattr(self, part)[stride] if stride else getattr(self, part)


class Backbone(nn.Module):
    """forward(image) -> Features.

    `levels` names every map: "encoder.stride1" …, "bottleneck", "decoder.stride1" …, finest first within each part.
    Each axis of the input must be divisible by `stride`.
    """

    levels: dict[str, Level]
    stride: tuple[int, ...]
    in_channels: int
    classes: int

    @property
    def dims(self) -> int:
        return len(self.stride)

    def encode(self, image: Image) -> Features:
        """The encoder's maps and the bottleneck. Subclasses override this to skip the decoder."""
        features = self(image)
        return Features(features.encoder, features.bottleneck, {}, None)

    def sides(self) -> dict[str, Level]:
        """The decoder's levels, finest first, without their prefix: {"stride1": Level(...), …}."""
        return {name.removeprefix("decoder."): at for name, at in self.levels.items() if name.startswith("decoder.")}


class Head(nn.Module):
    """forward(features, image) -> some fields of `Outputs`. Heads with `deployed` are kept after training."""

    deployed = False


class Network(nn.Module):
    """A backbone and its heads. forward(image) -> Outputs, in training and in evaluation."""

    def __init__(self, backbone: Backbone, heads: dict[str, Head] | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads or {})

    def forward(self, image: Image, *, heads: Collection[str] | None = None) -> Outputs:
        """`heads` names the heads to compute; None means all."""
        require_divisible(image, self.backbone.stride)
        require_input(image, getattr(self.backbone, "in_channels", None), next(self.parameters(), None))
        features = self.backbone(image)
        maps = dict(features.decoder)
        if features.bottleneck is not None:
            maps[f"stride{max(self.backbone.levels['bottleneck'].stride)}"] = features.bottleneck
        fields: dict = {
            "logits": features.logits,
            "features": maps,
            "fine": features.fine,
        }
        for name, head in self.heads.items():
            if heads is not None and name not in heads:
                continue
            given = head(features, image)
            if clash := fields.keys() & given.keys():
                raise ValueError(
                    f"head {name!r} returns {sorted(clash)}, which another part of this network returns already. "
                    f"Keep one of them: the heads are {list(self.heads)}."
                )
            fields.update(given)
        return Outputs(**fields)

    def deployed(self) -> Network:
        """The network after training: the same weights, without the heads that only training needs."""
        return Network(self.backbone, {name: head for name, head in self.heads.items() if head.deployed})


def require_input(image: Tensor, channels: int | None, weight: Tensor | None) -> None:
    """Check the image's channels and dtype, with clearer messages than the first convolution gives."""
    if channels is not None and image.shape[1] != channels:
        came = f"{image.shape[1]} channel{'s' * (image.shape[1] != 1)} (shape {tuple(image.shape)})"
        raise ValueError(
            f"the image has {came}, but this network takes {channels}. Build it with in_channels={image.shape[1]}, or "
            f"select channels: image[:, :{channels}]."
        )
    if not image.is_floating_point():
        raise TypeError(f"the image has dtype {image.dtype}, but networks compute in floats. Pass image.float().")
    if weight is None or image.dtype == weight.dtype or torch.is_autocast_enabled(image.device.type):
        return
    remedy = "image.float()" if weight.dtype == torch.float32 else f"image.to({weight.dtype})"
    raise TypeError(f"the image has dtype {image.dtype}, but the weights are {weight.dtype}. Pass {remedy}.")


def require_divisible(image: Tensor, stride: tuple[int, ...]) -> None:
    """Check that the image has the network's number of axes and is divisible by its total stride."""
    size = tuple(image.shape[2:])
    if len(size) != len(stride):
        remedy = f"Pass (batch, channel, *space) with {len(stride)} spatial axes."
        if len(size) in (2, 3):
            remedy = f"Build it with dims={len(size)}, or pass {len(stride)} spatial axes after (batch, channel)."
        elif image.ndim == len(stride):
            remedy = "Add batch and channel: image[None, None]."
        elif image.ndim == len(stride) + 1:
            remedy = "Add the missing axis: image[None] for the batch, or image[:, None] for the channel."
        raise ValueError(
            f"the image of shape {tuple(image.shape)} has {len(size)} spatial axes {size}, but this network is "
            f"{len(stride)}-D. {remedy}"
        )
    if any(n % s for n, s in zip(size, stride, strict=True)):
        padded = tuple(-(-n // s) * s for n, s in zip(size, stride, strict=True))
        raise ValueError(
            f"image size {size} is not divisible by {stride}, this network's total stride. "
            f"Pad it to {padded} (dsnotes.data.patches.pad_to), or predict with a patch of that size."
        )
