"""Soft masks by closed-form matting: the lesion's share of each pixel near its edge, estimated from the image.

Levin, Lischinski, Weiss 2007 (https://doi.org/10.1109/TPAMI.2007.1177), as used for nodules by
Wang et al., https://arxiv.org/abs/2007.14556. In every window w of m pixels α is a linear function of the grey
value, regularised by ε:

    L_ij = Σ_{w ∋ i, j} [ δ_ij − (1 + (I_i − μ_w)(I_j − μ_w) / (σ²_w + ε/m)) / m ],    minimise αᵀ L α

Departs from the paper: pixels known from the trimap are fixed (core 1, outside 0) rather than penalised, so only the
unknown band is solved for. With a spacing the pixels of a window are weighted (`window_weights`); equal weights are
the paper's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Float32, Shaped
from torch import Tensor

from dsnotes.data.conversion import as_array, checked_spacing

AnyArray = Shaped[np.ndarray, "..."] | Shaped[Tensor, "..."]
Alpha = Float32[np.ndarray, "..."]

Window = Literal["slice", "volume"]
Spacing = Sequence[float]

TOLERANCE = 1e-6  # in α
ITERATIONS = 20_000


def soft_mask(
    image: AnyArray,
    trimap: AnyArray,
    eps: float = 1e-7,
    *,
    window: Window = "slice",
    spacing: Spacing | None = None,
) -> Alpha:
    r"""α ∈ [0, 1] on the image's grid: 1 where the trimap is 1, 0 where it is −1, matted where it is 0.

    ε refers to grey values in [0, 1]: an image outside that range, such as one in HU, is first rescaled to it by its
    own minimum and maximum. It is compared with the variance within a window: 1e-7 follows the noise, 9 × the noise's
    variance smooths it out (1e-2 for 33 HU in a range of 1000; tests/softmask/test_true_share.py).

    A stack (depth, height, width) is solved slice by slice. A band that touches known pixels of only one kind takes
    that kind's value (the energy is 0 there), so a slice without core becomes empty; `window="volume"`, with windows of
    3×3×3, uses the neighbouring slices. A band that touches no known pixel is ½.

    `spacing`, mm along every axis, makes far neighbours count less (`window_weights`): pass it with
    `window="volume"`, as slices are usually thicker than pixels. Without it all 27 voxels count alike. With
    weights, their sum replaces the 9 in the rule for ε above.
    """
    image = as_array(image, "image", example="case.image")
    trimap = as_array(trimap, "trimap", example="trimap_from_mask(mask, radius)")
    grey, kinds = _checked(image, trimap, eps, window)
    if spacing is not None:
        spacing = checked_spacing(spacing, "soft_mask", axes=image.ndim, example="spacing=case.spacing")
    weights = window_weights(window, spacing)
    from dsnotes.softmask import band  # numba

    alpha, unsettled = band.solve_bands(
        grey, kinds, float(eps), weights.ravel(), band.STRIP_LIMIT, TOLERANCE, ITERATIONS
    )
    if unsettled:
        raise RuntimeError(
            f"matting did not converge in {ITERATIONS} iterations on {unsettled} of {np.count_nonzero(kinds == 0)} "
            f"unknown pixels at eps={eps:g}. Use a larger eps (try {max(100 * eps, 1e-5):g}) or a narrower trimap."
        )
    return alpha.reshape(trimap.shape)


def soft_masks(
    images: Sequence[AnyArray] | AnyArray,
    trimaps: Sequence[AnyArray] | AnyArray,
    eps: float = 1e-7,
    *,
    window: Window = "slice",
    spacing: Spacing | Sequence[Spacing] | None = None,
    workers: int | None = None,
) -> list[Alpha] | Alpha:
    """`soft_mask` of each pair, on `workers` threads (default: one per core): an array for arrays, a list for lists.

    `spacing` is one for all images, or one for each.
    """
    if isinstance(images, Tensor) and isinstance(trimaps, Tensor | np.ndarray):
        images = as_array(images, "images", example="[image, …]")
    if isinstance(trimaps, Tensor):
        trimaps = as_array(trimaps, "trimaps", example="[trimap, …]")
    if len(images) != len(trimaps):
        raise ValueError(
            f"{len(images)} images but {len(trimaps)} trimaps. Pass one trimap for each image, in the same order."
        )
    if workers is not None and workers < 1:
        raise ValueError(f"workers={workers}: pass at least one thread, or leave it out to use every core.")
    each = _spacing_of_each(spacing, len(images))
    one = partial(_numbered_soft_mask, images, trimaps, eps, window, each)
    threads = min(workers or _cores(), max(1, len(images)))
    if threads == 1:
        masks = [one(k) for k in range(len(images))]
    else:
        one(0)  # compile, or load the compiled code, before the threads start
        with ThreadPoolExecutor(threads) as pool:
            masks = list(pool.map(one, range(len(images))))
    if isinstance(images, np.ndarray) and isinstance(trimaps, np.ndarray):
        return np.array(masks, np.float32).reshape(trimaps.shape)
    return masks


def window_weights(window: Window, spacing: Spacing | None) -> np.ndarray:
    """The weight of every pixel of a 3×3 or 3×3×3 window: for each axis along which it lies beside the centre, a
    factor of (finest spacing / that axis's spacing)².

    Why: the energy approximates an integral of squared differences *per mm*, so a neighbour at twice the distance has a
    quarter of the weight, as in finite differences on such a grid. Equal spacings give the published window of
    equal weights, and very thick slices the result slice by slice.
    """
    axes = 2 if window == "slice" else 3
    if spacing is None:
        return np.ones((3,) * axes)
    mm, weights = spacing[-axes:], np.ones(())
    for step in mm:
        beside = (min(mm) / step) ** 2
        weights = np.multiply.outer(weights, (beside, 1.0, beside))
    return weights


def _spacing_of_each(spacing: Spacing | Sequence[Spacing] | None, images: int) -> Sequence[Spacing | None]:
    if spacing is None or np.ndim(spacing[0]) == 0:
        return [spacing] * images
    if len(spacing) != images:
        raise ValueError(f"{len(spacing)} spacings but {images} images. Pass one for all, or one for each.")
    return spacing


def _numbered_soft_mask(images, trimaps, eps, window, spacings, k):
    try:
        return soft_mask(images[k], trimaps[k], eps, window=window, spacing=spacings[k])
    except (ValueError, RuntimeError) as error:
        raise type(error)(f"image {k} of {len(images)}: {error}") from error


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _checked(image: np.ndarray, trimap: np.ndarray, eps: float, window: str):
    """Check the arguments; returns grey values in [0, 1] and the trimap, both (depth, height, width)."""
    if image.shape != trimap.shape:
        raise ValueError(
            f"image {image.shape} and trimap {trimap.shape} differ in shape. "
            f"Make the trimap from a mask on the image's own grid, without channel axes."
        )
    if window not in ("slice", "volume"):
        raise ValueError(f'window="{window}" is unknown. Use "slice" (3×3) or "volume" (3×3×3).')
    needed = (3, 3) if window == "slice" else (3, 3, 3)
    if not len(needed) <= image.ndim <= 3 or min(image.shape[-len(needed) :]) < 3:
        raise ValueError(
            f'an image of shape {image.shape} cannot hold a {"×".join("3" * len(needed))} window (window="{window}"). '
            f"Pass (height, width) or (depth, height, width) with at least 3 pixels per side"
            + ("." if window == "slice" else ', or window="slice".')
        )
    if not eps >= 1e-12:
        raise ValueError(
            f"eps={eps}: below 1e-12 the equations are singular in double precision. The usual value is 1e-7."
        )
    low, high = float(image.min()), float(image.max())
    if not np.isfinite(high - low):
        bad = np.count_nonzero(~np.isfinite(image))
        raise ValueError(
            f"image holds {bad} NaN or infinite pixels of {image.size}. "
            f"Replace them, for instance with np.nan_to_num(image, nan=image[np.isfinite(image)].min())."
        )
    if trimap.dtype.kind not in "iu" or trimap.min() < -1 or trimap.max() > 1:
        values = np.unique(trimap)
        if not np.isin(values, (-1, 0, 1)).all():
            raise ValueError(
                f"trimap holds {_some_values(values)}; needed are −1 (outside), 0 (unknown) and 1 (lesion). Convert "
                f"it: np.where(trimap == lesion_value, 1, np.where(trimap == outside_value, -1, 0))."
            )
    for value, name, remedy in (
        (1, "lesion", "Erode less (a smaller radius), or use trimap_from_mask(mask, radius, keep_small=True)"),
        (-1, "outside", "Crop the image with more margin around the lesion, or use a smaller radius"),
    ):
        if not (trimap == value).any():
            raise ValueError(f"trimap has no {name} pixel ({value}), so α is not determined. {remedy}.")
    grey = np.ascontiguousarray(image, np.float64)
    if low < 0 or high > 1:
        grey = (grey - low) / (high - low or 1.0)
    volume = (1, *image.shape)[-3:]
    return grey.reshape(volume), np.ascontiguousarray(trimap, np.int8).reshape(volume)


def _some_values(values) -> str:
    shown = ", ".join(f"{v:g}" for v in values[:4])
    return shown if len(values) <= 4 else f"{len(values)} values ({shown}, …)"
