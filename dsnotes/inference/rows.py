"""A sliding window that yields finished rows, so that it holds all classes for one row of windows only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise, product

import numpy as np
import torch

from dsnotes.inference.sliding_window import (
    Predictor,
    Progress,
    _predict,
    _windows_at_once,
    meet,
    window_starts,
    window_weights,
)


@torch.no_grad()
def finished_rows(
    predictor: Predictor,
    images: np.ndarray,
    *,
    patch: Sequence[int],
    overlap: float = 0.5,
    batch: int | str = "auto",
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (rows, probabilities (K, rows, *rest)) from the first row to the last; joined, they equal `sliding_window`.

    `images` is (1, channels, depth, *rest) for a volume, or (slices, channels, *space) for slices predicted separately:
    then the slices are the rows. The array of one row is overwritten by the next.
    """
    patch, device = tuple(map(int, patch)), torch.device(device)
    batch = _windows_at_once(batch, patch, device)
    flat = images.ndim - 2 == 2
    space = (len(images), *images.shape[2:]) if flat else images.shape[2:]
    window = (1, *patch) if flat else patch
    first, *others = (window_starts(n, p, overlap) for n, p in zip(space, window, strict=True))
    first = list(range(space[0])) if flat else first
    weight = window_weights(patch, "gaussian").reshape(window)
    total, summed = None, torch.zeros(window[0], *space[1:])
    with Progress(len(first) * math.prod(map(len, others)), shown=progress) as bar:
        for start, following in pairwise([*first, space[0]]):
            corners = product(*others)
            while chunk := list(islice(corners, batch)):
                places = [(start, *corner) if flat else (0, start, *corner) for corner in chunk]
                predicted = _predict(predictor, images, places, patch, device).to("cpu", torch.float32)
                if total is None:
                    total = torch.zeros(predicted.shape[1], window[0], *space[1:])
                for corner, p in zip(chunk, predicted, strict=True):
                    at, of = meet(corner, window[1:], space[1:])
                    total[:, :, *at].addcmul_(p.reshape(-1, *window)[:, :, *of], weight[:, *of])
                    summed[:, *at] += weight[:, *of]
                bar.update(len(chunk))
            done = following - start
            yield slice(start, following), total[:, :done].div_(summed[:done]).numpy()
            for sums in (total.transpose(0, 1), summed):  # shift the rows that later windows still add to
                sums[: window[0] - done] = sums[done:].clone()
                sums[window[0] - done :] = 0
