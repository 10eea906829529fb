"""Boxes on an image: anchors, overlaps, encoding, non-maximum suppression and RoI alignment.

A box is (y1, x1, y2, x2) in pixels; pixel (i, j) covers [i, i + 1] x [j, j + 1]. This is plain PyTorch with shapes that
do not depend on the values, so that operations can be counted on the meta device.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dsnotes.shapes import Float

Boxes = Float[Tensor, "_ 4"]
LARGEST = math.log(1000 / 16)  # upper limit of the log growth that a network can predict for a box


def anchors(space: tuple[int, ...], stride: int, sizes: tuple[int, ...], ratios: tuple[float, ...]) -> Boxes:
    """Boxes of every size and ratio (height / width) around every cell's centre: (cells · sizes · ratios, 4)."""
    height = torch.tensor([size * math.sqrt(ratio) for size in sizes for ratio in ratios])
    width = torch.tensor([size / math.sqrt(ratio) for size in sizes for ratio in ratios])
    shape = torch.stack([-height, -width, height, width], dim=1) / 2
    y, x = ((torch.arange(n) + 0.5) * stride for n in space)
    middle = torch.cartesian_prod(y, x).repeat(1, 2)  # (cells, 4)
    return (middle[:, None] + shape).reshape(-1, 4)


def areas(boxes: Boxes) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)


def overlaps(a: Boxes, b: Boxes) -> Tensor:
    """Intersection over union of every box in `a` with every box in `b`."""
    first, last = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    both = (last - first).clamp(min=0).prod(2)
    return both / (areas(a)[:, None] + areas(b) - both).clamp(min=1e-9)


def encode(boxes: Boxes, onto: Boxes) -> Boxes:
    """The four numbers that move `boxes` onto `onto`: centre shift in units of the size, and log of the size ratio."""
    size, other = (b[:, 2:] - b[:, :2] for b in (boxes, onto))
    size, other = size.clamp(min=1e-3), other.clamp(min=1e-3)
    shift = (onto[:, :2] + onto[:, 2:] - boxes[:, :2] - boxes[:, 2:]) / 2
    return torch.cat([shift / size, (other / size).log()], dim=1)


def decode(boxes: Boxes, moves: Boxes, space: tuple[int, ...]) -> Boxes:
    """`boxes` moved by `moves` (the inverse of `encode`) and clipped to the image."""
    size = boxes[:, 2:] - boxes[:, :2]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 + moves[:, :2] * size
    half = size * moves[:, 2:].clamp(max=LARGEST).exp() / 2
    limit = boxes.new_tensor([*space, *space])
    return torch.minimum(torch.cat([middle - half, middle + half], dim=1).clamp(min=0), limit)


def not_suppressed(boxes: Boxes, threshold: float) -> Tensor:
    """Non-maximum suppression of boxes sorted best first: (boxes,) bool, True for the boxes to keep."""
    if boxes.is_meta:  # counting operations: there are no values, so all are kept
        return torch.ones(len(boxes), dtype=torch.bool, device="meta")
    covers = (overlaps(boxes, boxes) > threshold).triu(1).cpu().numpy()  # row i: the lower-ranked boxes i covers
    kept = np.ones(len(boxes), bool)
    for index in range(len(boxes)):
        if kept[index]:
            kept &= ~covers[index]
    return torch.from_numpy(kept).to(boxes.device)


def align(map_: Tensor, boxes: Boxes, stride: int, size: int, samples: int = 2) -> Tensor:
    """RoI align: (boxes, C, size, size), the mean of `samples²` linear samples in each cell of a grid over each box.

    `map_` is (C, H, W) at `stride`.
    """
    cells = (torch.arange(size * samples, device=map_.device) + 0.5) / (size * samples)
    first, extent = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    y = (first[:, :1] + extent[:, :1] * cells) / stride
    x = (first[:, 1:] + extent[:, 1:] * cells) / stride  # (boxes, size · samples), in the map's pixels
    height, width = map_.shape[1:]
    grid = torch.stack(torch.broadcast_tensors(2 * x[:, None] / width - 1, 2 * y[..., None] / height - 1), dim=-1)
    rows = grid.reshape(1, -1, size * samples, 2)  # boxes stacked along one axis: the map is not copied per box
    found = functional.grid_sample(map_[None], rows, padding_mode="border", align_corners=False)
    found = found.view(len(map_), len(boxes), size * samples, size * samples).transpose(0, 1)
    return functional.avg_pool2d(found, samples)


def paste(masks: Tensor, boxes: Boxes, space: tuple[int, ...]) -> Tensor:
    """(boxes, m, m) probabilities, each resampled into its box on the image: (boxes, *space), 0 outside."""
    extent = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3)
    y, x = ((torch.arange(n, device=boxes.device) + 0.5 - boxes[:, a, None]) / extent[:, a, None] * 2 - 1
            for a, n in enumerate(space))  # fmt: skip
    grid = torch.stack(torch.broadcast_tensors(x[:, None], y[..., None]), dim=-1)
    inside = (grid.abs() <= 1).all(-1)
    found = functional.grid_sample(masks[:, None], grid, padding_mode="border", align_corners=False)
    return found[:, 0] * inside
