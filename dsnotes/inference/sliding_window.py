"""Prediction in overlapping windows, in the memory of the result and of one batch of windows.

Half a patch between windows and Gaussian weights are nnU-Net's (https://arxiv.org/abs/1809.10486), and MSS U-Net's.
"""

from __future__ import annotations

import math
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
FAINTEST = 1e-3  # the least weight: what only a window's corner sees is not divided by next to nothing
# Of a batch that "auto" fills: small windows run faster together, on a CPU as long as its caches hold them.
AUTO_VOXELS = {"cpu": 2**16, "gpu": 2**19}


@torch.no_grad()
def sliding_window(
    predictor: Predictor,
    image: Tensor | np.ndarray,
    *,
    patch: Sequence[int],
    overlap: float | int = 0.5,
    batch: int | str = 1,
    weights: str = "gaussian",
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Float32[Tensor, "*shape"]:
    r"""$p(x) = \sum_w g(x - w)\, p_w(x) \,/\, \sum_w g(x - w)$ over all windows $w$ that see the voxel $x$.

    `image` is (batch, channels, *space), (channels, *space) or (*space), and the result has classes where the
    channels were: (batch, classes, *space), else (classes, *space). It lies where the image lies (an array: on the
    CPU), while the windows go to `device`: a result that does not fit on a GPU can stay outside. Windows and result
    are float32. A window that is larger than the image sees zeros round it. `batch` windows are predicted together;
    "auto" takes more of them the smaller they are.
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
    with _progress(len(images) * math.prod(map(len, corners)), shown=progress) as bar:
        while chunk := list(islice(windows, batch)):
            predicted = _predict(predictor, images, chunk, patch, device).to(home, torch.float32)
            if total is None:
                # Classes lead in memory: slices become a volume without a second copy of it.
                total = torch.zeros(predicted.shape[1], len(images), *space, device=home).transpose(0, 1)
            for (item, *corner), p in zip(chunk, predicted, strict=True):
                of_image, of_window = meet(corner, patch, space)
                total[item][:, *of_image].addcmul_(p[:, *of_window], weight[of_window])
            del predicted, p  # else they would live on while the next batch is computed
            bar.update(len(chunk))
    _divide(total, corners, patch, weight)
    return total if leading == 2 else total[0]


def sizes(patch: object, dims: int) -> tuple[int, ...]:
    """The window's size along each axis; one number alone might mean any of them."""
    if isinstance(patch, str) or not hasattr(patch, "__len__"):
        size = patch if isinstance(patch, int) else 64
        raise TypeError(f"patch={patch!r} came; needed is one size for each axis. Pass patch={(size,) * dims}.")
    return tuple(patch)


def window_starts(size: int, patch: int, overlap: float | int) -> list[int]:
    """Where windows begin along one axis; the last one is moved back to end with the image.

    A single window is centred on an image that is smaller than it, hence a negative start.
    """
    if not 0 <= overlap < 1:
        raise ValueError(
            f"overlap={overlap} is not a share of the window that its neighbour sees too. "
            f"Pass 0 <= overlap < 1, for instance overlap=0.5."
        )
    if size <= patch:
        return [-((patch - size) // 2)]
    step = max(int(patch * (1 - overlap)), 1)
    return [*range(0, size - patch, step), size - patch]


def window_weights(patch: Sequence[int], weights: str) -> Float32[Tensor, "*patch"]:
    r"""$\exp(-\sum_a (x_a - c_a)^2 / 2\sigma_a^2)$ with $\sigma_a$ = patch / 8, at least 1e-3; or ones.

    A network sees least context at a window's rim, so there its neighbour should have the say.
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
    """What a window and the image share: as slices of the image, and as slices of the window."""
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
    """(windows, K, *patch); the windows themselves are gone on return."""
    predicted = predictor(_cut(images, chunk, patch).to(device))
    if not isinstance(predicted, Tensor):
        raise TypeError(
            f"the predictor returned {type(predicted).__name__}, but a tensor (windows, classes, *patch) is needed. "
            f"Pass system.probabilities, or lambda x: network(x).logits.sigmoid()."
        )
    if len(predicted) != len(chunk) or tuple(predicted.shape[2:]) != patch:
        raise ValueError(
            f"the predictor answered {len(chunk)} windows of {patch} with shape {tuple(predicted.shape)}, but "
            f"{(len(chunk), 'classes', *patch)} is needed. Use a predictor that keeps the size of its input."
        )
    return predicted


def _cut(images: Tensor | np.ndarray, chunk: list[tuple[int, ...]], patch: tuple[int, ...]) -> Tensor:
    """Copies, never views: a network that works in place must not change the image, and a memory-mapped one is
    read a window at a time."""
    where = images.device if isinstance(images, Tensor) else None
    windows = torch.zeros(len(chunk), images.shape[1], *patch, device=where)
    for window, (item, *corner) in zip(windows, chunk, strict=True):
        of_image, of_window = meet(corner, patch, images.shape[2:])
        piece = images[item][:, *of_image]
        window[:, *of_window] = piece if isinstance(piece, Tensor) else torch.from_numpy(np.array(piece, np.float32))
    return windows


def _divide(total: Tensor, corners: list[list[int]], patch: tuple[int, ...], weight: Tensor) -> None:
    """Divide by the sum of the weights, a block of rows at a time: a whole volume of them would double the memory
    of a binary prediction. Within a block, the windows that see a row are the same for every row."""
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
    """The image as (batch, channels, *space), and how many of these two leading axes it came with."""
    leading = image.ndim - len(patch)
    if leading not in (0, 1, 2) or not all(image.shape):
        raise ValueError(
            f"an image of shape {tuple(image.shape)} came with patch={tuple(patch)}, which has {len(patch)} axes. "
            f"Pass an image that is not empty as (batch, channels, *space), (channels, *space) or (*space), "
            f"and one patch size for each axis of space."
        )
    if not len(patch) or any(int(p) != p or p < 1 for p in patch):
        raise ValueError(f"patch={tuple(patch)} is no window. Pass whole numbers above 0, for instance (64, 64).")
    return image[(None,) * (2 - leading)], leading


def _windows_at_once(batch: int | str, patch: tuple[int, ...], device: torch.device) -> int:
    if batch == "auto":
        return max(AUTO_VOXELS["cpu" if device.type == "cpu" else "gpu"] // math.prod(patch), 1)
    if isinstance(batch, str) or batch < 1:
        raise ValueError(f"batch={batch!r} is no number of windows. Pass a whole number above 0, or 'auto'.")
    return batch


def _progress(windows: int, *, shown: bool):
    from tqdm.auto import tqdm

    # A bar for a second's work is noise: it appears only after five.
    return tqdm(total=windows, desc="predict", unit="window", delay=5, leave=False, disable=not shown)
