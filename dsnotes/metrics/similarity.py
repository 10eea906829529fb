"""Similarity of two layers' feature maps, whatever their channels."""

from __future__ import annotations

import numpy as np

from dsnotes.data.conversion import Array, as_array


def linear_cka(first: Array, second: Array) -> float:
    r"""$\frac{\|Y^T X\|_F^2}{\|X^T X\|_F \|Y^T Y\|_F}$ of (places, channels) arrays, channels centred.

    1 if one is a rotated and scaled version of the other; 0 if no channel of one correlates with any of the other.
    Unlike a distance it needs neither equal numbers nor an equal order of channels (Kornblith et al. 2019,
    https://arxiv.org/abs/1905.00414). NaN if a layer is constant.
    """
    example = "a layer's map as (places, channels)"
    x, y = (as_array(layer, "a layer", example=example).astype(np.float64) for layer in (first, second))
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(
            f"the layers have shapes {x.shape} and {y.shape}, but needed are (places, channels) with the same places "
            f"in the same order. Of a map (B, C, H, W) that is x.transpose(0, 2, 3, 1).reshape(-1, C)."
        )
    x, y = x - x.mean(0), y - y.mean(0)
    scale = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(y.T @ x) ** 2 / scale) if scale > 0 else float("nan")
