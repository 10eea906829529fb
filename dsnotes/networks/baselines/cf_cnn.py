"""CF-CNN: two branches of patches round a voxel, pooled finely at the centre and coarsely at the rim.

Paper: Wang et al. 2017, "Central focused convolutional neural networks: Developing a data-driven model for lung nodule
segmentation", https://doi.org/10.1016/j.media.2017.06.014; layers as three public re-implementations agree on them.
Departs from it: the table that fills up the central pooling is not public; ones and twos are filled in instead, which
gives the same sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsnotes.networks.voxelwise import Patchwise, Where, beside, resized, sections

SIDE, WIDE = 35, 65  # pixels of a patch; and of the wider one that is brought to the same size


def segments(size: int) -> list[int]:
    """How many pixels each output of central pooling stands for: 3 at the rim, then 2, 1 in the middle."""
    ones, twos, threes = size // 8, size // 4, size // 8
    rest = size - ones - 2 * twos - 3 * threes
    ones, twos = ones + rest % 2, twos + rest // 2
    left3, left2 = -(-threes // 2), -(-twos // 2)
    return [3] * left3 + [2] * left2 + [1] * ones + [2] * (twos - left2) + [3] * (threes - left3)


class CentralPool(nn.Module):
    """The maximum over rectangles, rows and columns cut into the same segments."""

    def __init__(self, size: int) -> None:
        super().__init__()
        lengths = torch.tensor(segments(size))
        first = lengths.cumsum(0) - lengths
        rows = torch.stack([first + torch.minimum(torch.full_like(first, k), lengths - 1) for k in range(3)])
        self.register_buffer("rows", rows, persistent=False)  # (3, outputs): a short segment repeats its last

    def forward(self, x: Tensor) -> Tensor:
        for axis in (2, 3):
            first, second, third = (x.index_select(axis, row) for row in self.rows)
            x = torch.maximum(torch.maximum(first, second), third)
        return x


class CeilPool(nn.Sequential):
    """Ordinary max-pooling that keeps a last odd pixel, which comes to the same sizes."""

    def __init__(self, size: int) -> None:
        super().__init__(nn.MaxPool2d(2, ceil_mode=True))


def unit(n_in: int, n_out: int) -> list[nn.Module]:
    return [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.PReLU()]


class Branch(nn.Sequential):
    """(N, C, 35, 35) -> (N, 25/3 width): six convolutions, two poolings, one fully connected layer."""

    def __init__(self, channels: int, width: int, pool: type[nn.Module]) -> None:
        n1, n2, n3, joined = widths(width)
        half, quarter = -(-SIDE // 2), -(-SIDE // 4)
        super().__init__(
            *unit(channels, n1), *unit(n1, n1), pool(SIDE),
            *unit(n1, n2), *unit(n2, n2), pool(half),
            *unit(n2, n3), *unit(n3, n3), nn.Flatten(),
            nn.Linear(n3 * quarter**2, joined), nn.BatchNorm1d(joined), nn.PReLU(),
        )  # fmt: skip


def widths(width: int) -> tuple[int, int, int, int]:
    """36, 48, 68 and 300 where `width` is 36."""
    return width, 4 * width // 3, 17 * width // 9, 25 * width // 3


class CFCNN(Patchwise):
    """`width` is 36. Three neighbouring slices go through one branch, one slice at two scales through the other.

    A slice by itself (dims=2) is its own neighbour. Patches lie across the first axis of a volume.
    """

    reach = (1, WIDE // 2, WIDE // 2)

    def __init__(
        self, *, in_channels: int = 1, classes: int = 2, dims: int = 3, width: int = 36, every: int = 1
    ) -> None:
        super().__init__(in_channels=in_channels, classes=classes, dims=dims, every=every)
        self.slices = Branch(3 * in_channels, width, CentralPool)
        self.scales = Branch(2 * in_channels, width, CentralPool)
        self.output = nn.Linear(2 * widths(width)[-1], self.outputs)

    def classify(self, volume: Tensor, at: Where) -> Tensor:
        up, down = at.clone(), at.clone()
        up[:, 1] -= 1
        down[:, 1] += 1
        here = sections(volume, at, across=0, side=SIDE)
        wide = resized(sections(volume, at, across=0, side=WIDE), SIDE)
        slices = [sections(volume, up, across=0, side=SIDE), here, sections(volume, down, across=0, side=SIDE)]
        found = [self.slices(beside(*slices)), self.scales(beside(here, wide))]
        return self.output(torch.cat(found, dim=1))
