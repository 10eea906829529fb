"""Prediction in overlapping windows, in the memory of the result and of one batch of windows.

Steps of half a patch and Gaussian weights are as in nnU-Net (https://arxiv.org/abs/1809.10486) and MSS U-Net.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import islice, pairwise, product

import numpy as np
import torch
from torch import Tensor

from dsnotes.data.conversion import as_array
from dsnotes.shapes import Float32

Predictor = Callable[[Tensor], Tensor]  # (B, C, *patch) -> (B, K, *patch)
Where = tuple[slice, ...]

SIGMA = 1 / 8  # of the Gaussian weights, in patches
FAINTEST = 1e-3  # smallest weight, so that voxels seen only by a window's corner are not divided by almost 0
# Voxels per batch with "auto": small windows run faster together, on a CPU only while they fit in its caches.
AUTO_VOXELS = {"cpu": 2**16, "gpu": 2**19}


@torch.no_grad()
def sliding_window(
    predictor: Predictor,
    image: Tensor | np.ndarray,
    *,
    patch: Sequence[int],
    overlap: float = 0.5,
    batch: int | str = 1,
    weights: str = "gaussian",
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Float32[Tensor, "*shape"]:
    r"""$p(x) = \sum_w g(x - w)\, p_w(x) \,/\, \sum_w g(x - w)$ over all windows $w$ that see the voxel $x$.

    `image` is (batch, channels, *space), (channels, *space) or (*space); the result has classes in place of the
    channels: (batch, classes, *space), else (classes, *space). The result is on the image's device (an array: the CPU),
    while the windows are moved to `device`, so that a result larger than the GPU's memory can stay in main memory.
    Windows and result are float32. A window larger than the image is padded with zeros. `batch` windows are predicted
    together; "auto" takes more of them if they are small.
    """
    patch = sizes(patch, len(getattr(image, "shape", (64, 64))))
    if not isinstance(image, Tensor):
        image = as_array(image, "image", example="case.image, or predict(system, case)")
    images, leading = _batched(image, patch)
    patch = tuple(map(int, patch))
    space = tuple(images.shape[2:])
    corners = [window_starts(n, p, overlap) for n, p in zip(space, patch, strict=True)]
    home = images.device if isinstance(images, Tensor) else torch.device("cpu")
    device = home if device is None else torch.device(device)
    batch = _windows_at_once(batch, patch, device)
    weight = window_weights(patch, weights).to(home)
    windows = product(range(len(images)), *corners)

    total = None
    count = len(images) * math.prod(map(len, corners))
    with Progress(count, shown=progress and count > 1) as bar:  # a bar of one step is done when it appears
        while chunk := list(islice(windows, batch)):
            predicted = _predict(predictor, images, chunk, patch, device).to(home, torch.float32)
            if total is None:
                # Classes come first in memory, so that slices become a volume without a copy.
                total = torch.zeros(predicted.shape[1], len(images), *space, device=home).transpose(0, 1)
            for (item, *corner), p in zip(chunk, predicted, strict=True):
                of_image, of_window = meet(corner, patch, space)
                total[item][:, *of_image].addcmul_(p[:, *of_window], weight[of_window])
            del predicted, p  # free them before the next batch is computed
            bar.update(len(chunk))
    _divide(total, corners, patch, weight)
    return total if leading == 2 else total[0]


def sizes(patch: object, dims: int) -> tuple[int, ...]:
    """The window's size along each axis; a single number is an error."""
    if isinstance(patch, str) or not hasattr(patch, "__len__"):
        size = patch if isinstance(patch, int) else 64
        raise TypeError(f"patch={patch!r} must have one size per axis. Pass patch={(size,) * dims}.")
    return tuple(patch)


def window_starts(size: int, patch: int, overlap: float) -> list[int]:
    """The start of every window along one axis; the last one ends with the image.

    If the image is smaller than the window, the window is centred on it, so its start is negative.
    """
    if not 0 <= overlap < 1:
        raise ValueError(
            f"overlap must be the share of a window that its neighbour covers, got {overlap}. "
            f"Pass 0 <= overlap < 1, for instance overlap=0.5."
        )
    if size <= patch:
        return [-((patch - size) // 2)]
    step = max(int(patch * (1 - overlap)), 1)
    return [*range(0, size - patch, step), size - patch]


def window_weights(patch: Sequence[int], weights: str) -> Float32[Tensor, "*patch"]:
    r"""$\exp(-\sum_a (x_a - c_a)^2 / 2\sigma_a^2)$ with $\sigma_a$ = patch / 8, at least 1e-3; or ones.

    At a window's rim the network sees less context, so the neighbouring window has the larger weight there.
    """
    if weights not in ("gaussian", "constant"):
        raise ValueError(f"weights={weights!r} is unknown. Choose 'gaussian' or 'constant'.")
    weight = torch.ones(())
    for size in patch:
        offset = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
        profile = torch.exp(-((offset / (SIGMA * size)) ** 2) / 2)
        weight = weight.unsqueeze(-1) * (profile if weights == "gaussian" else torch.ones(size))
    return weight.clamp_(min=FAINTEST)


def meet(corner: Sequence[int], patch: Sequence[int], space: Sequence[int]) -> tuple[Where, Where]:
    """The overlap of a window with the image: as slices of the image, and as slices of the window."""
    begins = [max(c, 0) for c in corner]
    ends = [min(c + p, n) for c, p, n in zip(corner, patch, space, strict=True)]
    of_image = tuple(slice(a, b) for a, b in zip(begins, ends, strict=True))
    of_window = tuple(slice(a - c, b - c) for a, b, c in zip(begins, ends, corner, strict=True))
    return of_image, of_window


def _predict(
    predictor: Predictor,
    images: Tensor | np.ndarray,
    chunk: list[tuple[int, ...]],
    patch: tuple[int, ...],
    device: torch.device,
) -> Tensor:
    """The prediction (windows, K, *patch) of a chunk of windows; the windows themselves are freed on return."""
    predicted = predictor(_cut(images, chunk, patch).to(device))
    if not isinstance(predicted, Tensor):
        raise TypeError(
            f"the predictor returned {type(predicted).__name__}, but a tensor (windows, classes, *patch) is needed. "
            f"Pass system.probabilities, or lambda x: network(x).logits.sigmoid()."
        )
    if len(predicted) != len(chunk) or tuple(predicted.shape[2:]) != patch:
        raise ValueError(
            f"for {len(chunk)} windows of {patch} the predictor returned shape {tuple(predicted.shape)}, but "
            f"{(len(chunk), 'classes', *patch)} is needed. Use a predictor that keeps the size of its input."
        )
    return predicted


def _cut(images: Tensor | np.ndarray, chunk: list[tuple[int, ...]], patch: tuple[int, ...]) -> Tensor:
    """Copy windows from the images: networks may work in place, and memory-mapped images are read window by window."""
    where = images.device if isinstance(images, Tensor) else None
    inside = all(n >= p for n, p in zip(images.shape[2:], patch, strict=True))
    windows = (torch.empty if inside else torch.zeros)(len(chunk), images.shape[1], *patch, device=where)
    for window, (item, *corner) in zip(windows, chunk, strict=True):
        of_image, of_window = meet(corner, patch, images.shape[2:])
        into = window if isinstance(images, Tensor) else window.numpy()
        into[:, *of_window] = images[item][:, *of_image]
    return windows


def _divide(total: Tensor, corners: list[list[int]], patch: tuple[int, ...], weight: Tensor) -> None:
    """Divide by the sum of the weights, one block of rows at a time.

    A whole volume of weights would double the memory of a binary prediction. The rows of a block are seen by the same
    windows.
    """
    rows, *space = total.shape[2:]
    first, *others = corners
    edges = sorted({min(max(edge, 0), rows) for start in first for edge in (start, start + patch[0])})
    for begin, end in pairwise(edges):
        summed = torch.zeros(end - begin, *space, device=total.device)
        for start in first:
            if start <= begin and end <= start + patch[0]:
                for corner in product(*others):
                    of_image, of_window = meet(corner, patch[1:], space)
                    summed[:, *of_image] += weight[begin - start : end - start, *of_window]
        total[:, :, begin:end] /= summed


def _batched(image: Tensor | np.ndarray, patch: Sequence[int]) -> tuple[Tensor | np.ndarray, int]:
    """The image as (batch, channels, *space), and how many of the two leading axes it had."""
    leading = image.ndim - len(patch)
    if leading not in (0, 1, 2) or not all(image.shape):
        raise ValueError(
            f"an image of shape {tuple(image.shape)} came with patch={tuple(patch)}, which has {len(patch)} axes. "
            f"Pass a non-empty image as (batch, channels, *space), (channels, *space) or (*space), "
            f"and one patch size per spatial axis."
        )
    if not len(patch) or any(int(p) != p or p < 1 for p in patch):
        raise ValueError(f"patch must hold whole numbers above 0, got {tuple(patch)}. For instance patch=(64, 64).")
    return image[(None,) * (2 - leading)], leading


def _windows_at_once(batch: int | str, patch: tuple[int, ...], device: torch.device) -> int:
    if batch == "auto":
        return max(AUTO_VOXELS["cpu" if device.type == "cpu" else "gpu"] // math.prod(patch), 1)
    if isinstance(batch, str) or batch < 1:
        raise ValueError(f"batch must be a whole number above 0 or 'auto', got {batch!r}. For instance batch=4.")
    return batch


class Progress:
    """A bar that appears after five seconds; only then is tqdm imported, in a notebook with the library of widgets."""

    def __init__(self, windows: int, *, shown: bool) -> None:
        self.windows, self.done, self.bar = windows, 0, None
        self.due = time.monotonic() + 5 if shown else math.inf

    def __enter__(self) -> Progress:
        return self

    def update(self, windows: int) -> None:
        self.done += windows
        if self.bar is not None:
            self.bar.update(windows)
        elif time.monotonic() > self.due:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=self.windows, initial=self.done, desc="predict", unit="window", leave=False)

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
