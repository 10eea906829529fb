"""Two 3x3 convolutions and a pooling into segments, computed once for all overlapping patches of an image.

Each patch is padded with zeros, so after two convolutions its outermost two rows and columns depend on the patch. All
other pixels are the same in every patch that holds them. Along each axis a pooling segment is one of five kinds:

    the first or the last of the patch     3 pixels, computed from a window of 5 surrounded by zeros
    1, 2 or 3 pixels between them          computed from the whole image

For each of the 5 x 5 kinds of rectangle a table holds the maximum at every position in the image. A patch looks up its
own rectangles and gets the same numbers as if it were computed alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsnotes.shapes import Image

EDGE, PADDED = 3, 2  # pixels of the first and last segment; rows that the zero padding reaches in two convolutions
WINDOW = EDGE + PADDED


class Overlapping:
    """`image` (1, C, H, W) holds all patches, each pooled into `segments` of both axes."""

    def __init__(self, convolutions: nn.Module, image: Image, segments: list[int]) -> None:
        assert segments[0] == segments[-1] == EDGE, "zeros must not reach beyond the first and last segment"
        self.tables = tables(convolutions, image)
        height, width = image.shape[2:]
        kinds = [0, *(1 + length for length in segments[1:-1]), 1]
        first = [0, *accumulate(segments[:-1])]
        first[-1] -= PADDED  # the last segment is stored at the start of its window
        kinds, first = torch.tensor([kinds, first], device=image.device)
        self.width = width
        self.rows = (5 * height * kinds + first) * width  # table index of the segments of a patch at (0, 0)
        self.columns = height * width * kinds + first

    def __call__(self, starts: Tensor) -> Tensor:
        """(N, channels, segments, segments), channels last in memory, for the patches that begin at `starts`."""
        rows = self.rows + self.width * starts[:, :1]
        columns = self.columns + starts[:, 1:]
        return self.tables[rows[:, :, None] + columns[:, None]].movedim(-1, 1)


def tables(convolutions: nn.Module, image: Image) -> Tensor:
    """(5·5·H·W, channels), indexed by row kind, column kind and position; zeros beyond the last position of a kind."""
    height, width = image.shape[2:]
    found = {}
    for tall in (WINDOW, height):
        for wide in (WINDOW, width):
            windows = image.unfold(2, tall, 1).unfold(3, wide, 1)[0].movedim(0, 2)  # (R, K, C, tall, wide)
            y = convolutions(windows.flatten(0, 1))
            for row, some in pooled(y, 2):
                for column, z in pooled(some, 3):
                    z = z.unflatten(0, windows.shape[:2]).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
                    found[row, column] = functional.pad(z, (0, 0, 0, width - z.shape[1], 0, height - z.shape[0]))
    return torch.stack([found[at] for at in sorted(found)]).flatten(0, 2)


def pooled(x: Tensor, axis: int) -> Iterator[tuple[int, Tensor]]:
    """The number of each segment kind along an axis, and its maxima at every position."""
    if x.shape[axis] == WINDOW:
        yield 0, x.narrow(axis, 0, EDGE).amax(axis, keepdim=True)
        yield 1, x.narrow(axis, PADDED, EDGE).amax(axis, keepdim=True)
    else:
        for length in (1, 2, 3):
            yield 1 + length, x.unfold(axis, length, 1).amax(-1)
