"""Heads that several supervisions use; each is built from `backbone.levels` alone.

A decoder level is named by its stride: "stride1", "stride2", … "stride1" is the network's own output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsnotes.networks.base import Backbone, Features, Head, Level
from dsnotes.networks.blocks import CONV, LINEAR, UP_CONV, conv_norm_relu, linear_up_sampling, norm_of
from dsnotes.networks.mu_net import AutoEncoder, TiedDecoder
from dsnotes.networks.variational_decoder import VariationalDecoder
from dsnotes.shapes import Image, n_logits

__all__ = [
    "AutoEncoder",
    "GlobalHeads",
    "InterpolatedHeads",
    "LocalHeads",
    "PerLevel",
    "RestorationDecoder",
    "SideHeads",
    "TiedDecoder",
    "UpsampledHeads",
    "VariationalDecoder",
    "choose_levels",
]


def choose_levels(backbone: Backbone, levels: tuple[str, ...] | None) -> tuple[str, ...]:
    """The decoder levels in `levels`, or all of them, finest first; an unknown level is an error."""
    offered = tuple(backbone.sides())
    unknown = sorted(set(levels or ()) - set(offered))
    if unknown:
        raise ValueError(f"levels {unknown} do not exist: this backbone's decoder has {list(offered)}. Use those.")
    return offered if levels is None else tuple(name for name in offered if name in levels)


class PerLevel(Head):
    """One branch per decoder level, collected in one field of `Outputs`; "stride1" is the network's own output.

    With `bottleneck=True` the bottleneck is added as the coarsest level.
    """

    field = "side_outputs"

    def __init__(self, backbone: Backbone, *, levels: tuple[str, ...] | None = None, bottleneck: bool = False) -> None:
        super().__init__()
        read = {name: backbone.sides()[name] for name in choose_levels(backbone, levels)}
        if bottleneck:
            deepest = backbone.levels["bottleneck"]
            read[f"stride{max(deepest.stride)}"] = deepest
        self.levels = tuple(read)
        self.branches = nn.ModuleDict(
            {name: self.branch(backbone, level) for name, level in read.items() if name != "stride1"}
        )

    def branch(self, backbone: Backbone, level: Level) -> nn.Module:
        raise NotImplementedError

    def forward(self, features: Features, image: Image) -> dict:
        return {
            self.field: {
                name: features.logits
                if name == "stride1"
                else self.branches[name](features.decoder.get(name, features.bottleneck))
                for name in self.levels
            }
        }


class SideHeads(PerLevel):
    """A 1x1 convolution per level: predictions at the level's own size."""

    def __init__(self, backbone: Backbone, *, levels: tuple[str, ...] | None = None, bias: bool = True) -> None:
        self.bias = bias
        super().__init__(backbone, levels=levels)

    def branch(self, backbone: Backbone, level: Level) -> nn.Module:
        return CONV[backbone.dims](level.channels, n_logits(backbone.classes), 1, bias=self.bias)


class LocalHeads(PerLevel):
    """A 3x3 convolution to `width` maps, norm, ReLU, then 1x1: MSDS-UNet's local branch."""

    def __init__(self, backbone: Backbone, *, levels: tuple[str, ...] | None = None, width: int = 6) -> None:
        self.width = width
        super().__init__(backbone, levels=levels)

    def branch(self, backbone: Backbone, level: Level) -> nn.Module:
        return nn.Sequential(
            conv_norm_relu(level.channels, self.width, dims=backbone.dims, norm=norm_of(backbone)),
            CONV[backbone.dims](self.width, n_logits(backbone.classes), 1),
        )


class UpsampledHeads(PerLevel):
    """A 1x1 convolution, then a learned upsampling to full size, initialised to linear interpolation."""

    field = "upsampled"
    deployed = True

    def branch(self, backbone: Backbone, level: Level) -> nn.Module:
        channels = n_logits(backbone.classes)
        return nn.Sequential(
            CONV[backbone.dims](level.channels, channels, 1), linear_up_sampling(channels, level.stride)
        )


class GlobalHeads(UpsampledHeads):
    """Upsampled outputs and their weights α: MSDS-UNet's global branch.

    α is a buffer and saved with the network: GradNorm changes it, and deployment needs it.
    """

    alpha: Tensor

    def __init__(self, backbone: Backbone, *, levels: tuple[str, ...] | None = None, alpha: tuple[float, ...]) -> None:
        super().__init__(backbone, levels=levels)
        if len(alpha) != len(self.levels):
            raise ValueError(
                f"{len(alpha)} weights alpha={alpha} came for {len(self.levels)} sides {list(self.levels)}. "
                f"Pass one per side, finest first."
            )
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float32))

    def forward(self, features: Features, image: Image) -> dict:
        return super().forward(features, image) | {"side_weights": dict(zip(self.levels, self.alpha, strict=True))}


class InterpolatedHeads(PerLevel):
    """A convolution to scores, then fixed upsampling to full size: mode "nearest" or "linear"."""

    field = "upsampled"

    def __init__(self, backbone: Backbone, *, kernel: int = 1, mode: str = "nearest", **which) -> None:
        self.kernel, self.mode = kernel, mode
        super().__init__(backbone, **which)

    def branch(self, backbone: Backbone, level: Level) -> nn.Module:
        dims = backbone.dims
        score = CONV[dims](level.channels, n_logits(backbone.classes), self.kernel, padding=self.kernel // 2)
        mode = LINEAR[dims] if self.mode == "linear" else self.mode
        return nn.Sequential(score, nn.Upsample(scale_factor=level.stride, mode=mode))


class RestorationDecoder(Head):
    """A second decoder without skips that restores the image from the bottleneck: logits of grey values in [0, 1]."""

    def __init__(self, backbone: Backbone, *, norm: str = "batch") -> None:
        super().__init__()
        dims = backbone.dims
        strides = [level.stride for level in backbone.sides().values()]  # finest first
        n_in, stages, below = backbone.levels["bottleneck"].channels, [], backbone.levels["bottleneck"].stride
        for stride in reversed(strides):
            n_out, step = n_in // 2, tuple(b // s for b, s in zip(below, stride, strict=True))
            stages += [
                UP_CONV[dims](n_in, n_out, step, stride=step),
                conv_norm_relu(n_out, n_out, dims=dims, norm=norm),
                conv_norm_relu(n_out, n_out, dims=dims, norm=norm),
            ]
            n_in, below = n_out, stride
        self.stages = nn.Sequential(*stages, CONV[dims](n_in, backbone.in_channels, 1))

    def forward(self, features: Features, image: Image) -> dict[str, Tensor]:
        return {"restored": self.stages(features.bottleneck)}
