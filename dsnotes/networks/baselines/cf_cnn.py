"""CF-CNN: two branches on patches around a voxel, pooled finely at the centre and coarsely at the rim.

Paper: Wang et al. 2017, "Central focused convolutional neural networks: Developing a data-driven model for lung nodule
segmentation", https://doi.org/10.1016/j.media.2017.06.014; layers on which three public re-implementations agree.
Departs from it: the paper's table for the remainder of the central pooling is not public; segments of one and two
pixels are used instead, which gives the same sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import groupby

import torch
from torch import Tensor, nn

from dsnotes.networks.overlapping import Overlapping
from dsnotes.networks.stage import Stage
from dsnotes.networks.voxelwise import Grid, Patchwise, Where, beside, resized, sections

SIDE, WIDE = 35, 65  # pixels of a patch, and of the wider patch that is resized to it
BAND = 64  # rows of voxels whose patches share work; more rows need more memory for the tables


def segments(size: int) -> list[int]:
    """The number of pixels that each output of central pooling covers: 3 at the rim, then 2, and 1 in the middle."""
    ones, twos, threes = size // 8, size // 4, size // 8
    rest = size - ones - 2 * twos - 3 * threes
    ones, twos = ones + rest % 2, twos + rest // 2
    left3, left2 = -(-threes // 2), -(-twos // 2)
    return [3] * left3 + [2] * left2 + [1] * ones + [2] * (twos - left2) + [3] * (threes - left3)


class CentralPool(nn.Module):
    """The maximum over rectangles; rows and columns are cut into the same segments."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.runs = [(length, len(list(run))) for length, run in groupby(segments(size))]

    def forward(self, x: Tensor) -> Tensor:
        for axis in (2, 3):
            pieces = x.split([length * count for length, count in self.runs], dim=axis)
            x = torch.cat([shrunk(piece, axis, n) for piece, (n, _) in zip(pieces, self.runs, strict=True)], dim=axis)
        return x


def shrunk(x: Tensor, axis: int, length: int) -> Tensor:
    """The maximum of every `length` pixels along an axis."""
    return reduce(torch.maximum, x.unflatten(axis, (-1, length)).unbind(axis + 1))


class CeilPool(nn.Sequential):
    """Max-pooling by 2 that keeps a last odd pixel, so that the sizes are the same as with central pooling."""

    def __init__(self, size: int) -> None:
        super().__init__(nn.MaxPool2d(2, ceil_mode=True))


def unit(n_in: int, n_out: int) -> list[nn.Module]:
    return [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.PReLU()]


class Branch(Stage, nn.Sequential):
    """(N, C, 35, 35) -> (N, 25/3 width): six convolutions, two poolings, one fully connected layer."""

    def __init__(self, channels: int, width: int, pool: type[nn.Module]) -> None:
        n1, n2, n3, joined = widths(width)
        half, quarter = -(-SIDE // 2), -(-SIDE // 4)
        super().__init__(
            nn.Sequential(*unit(channels, n1), *unit(n1, n1)), pool(SIDE),
            *unit(n1, n2), *unit(n2, n2), pool(half),
            *unit(n2, n3), *unit(n3, n3),
            nn.Conv2d(n3, joined, quarter), nn.BatchNorm2d(joined), nn.PReLU(), nn.Flatten(),
        )  # fmt: skip


def widths(width: int) -> tuple[int, int, int, int]:
    """36, 48, 68 and 300 for `width` 36."""
    return width, 4 * width // 3, 17 * width // 9, 25 * width // 3


class CFCNN(Patchwise):
    """`width` is 36. One branch reads three neighbouring slices, the other one slice at two scales.

    With dims=2 a slice is its own neighbour. Patches are perpendicular to the first axis of a volume. Prediction takes
    54 million multiply-adds per voxel instead of 69 million for a single patch: patches share the slice branch up to
    its first pooling (`networks.overlapping`), but not the scale branch (`networks.voxelwise`).
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
        slices = []
        for neighbour in (-1, 0, 1):
            moved = at.clone()
            moved[:, 1] += neighbour
            slices.append(sections(volume, moved, across=0, side=SIDE))
        return self.joined(self.slices(beside(*slices)), volume, at)

    def share(self, volume: Tensor, at: Grid) -> Iterator[Tensor]:
        """The shared computation for the slice branch; the scale branch runs per patch."""
        convolutions, _, *rest = self.slices
        for band in at.split(BAND):
            corner, size = band[0, 0], [(n - 1) * self.every + SIDE for n in band.shape[:2]]
            shared = Overlapping(convolutions, self.three_slices(volume, corner, size), segments(SIDE))
            for some in self.portions(band.flatten(0, 1)):
                found = shared(some[:, 2:] - corner[2:])
                for layer in rest:
                    found = layer(found)
                yield self.joined(found, volume, some)

    def three_slices(self, volume: Tensor, corner: Tensor, size: list[int]) -> Tensor:
        """(1, 3 C, *size): the region of three slices that all patches of a band cover; `corner` is its first voxel."""
        volume = volume.index_select(0, corner[:1])
        for axis, (before, n) in enumerate(((1, 3), *((SIDE // 2, n) for n in size)), start=1):
            volume = volume.index_select(1 + axis, corner[axis] - before + torch.arange(n, device=volume.device))
        return volume.transpose(1, 2).flatten(1, 2)

    def joined(self, slices: Tensor, volume: Tensor, at: Where) -> Tensor:
        here = sections(volume, at, across=0, side=SIDE)
        wide = resized(sections(volume, at, across=0, side=WIDE), SIDE)
        return self.output(torch.cat([slices, self.scales(beside(here, wide))], dim=1))
