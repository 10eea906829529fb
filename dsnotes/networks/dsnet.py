"""DSNet: features of a frozen super-resolution network, fused selectively, in front of a U-Net with attention blocks.

Paper: Wang et al., "Accurate Lung Nodules Segmentation with Detailed Representation Transfer and Soft Mask
Supervision", https://arxiv.org/abs/2007.14556 (version 2). It gives no widths: here they are 64…1024 (57.8 M
parameters), with 64 maps after the fusion.
Departs from it: the mask is predicted at the super-resolved size (`Outputs.fine`); `logits` is the logit of the mean
probability over each pixel of the image, so that deployment and scores stay on the image's grid.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import conv_norm_relu
from dsnotes.networks.srgan import Generator, enlarged
from dsnotes.networks.stage import Stage
from dsnotes.networks.teacher import Teacher
from dsnotes.shapes import Image, n_logits

GATE_MOMENTUM = 0.01  # batch norm in CBAM's spatial gate, as in CBAM's release
FUSIONS = ("interpolated", "super-resolved", "edrfm", "sdrfm")


class CBAM(nn.Module):
    """Attention over channels, then over pixels. Woo et al. 2018, https://arxiv.org/abs/1807.06521"""

    def __init__(self, channels: int, reduction: int = 16, momentum: float = GATE_MOMENTUM) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.channel = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.space = nn.Sequential(nn.Conv2d(2, 1, 7, padding=3, bias=False), nn.BatchNorm2d(1, momentum=momentum))

    def gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, 1, 1) and (B, 1, H, W), both in (0, 1)."""
        channel = (self.channel(x.mean((2, 3))) + self.channel(x.amax((2, 3)))).sigmoid()[:, :, None, None]
        y = channel * x
        return channel, self.space(torch.cat([y.amax(1, keepdim=True), y.mean(1, keepdim=True)], dim=1)).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        channel, space = self.gates(x)
        return space * (channel * x)


class Block(Stage):
    """3x3, norm, ReLU, 3x3, norm, CBAM, and a shortcut, which is a 1x1 convolution where the channels change."""

    def __init__(self, n_in: int, n_out: int, momentum: float = GATE_MOMENTUM) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_norm_relu(n_in, n_out, dims=2),
            nn.Conv2d(n_out, n_out, 3, padding=1),
            nn.BatchNorm2d(n_out),
            CBAM(n_out, momentum=momentum),
        )
        self.shortcut = (
            nn.Identity() if n_in == n_out else nn.Sequential(nn.Conv2d(n_in, n_out, 1), nn.BatchNorm2d(n_out))
        )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.body(x) + self.shortcut(x))


class EDRFM(nn.Module):
    """Efficient fusion: interpolated image, super-resolved image and features, concatenated, then one convolution."""

    def __init__(self, channels: int = 1, features: int = 64, width: int = 64) -> None:
        super().__init__()
        self.fuse = conv_norm_relu(2 * channels + features, width, dims=2)

    def forward(self, interpolated: Tensor, taught: Tensor) -> Tensor:
        return self.fuse(torch.cat([interpolated, taught], dim=1))


class SDRFM(nn.Module):
    """Selective fusion a F_c + (1 - a) F_d of the context F_c, from both images, and the detail F_d, from the features.

    a is one weight per channel, computed from the image: softmax over the two branches of FC(ReLU(FC(GAP(F_c + F_d)))).
    """

    def __init__(self, channels: int = 1, features: int = 64, width: int = 64) -> None:
        super().__init__()
        hidden = max(width // 16, 32)
        self.channels = channels
        self.context = conv_norm_relu(2 * channels, width, dims=2)
        self.detail = conv_norm_relu(features, width, dims=2)
        self.squeeze = nn.Sequential(nn.Linear(width, hidden), nn.ReLU())
        self.choose = nn.ModuleList(nn.Linear(hidden, width) for _ in range(2))

    def weights(self, context: Tensor, detail: Tensor) -> Tensor:
        """(2, B, width, 1, 1): the weights of context and detail, which sum to 1."""
        z = self.squeeze((context + detail).mean((2, 3)))
        return torch.stack([branch(z) for branch in self.choose]).softmax(0)[..., None, None]

    def branches(self, interpolated: Tensor, taught: Tensor) -> tuple[Tensor, Tensor]:
        raised, features = taught[:, : self.channels], taught[:, self.channels :]
        return self.context(torch.cat([raised, interpolated], dim=1)), self.detail(features)

    def forward(self, interpolated: Tensor, taught: Tensor) -> Tensor:
        context, detail = self.branches(interpolated, taught)
        a, b = self.weights(context, detail)
        return a * context + b * detail


class DSNet(Backbone):
    """`fusion` says what the U-Net sees: the "interpolated" image, the "super-resolved" one, or "edrfm" or "sdrfm".

    The U-Net's grid is `scale` times finer than the image's; a `generator` has its own scale. Level names are strides
    relative to the image: with scale 4 the maps at a quarter and half a pixel have no name, and no head reads them.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 2,
        dims: int = 2,
        width: int = 64,
        fusion: str = "sdrfm",
        generator: Generator | None = None,
        scale: int = 4,
        fused: int | None = None,
        factors: tuple[int, ...] = (1, 2, 4, 8, 16),
        gate_momentum: float = GATE_MOMENTUM,
    ) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise ValueError(f"fusion={fusion!r} is unknown. Choose one of {list(FUSIONS)}.")
        if dims != 2:
            raise ValueError(f"dims={dims}, but super-resolution works on slices here. Build it with dims=2.")
        if fusion != "interpolated":
            generator = generator or Generator(channels=in_channels, width=width, scale=scale)
            if generator.channels != in_channels:
                raise ValueError(
                    f"the teacher takes images with channels={generator.channels}, but in_channels={in_channels}. "
                    f"Train a teacher on such images, or build with in_channels={generator.channels}."
                )
            self.teacher = Teacher(generator, with_features=fusion in ("edrfm", "sdrfm"))
            scale = generator.scale
        if scale < 1 or 16 % scale:
            raise ValueError(f"scale={scale} does not divide the U-Net's stride of 16. Pass 1, 2 or 4.")
        self.in_channels, self.classes, self.scale, self.fusion = in_channels, classes, scale, fusion
        widths = [width * factor for factor in factors]
        self.stride = (2 ** (len(widths) - 1) // scale,) * 2
        strides = {f"stride{2**i // scale}": (n, 2**i // scale) for i, n in enumerate(widths[:-1]) if 2**i >= scale}
        self.levels = {
            **{f"encoder.{name}": Level(n, (s, s)) for name, (n, s) in strides.items()},
            "bottleneck": Level(widths[-1], self.stride),
            **{f"decoder.{name}": Level(n, (s, s)) for name, (n, s) in strides.items()},
        }
        n_in = in_channels
        if fusion in ("edrfm", "sdrfm"):
            n_in = fused or width
            module = EDRFM if fusion == "edrfm" else SDRFM
            self.fuse = module(in_channels, self.teacher.generator.width, n_in)
        self.encoder = nn.ModuleList(
            Block(a, b, gate_momentum) for a, b in zip([n_in, *widths[1:]], widths, strict=True)
        )
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 4, 2, 1), nn.ReLU(inplace=True)) for a, b in pairwise(widths)
        )
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(b, a, 4, 2, 1), nn.ReLU(inplace=True)) for a, b in pairwise(widths)
        )
        self.decoder = nn.ModuleList(Block(2 * n, n, gate_momentum) for n in widths[:-1])
        self.output = nn.Conv2d(width, n_logits(classes), 1)

    def see(self, image: Image) -> Tensor:
        """The input of the U-Net, on the fine grid."""
        if self.fusion == "super-resolved":
            return self.teacher(image)
        interpolated = enlarged(image, self.scale)
        return interpolated if self.fusion == "interpolated" else self.fuse(interpolated, self.teacher(image))

    def forward(self, image: Image) -> Features:
        x, maps = self.see(image), []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else self.down[level - 1](x))
            maps.append(x)  # (B, widths[level], scale · size / 2^level)
        bottleneck, decoded = maps.pop(), []
        for level in reversed(range(len(maps))):
            x = self.decoder[level](torch.cat([self.up[level](x), maps[level]], dim=1))
            decoded.insert(0, x)
        fine = self.output(x)
        encoder, decoder = (
            {f"stride{2**i // self.scale}": x for i, x in enumerate(part) if 2**i >= self.scale}
            for part in (maps, decoded)
        )
        if self.scale == 1:
            return Features(encoder, bottleneck, decoder, fine)
        return Features(encoder, bottleneck, decoder, mean_logits(fine, self.scale), fine)


def mean_logits(fine: Tensor, scale: int) -> Tensor:
    """Logits of the mean probability in every `scale` × `scale` cell, in float32 and without saturation."""
    b, k, h, w = fine.shape
    cells = fine.float().view(b, k, h // scale, scale, w // scale, scale)
    if k > 1:
        return cells.log_softmax(1).logsumexp((3, 5)) - torch.tensor(float(scale**2)).log()
    log = nn.functional.logsigmoid
    return log(cells).logsumexp((3, 5)) - log(-cells).logsumexp((3, 5))
