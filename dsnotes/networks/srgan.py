"""SRGAN's generator, which enlarges an image and is trained against a critic to add plausible detail.

Paper: Ledig et al. 2017, https://arxiv.org/abs/1609.04802; trained on CT without labels as in DSNet,
https://arxiv.org/abs/2007.14556
Departs from them: the generator adds to the bicubic enlargement (its last convolution starts at 0) instead of producing
the whole image, so that an untrained one interpolates and a few minutes of training are visible; it standardises
images, so that it takes HU and windowed values alike; no tanh. For the critic see `networks.critic`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.shapes import Image


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.PReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Generator(nn.Module):
    """generator(image) -> the image enlarged `scale` times, and the last feature map: (B, width, scale · size)."""

    def __init__(self, *, channels: int = 1, width: int = 64, blocks: int = 16, scale: int = 4) -> None:
        super().__init__()
        if scale < 2 or scale & (scale - 1):
            raise ValueError(f"scale={scale}, but each stage of the generator doubles the size. Pass scale=2, 4 or 8.")
        self.channels, self.width, self.blocks, self.scale = channels, width, blocks, scale
        self.first = nn.Sequential(nn.Conv2d(channels, width, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(
            *(Residual(width) for _ in range(blocks)), nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        )
        self.raise_ = nn.Sequential(
            *(
                layer
                for _ in range(scale.bit_length() - 1)
                for layer in (nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())
            )
        )
        self.output = nn.Conv2d(width, channels, 9, padding=4)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, image: Image) -> tuple[Tensor, Tensor]:
        mean = image.mean((2, 3), keepdim=True)
        spread = image.std((2, 3), keepdim=True).clamp_min(1e-6)
        x = self.first((image - mean) / spread)
        features = self.raise_(x + self.body(x))
        return enlarged(image, self.scale) + spread * self.output(features), features


def enlarged(image: Tensor, scale: int) -> Tensor:
    """Bicubic enlargement by `scale`; 1 returns the image itself."""
    return image if scale == 1 else functional.interpolate(image, scale_factor=scale, mode="bicubic")


def reduced(image: Tensor, scale: int) -> Tensor:
    """Bicubic reduction by `scale`, antialiased."""
    return functional.interpolate(image, scale_factor=1 / scale, mode="bicubic", antialias=True)


def generator_of(weights: dict[str, Tensor]) -> Generator:
    """The generator in a run's weights; its sizes follow from the shapes of the weights."""
    start = "backbone.generator."
    own = {name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)}
    if "first.0.weight" not in own or "output.weight" not in own:
        raise ValueError(
            f"these weights hold no super-resolution generator ({', '.join(list(weights)[:3])}, …). Pass the "
            f"checkpoint.pt or best.pt of a run of dsnotes.papers.dsnet.super_resolution()."
        )
    width, channels = own["first.0.weight"].shape[:2]
    generator = Generator(
        channels=channels,
        width=width,
        blocks=len({name.split(".")[1] for name in own if name.startswith("body.") and ".body." in name}),
        scale=2 ** sum(name.startswith("raise_.") and value.ndim == 4 for name, value in own.items()),
    )
    generator.load_state_dict(own)
    return generator


class SRGAN(Backbone):
    """forward(image) reduces the image by `scale`, and the generator enlarges it again: training needs no labels.

    `logits` is the enlarged image, on the grid and in the units of the input.
    """

    def __init__(self, *, in_channels: int = 1, width: int = 64, blocks: int = 16, scale: int = 4) -> None:
        super().__init__()
        self.in_channels, self.classes, self.scale = in_channels, 2, scale
        self.generator = Generator(channels=in_channels, width=width, blocks=blocks, scale=scale)
        self.stride = (scale, scale)
        self.levels = {"bottleneck": Level(width, (1, 1))}

    def forward(self, image: Image) -> Features:
        raised, features = self.generator(reduced(image, self.scale))
        return Features({}, features, {}, raised)
