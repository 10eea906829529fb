"""The contract every network keeps: a backbone that names its levels, and heads that read them.

A backbone knows nothing of supervision. A head is built from `backbone.levels` alone, so that any head fits
any backbone that has the levels it asks for; a `Network` is one backbone with the heads that were asked for.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dsnotes.shapes import Image, Outputs


class Level(NamedTuple):
    """A map that a head can read: its channels, and the input's voxels per voxel of it along each axis."""

    channels: int
    stride: tuple[int, ...]


@dataclass(frozen=True)
class Features:
    """Everything a backbone computes on the way; each dict finest first, keyed "stride1", "stride2", …

    On the way down alone (`Backbone.encode`) the decoder is empty and there are no logits.
    """

    encoder: dict[str, Tensor]
    bottleneck: Tensor | None  # None where a wrapped network named none
    decoder: dict[str, Tensor]
    logits: Tensor | None
    fine: Tensor | None = None  # as in `Outputs`

    def __getitem__(self, level: str) -> Tensor:
        """The map of a level by the name it has in `Backbone.levels`, such as "decoder.stride4"."""
        part, _, stride = level.partition(".")
        return getattr(self, part)[stride] if stride else getattr(self, part)


class Backbone(nn.Module):
    """forward(image) -> Features.

    `levels` names every map: "encoder.stride1" …, "bottleneck", "decoder.stride1" …, finest first within a part.
    `stride` is what each axis of the input must be divisible by.
    """

    levels: dict[str, Level]
    stride: tuple[int, ...]
    in_channels: int
    classes: int

    @property
    def dims(self) -> int:
        return len(self.stride)

    def encode(self, image: Image) -> Features:
        """The way down alone; a backbone that can stop there does."""
        features = self(image)
        return Features(features.encoder, features.bottleneck, {}, None)

    def sides(self) -> dict[str, Level]:
        """The decoder's levels, finest first, without their prefix: {"stride1": Level(...), …}."""
        return {name.removeprefix("decoder."): at for name, at in self.levels.items() if name.startswith("decoder.")}


class Head(nn.Module):
    """forward(features, image) -> some fields of `Outputs`. `deployed` heads stay when training is over."""

    deployed = False


class Network(nn.Module):
    """A backbone and its heads; forward(image) -> Outputs, the same type in training and evaluation."""

    def __init__(self, backbone: Backbone, heads: dict[str, Head] | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads or {})

    def forward(self, image: Image, *, heads: Collection[str] | None = None) -> Outputs:
        """`heads` names those that are to answer; None is all of them."""
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
                    f"head {name!r} gives {sorted(clash)}, which another part of this network gives already. "
                    f"Keep one of them: heads are {list(self.heads)}."
                )
            fields.update(given)
        return Outputs(**fields)

    def deployed(self) -> Network:
        """What is left when training is over: the same weights without the heads that only training needs."""
        return Network(self.backbone, {name: head for name, head in self.heads.items() if head.deployed})


def require_input(image: Tensor, channels: int | None, weight: Tensor | None) -> None:
    """Refuse what the first convolution would refuse in its own words."""
    if channels is not None and image.shape[1] != channels:
        raise ValueError(
            f"an image of {image.shape[1]} channel(s) came, shape {tuple(image.shape)}, but this network takes "
            f"{channels}. Build it with in_channels={image.shape[1]}, or choose channels: image[:, :{channels}]."
        )
    if not image.is_floating_point():
        raise TypeError(f"an image of {image.dtype} came; a network computes with floats. Pass image.float().")
    if weight is None or image.dtype == weight.dtype or torch.is_autocast_enabled(image.device.type):
        return
    remedy = "image.float()" if weight.dtype == torch.float32 else f"image.to({weight.dtype})"
    raise TypeError(f"an image of {image.dtype} came, but the weights are {weight.dtype}. Pass {remedy}.")


def require_divisible(image: Tensor, stride: tuple[int, ...]) -> None:
    """Refuse an image that the network cannot halve as often as it wants to."""
    size = tuple(image.shape[2:])
    if len(size) != len(stride):
        remedy = f"Pass (batch, channel, *space) with {len(stride)} axes of space."
        if len(size) in (2, 3):
            remedy = f"Build it with dims={len(size)}, or pass {len(stride)} spatial axes after (batch, channel)."
        elif image.ndim == len(stride):
            remedy = "Add batch and channel: image[None, None]."
        elif image.ndim == len(stride) + 1:
            remedy = "Add the batch to (channel, *space), image[None], or the channel to a batch, image[:, None]."
        raise ValueError(
            f"an image with {len(size)} spatial axes {size}, shape {tuple(image.shape)}, came, but this network is "
            f"{len(stride)}-D. {remedy}"
        )
    if any(n % s for n, s in zip(size, stride, strict=True)):
        padded = tuple(-(-n // s) * s for n, s in zip(size, stride, strict=True))
        raise ValueError(
            f"image size {size} is not divisible by {stride}, this network's total stride. "
            f"Pad it to {padded} (dsnotes.data.patches.pad_to), or predict with a patch of that size."
        )
