"""In-MRRN: residual streams at every resolution; each deeper stage reads and updates the finer streams in turn.

Paper: Jiang et al. 2019, https://doi.org/10.1109/TMI.2018.2857800, version 1 of the authors' release.
Departs from its figure as that release does: no active stream is upsampled; the decoder continues with the updated
streams of the encoder. MSDS-UNet's Table 13 gives 28.66 M parameters, this network has 38.15 M.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import CONV, LINEAR, MAX_POOL, conv_norm_relu
from dsnotes.networks.stage import Stage
from dsnotes.shapes import Image, n_logits

# The streams (1 is full size, 5 the deepest) that each stage reads and updates, one per unit.
PARTNERS = {2: (1, 1, 1), 3: (1, 2, 1), 4: (1, 3, 2, 1), 5: (1, 4, 3, 2, 1)}
DROPOUT = {2: nn.Dropout2d, 3: nn.Dropout3d}


class Residual(Stage):
    """x + one convolution of x."""

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        self.body = conv_norm_relu(channels, channels, dims=dims)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class StreamUnit(Stage):
    """(active, stream) -> both updated: two convolutions read the active and the pooled stream, a 1x1 writes back."""

    def __init__(self, n_in: int, active: int, stream: int, stride: int, dims: int) -> None:
        super().__init__()
        self.stride, self.mode = stride, LINEAR[dims]
        self.pool = MAX_POOL[dims](stride)
        self.body = nn.Sequential(
            conv_norm_relu(n_in + stream, active, dims=dims), conv_norm_relu(active, active, dims=dims)
        )
        self.write = CONV[dims](active, stream, 1)

    def forward(self, active: Tensor, stream: Tensor) -> tuple[Tensor, Tensor]:
        active = self.body(torch.cat([self.pool(stream), active], dim=1))
        written = functional.interpolate(self.write(active), scale_factor=self.stride, mode=self.mode)
        return active, stream + written


class InMRRN(Backbone):
    """`width` is 32 in the release; the streams at strides 1, 2, 4, 8 and 16 have 1, 2, 4, 8 and 16 times `width`."""

    def __init__(self, *, in_channels: int = 1, classes: int = 2, dims: int = 2, width: int = 32) -> None:
        super().__init__()
        self.in_channels, self.classes = in_channels, classes
        widths = {stage: width * 2 ** (stage - 1) for stage in range(1, 6)}
        at = {stage: Level(n, (2 ** (stage - 1),) * dims) for stage, n in widths.items()}
        self.stride = at[5].stride
        self.levels = {
            **{f"encoder.stride{max(at[s].stride)}": at[s] for s in (1, 2, 3, 4)},
            "bottleneck": at[5],
            **{f"decoder.stride{max(at[s].stride)}": at[s] for s in (1, 2, 3, 4)},
        }
        self.head = nn.Sequential(
            conv_norm_relu(in_channels, width, dims=dims), *(Residual(width, dims) for _ in range(3))
        )
        self.first = nn.Sequential(CONV[dims](width, width, 1), nn.ReLU())
        self.pool = nn.Sequential(MAX_POOL[dims](2), DROPOUT[dims](0.5))

        def stage(active: int, n_in: int) -> nn.ModuleList:
            """The units of one stage; the first takes `n_in` channels, those of the stream that was pooled into it."""
            units = []
            for partner in PARTNERS[active]:
                stride = 2 ** (active - partner)
                units.append(StreamUnit(n_in, widths[active], widths[partner], stride, dims))
                n_in = widths[active]
            return nn.ModuleList(units)

        self.down = nn.ModuleDict({f"stage{s}": stage(s, widths[s - 1]) for s in (2, 3, 4, 5)})
        self.up = nn.ModuleDict({f"stage{s}": stage(s, widths[s]) for s in (4, 3, 2)})
        self.end = nn.Sequential(*(Residual(width, dims) for _ in range(3)))
        self.output = CONV[dims](width, n_logits(classes), 1)

    def forward(self, image: Image) -> Features:
        x = self.head(image)
        streams = {1: self.first(x)}
        encoder, decoder = {"stride1": x}, {}
        active = self.pool(x)
        for stage in (2, 3, 4, 5):
            active, streams = self.by_turns(self.down[f"stage{stage}"], stage, active, streams)
            encoder[f"stride{2 ** (stage - 1)}"] = streams[stage] = active
            active = self.pool(active) if stage < 5 else active
        bottleneck = encoder.pop("stride16")
        for stage in (4, 3, 2):
            active, streams = self.by_turns(self.up[f"stage{stage}"], stage, streams[stage], streams)
            decoder[f"stride{2 ** (stage - 1)}"] = active
        y = decoder["stride1"] = self.end(streams[1])
        return Features(encoder, bottleneck, dict(reversed(decoder.items())), self.output(y))

    @staticmethod
    def by_turns(
        units: nn.ModuleList, stage: int, active: Tensor, streams: dict[int, Tensor]
    ) -> tuple[Tensor, dict[int, Tensor]]:
        streams = dict(streams)
        for unit, partner in zip(units, PARTNERS[stage], strict=True):
            active, streams[partner] = unit(active, streams[partner])
        return active, streams
