"""A variational autoencoder's decoder on the bottleneck, compared with µ-Net's tied decoder.

Paper: Myronenko 2018, "3D MRI brain tumor segmentation using autoencoder regularization",
https://arxiv.org/abs/1810.11654, with µ-Net's channels (and in 2-D), so that its levels match the decoder's.
Departs from it: the backbone's kind of normalisation after each convolution, and the reconstruction as logits of grey
values in [0, 1]. The code's size depends on the image's, so an image of another size than `patch` is pooled to fit.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsnotes.networks.base import Backbone, Features, Head
from dsnotes.networks.blocks import CONV, LINEAR, DoubleConv, norm_of, normalise
from dsnotes.networks.mu_net import require_channels
from dsnotes.shapes import Image

LATENT = 128
NARROW = 16  # channels before the code
POOL = {2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d}


class VariationalDecoder(Head):
    """7,531,409 parameters for patches of 240² or 256² with 1024 channels in the bottleneck.

    The code is z = mean + exp(log variance / 2) · noise in training and z = mean otherwise; the decoder has no skips.
    """

    def __init__(self, backbone: Backbone, *, patch: tuple[int, ...] | None = None, latent: int = LATENT) -> None:
        super().__init__()
        dims, deepest = backbone.dims, backbone.levels["bottleneck"]
        self.dims, self.latent, channels = dims, latent, deepest.channels
        below = [-(-n // s) for n, s in zip(patch or (256,) * dims, deepest.stride, strict=True)]
        self.grid = tuple(-(-n // 2) for n in below)  # of the map that is flattened
        flat = NARROW * torch.Size(self.grid).numel()
        norm = norm_of(backbone)
        self.squeeze = nn.Sequential(
            normalise(norm, dims, channels), nn.ReLU(), CONV[dims](channels, NARROW, 3, stride=2, padding=1)
        )
        self.to_code, self.from_code = nn.Linear(flat, 2 * latent), nn.Linear(latent, flat)
        self.widen = CONV[dims](NARROW, channels, 1)
        halvings = [channels // 2**i for i in range(len(backbone.sides()) + 1)]
        self.stages = nn.ModuleList(
            nn.ModuleDict({"halve": CONV[dims](a, b, 1), "block": DoubleConv(b, b, dims=dims, norm=norm)})
            for a, b in pairwise(halvings)
        )
        self.names = list(backbone.sides())[::-1]
        require_channels(
            dict(zip(reversed(self.names), halvings[:0:-1], strict=True)), backbone, "the variational decoder"
        )
        self.deepest = f"stride{max(deepest.stride)}"
        self.output = CONV[dims](halvings[-1], backbone.in_channels, 1)

    def forward(self, features: Features, image: Image | None) -> dict:
        bottleneck = features.bottleneck
        squeezed = POOL[self.dims](self.squeeze(bottleneck), self.grid)
        mean, log_variance = self.to_code(squeezed.flatten(1)).chunk(2, dim=1)  # (B, latent) each
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean) if self.training else mean
        x = self.widen(self.from_code(z).relu().unflatten(1, (NARROW, *self.grid)))
        x = self.up(x, bottleneck.shape[2:])  # not by a factor of 2: 240 / 32 is fractional
        maps = {}
        for name, stage in zip(self.names, self.stages, strict=True):
            x = maps[name] = stage["block"](self.up(stage["halve"](x), [2 * n for n in x.shape[2:]]))
        return {
            "restored": self.output(x),
            "restored_features": {**dict(reversed(maps.items())), self.deepest: bottleneck},
            "latent": {"mean": mean, "log_variance": log_variance},
        }

    def up(self, x: Tensor, size: list[int] | torch.Size) -> Tensor:
        return functional.interpolate(x, size=tuple(size), mode=LINEAR[self.dims])
