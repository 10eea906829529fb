"""Critics, which an adversarial step trains beside the network.

DSNet's critic classifies every pixel on its own. SRGAN's classifies a whole image; it ends in a mean over space, so
that it takes any size, where Ledig et al. flatten crops of 96².
"""

from __future__ import annotations

from torch import nn


class PixelCritic(nn.Sequential):
    """One logit per pixel, from that pixel alone: are image and soft mask there a true pair?"""

    def __init__(self, channels: int = 2, width: int = 64) -> None:
        super().__init__(
            nn.Conv2d(channels, width, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, 2 * width, 1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * width, 1, 1, bias=False),
        )


class ImageCritic(nn.Sequential):
    """One logit per image: is it a true one? Eight 3x3 convolutions, every second with stride 2."""

    def __init__(self, channels: int = 1, width: int = 64) -> None:
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        n_in = width
        for n_out, stride in [(width, 2), *((width * f, s) for f in (2, 4, 8) for s in (1, 2))]:
            layers += [nn.Conv2d(n_in, n_out, 3, stride, 1), nn.BatchNorm2d(n_out), nn.LeakyReLU(0.2, inplace=True)]
            n_in = n_out
        layers += [
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(n_in, 2 * n_in, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * n_in, 1, 1),
        ]  # (B, 1, 1, 1)
        super().__init__(*layers)
