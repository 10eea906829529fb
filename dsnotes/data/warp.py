"""Resample image, label and soft mask at new points with a single interpolation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor


def grid_sample(
    grids: Iterable[Tensor], image: Tensor, label: Tensor | None, soft: Tensor | None
) -> list[Tensor | None]:
    """Read (channels, *space) image, (*space) label and (classes, *space) soft mask at the points of `grids`.

    Grids are (slices, …, n) in the coordinates of torch's `grid_sample`, one after the other. The label is interpolated
    as one 0/1 channel per foreground class, and the likeliest class is returned. For one foreground class that is also
    faster than a second, nearest-neighbour pass, and contours move by fractions of a voxel instead of whole voxels.
    """
    classes = [] if label is None else _foreground(label)
    first, last = len(image), len(image) + len(classes)
    exact = image.dtype if image.dtype == torch.float64 else torch.float32
    channels = image.new_empty(last + (0 if soft is None else len(soft)), *image.shape[1:], dtype=exact)
    channels[:first] = image
    for channel, value in zip(channels[first:last], classes, strict=True):
        torch.eq(label, value, out=channel)
    if soft is not None:
        channels[last:] = soft

    image, label, soft = (None if x is None else torch.empty_like(x) for x in (image, label, soft))
    start = 0
    for grid in grids:
        sampled = _sample(channels, grid.to(exact))
        stop = start + len(grid)
        image[:, start:stop] = sampled[:first]
        if label is not None:
            label[start:stop] = _likeliest(sampled[first:last], classes)
        if soft is not None:
            soft[:, start:stop] = sampled[last:]
        start = stop
    return [image, label, soft]


def _sample(channels: Tensor, grid: Tensor) -> Tensor:
    """(channels, *space) at the points of `grid`."""
    if channels.device.type == "cpu" and channels.dtype == torch.float32 and min(channels.shape[1:]) > 1:
        kernels = _compiled()
        if kernels is not None:
            return _on_threads(kernels[grid.shape[-1]], channels, grid)
    sampled = torch.nn.functional.grid_sample(
        channels[None], grid[None], padding_mode="border", align_corners=False
    )  # (1, channels, slices, …)
    return sampled[0]


def _on_threads(kernel: Callable, channels: Tensor, grid: Tensor) -> Tensor:
    """Each of torch's threads takes an equal part of the points."""
    sampled = torch.empty(len(channels), *grid.shape[:-1])
    source, points = channels.numpy(), grid.reshape(-1, grid.shape[-1]).contiguous().numpy()
    target, threads = sampled.flatten(1).numpy(), torch.get_num_threads()
    edges = [len(points) * part // threads for part in range(threads + 1)]
    parts = [(points[low:high], target[:, low:high]) for low, high in pairwise(edges)]
    if threads == 1:
        kernel(source, *parts[0])
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: kernel(source, *part), parts))
    return sampled


@cache
def _compiled() -> dict[int, Callable] | None:
    """The kernel for 2 and for 3 axes; None on a machine without numba, where torch interpolates."""
    try:
        from dsnotes.data.interpolation import bilinear, trilinear
    except ImportError:
        return None
    return {2: bilinear, 3: trilinear}


def _foreground(label: Tensor) -> list[int]:
    """The foreground classes present in the label."""
    low, high = (int(v) for v in label.aminmax())
    if low < 0:
        raise ValueError(
            f"the label holds {low}, but class indices start at 0, the background. "
            f"Give ignored voxels a separate class: label[label < 0] = {high + 1}."
        )
    if high < 2:
        return [1] * high
    return [c for c in label.flatten().bincount().nonzero().flatten().tolist() if c > 0]


def _likeliest(shares: Tensor, classes: list[int]) -> Tensor:
    """The class with the largest share, from foreground shares (classes, *space); background has the rest."""
    if not classes:
        return torch.zeros((), dtype=torch.bool, device=shares.device)
    if len(classes) == 1:
        mask = shares[0] > 0.5
        return mask if classes == [1] else mask * classes[0]
    best, index = shares.max(0)
    return torch.where(best > 1 - shares.sum(0), torch.tensor(classes, device=shares.device)[index], 0)
