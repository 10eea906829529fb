"""One sample read at other points: image, label and soft mask in a single interpolation."""

from __future__ import annotations

import torch
from torch import Tensor


def resample(grid: Tensor, image: Tensor, label: Tensor | None, soft: Tensor | None) -> list[Tensor | None]:
    """Read (channels, *space) image, (*space) label and (classes, *space) soft mask at the points of `grid`.

    `grid` is (*space, n) in the coordinates of `grid_sample`. The label travels as one 0/1 channel a foreground class
    and comes back as the likeliest class, so its values stay whole. For one foreground class that is also quicker than
    a second, nearest-neighbour pass, and contours move by fractions of a voxel, not in steps.
    """
    work = image.dtype if image.dtype == torch.float64 else torch.float32
    classes = [] if label is None else _foreground(label)
    channels = [image.to(work), *((label == c).to(work)[None] for c in classes)]
    channels += [] if soft is None else [soft.to(work)]
    grid, channels = grid.to(work), torch.cat(channels)

    # torch's CPU kernel gives each batch item one thread, so a patch goes as several items that share their input.
    threads = torch.get_num_threads() if grid.device.type == "cpu" else 1
    voxels = grid.shape[:-1].numel()
    pieces = next(n for n in range(threads, 0, -1) if voxels % n == 0)
    sampled = torch.nn.functional.grid_sample(
        channels.expand(pieces, *channels.shape),
        grid.reshape(pieces, *[1] * (grid.ndim - 2), voxels // pieces, grid.shape[-1]),
        padding_mode="border",
        align_corners=False,
    )  # (pieces, channels, 1, …, voxels / pieces)

    def joined(start: int, stop: int) -> Tensor:
        return sampled[:, start:stop].transpose(0, 1).reshape(stop - start, *grid.shape[:-1])

    first, last = len(image), len(image) + len(classes)
    return [
        joined(0, first).to(image.dtype),
        None if label is None else _likeliest(joined(first, last), classes, label.dtype),
        None if soft is None else joined(last, len(channels)).to(soft.dtype),
    ]


def _foreground(label: Tensor) -> list[int]:
    """The classes that occur, without the background."""
    low, high = (int(v) for v in label.aminmax())
    if low < 0:
        raise ValueError(
            f"the label holds {low}, but class indices start at 0, the background. "
            f"Give voxels to be ignored a class of their own: label[label < 0] = {high + 1}."
        )
    if high < 2:
        return [1] * high
    return [c for c in label.flatten().bincount().nonzero().flatten().tolist() if c > 0]


def _likeliest(shares: Tensor, classes: list[int], dtype: torch.dtype) -> Tensor:
    """(classes, *space) shares of the foreground classes to the class with the largest, the background's the rest."""
    if not classes:
        return torch.zeros(shares.shape[1:], dtype=dtype, device=shares.device)
    if len(classes) == 1:
        return (shares[0] > 0.5).to(dtype).mul_(classes[0])
    best, index = shares.max(0)
    return torch.where(best > 1 - shares.sum(0), torch.tensor(classes, dtype=dtype, device=shares.device)[index], 0)
