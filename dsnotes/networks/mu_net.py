"""µ-Net: a U-Net with a second decoder that reuses the encoder's kernels, transposed.

Paper: Yuan et al., "µ-Net: Medical image segmentation using efficient and effective deep supervision".
The paper does not say, so chosen here: norm and ReLU after each transposed convolution, nearest upsampling (the
parameter-free counterpart of max-pooling), and reconstruction of images scaled to [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsnotes.networks.base import Backbone, Features, Head
from dsnotes.networks.blocks import CONV, norm_of, normalise
from dsnotes.networks.unet import UNet
from dsnotes.shapes import Image

TRANSPOSED = {2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def require_channels(given: dict[str, int], backbone: Backbone, who: str) -> None:
    """Check that a teacher's maps have the same channels as the decoder's maps that learn from them."""
    wanted = {name: level.channels for name, level in backbone.sides().items()}
    if given != wanted:
        raise ValueError(
            f"{who} has channels {given}, but the decoder of {type(backbone).__name__} has {wanted}: their features "
            f"cannot be compared. Use PseudoLabels('deep'), which has no second decoder, or a backbone such as unet-2d."
        )


class TiedDecoder(Head):
    """From the bottleneck back to the image by conv_transpose(u, w) with the encoder's w: the adjoint of its conv.

    Only biases and norms are new parameters (8,833 at the paper's widths). The kernels remain the encoder's, held by an
    unregistered reference so that no weight has two names; their gradient is the sum over both paths. The map at
    "stride2^i" has as many channels as the U-Net decoder's at that level.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.dims = backbone.dims
        if not (hasattr(backbone, "mirrored") or (hasattr(backbone, "encoder") and hasattr(backbone, "bottleneck"))):
            raise ValueError(
                f"the tied decoder mirrors an encoder level by level, but {type(backbone).__name__} has no encoder and "
                f"bottleneck. Use PseudoLabels('deep'), or a backbone such as unet-2d or unet++."
            )
        if hasattr(backbone, "mirrored"):
            convs = [list(pair) for pair in backbone.mirrored()]
        else:
            blocks = [*backbone.encoder, backbone.bottleneck]
            convs = [
                [m for m in block.modules() if isinstance(m, CONV[self.dims]) and m.kernel_size[0] > 1]
                for block in blocks
            ]
        if any(len(pair) != 2 for pair in convs):
            raise ValueError(
                f"the tied decoder mirrors two 3x3 convolutions per level, this encoder has {[len(c) for c in convs]}. "
                f"Use a backbone with plain double convolutions, such as unet-2d or unet++."
            )
        self._encoder = (convs,)
        self.bias_b = nn.ParameterList(torch.zeros(b.in_channels) for _, b in convs)
        self.bias_a = nn.ParameterList(torch.zeros(a.in_channels) for a, _ in convs)
        require_channels(
            {f"stride{2**i}": b.in_channels for i, (_, b) in enumerate(convs[:-1])}, backbone, "the tied decoder"
        )
        norm = norm_of(backbone)
        self.deepest = f"stride{2 ** (len(convs) - 1)}"
        self.norm_b = nn.ModuleList(normalise(norm, self.dims, b.in_channels) for _, b in convs)
        self.norm_a = nn.ModuleList(normalise(norm, self.dims, a.in_channels) for a, _ in convs[1:])

    def forward(self, features: Features, image: Image | None) -> dict:
        x, maps, (convs,) = features.bottleneck, {}, self._encoder
        for level in reversed(range(len(convs))):
            a, b = convs[level]
            x = functional.relu(self.norm_b[level](self.back(x, b, self.bias_b[level])))
            if level < len(convs) - 1:
                maps[f"stride{2**level}"] = x
            x = self.back(x, a, self.bias_a[level])
            if level > 0:
                x = functional.relu(self.norm_a[level - 1](x))
                if max(a.stride) == 1:  # the encoder pools; the adjoint of a strided convolution is up already
                    x = functional.interpolate(x, scale_factor=2, mode="nearest")
        return {
            "restored": x,
            "restored_features": {**dict(reversed(maps.items())), self.deepest: features.bottleneck},  # shared by both
        }

    def back(self, x: Tensor, conv: nn.Module, bias: Tensor) -> Tensor:
        more = tuple(stride - 1 for stride in conv.stride)
        return TRANSPOSED[self.dims](
            x, conv.weight, bias, stride=conv.stride, padding=conv.padding, output_padding=more
        )


class AutoEncoder(Head):
    """U-Net-Auto's separate teacher: the same U-Net without skips, with 27,908,929 parameters of its own."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        levels = backbone.sides()
        width = next(iter(levels.values())).channels
        require_channels({f"stride{2**i}": width * 2**i for i in range(len(levels))}, backbone, "the autoencoder")
        self.net = WithoutSkips(
            in_channels=backbone.in_channels,
            classes=2,
            dims=backbone.dims,
            width=width,
            depth=len(levels) + 1,
            outputs=backbone.in_channels,
            norm=norm_of(backbone),
        )

    def forward(self, features: Features | None, image: Image) -> dict:
        own = self.net(image)
        deepest = f"stride{max(self.net.stride)}"
        return {"restored": own.logits, "restored_features": {**own.decoder, deepest: own.bottleneck}}


class WithoutSkips(UNet):
    """A U-Net without skip connections."""

    def __init__(self, *, outputs: int, **settings) -> None:
        super().__init__(**settings)
        dims = settings["dims"]
        widths = [level.channels for level in self.sides().values()]
        block = type(self.decoder[0])
        self.skips = nn.ModuleList()
        self.decoder = nn.ModuleList(block(n, n, dims=dims, norm=settings["norm"]) for n in widths)
        self.output = CONV[dims](widths[0], outputs, 1)

    def forward(self, image: Image) -> Features:
        down = self.encode(image)
        decoder, x = {}, down.bottleneck
        for level in reversed(range(len(self.decoder))):
            x = decoder[f"stride{2**level}"] = self.decoder[level](self.up[level](x))
        return Features(down.encoder, down.bottleneck, dict(reversed(decoder.items())), self.output(x))
