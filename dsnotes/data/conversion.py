"""Convert user input to arrays and spacings: NumPy arrays, tensors on any device, sequences of numbers."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

# A folder of scans is checked and copied without torch, whose import takes longer than that.
if TYPE_CHECKING or "torch" in sys.modules:
    from torch import Tensor

    Array = np.ndarray | Tensor
else:
    Array = np.ndarray

EXAMPLE = "(5.0, 0.8, 0.8), or ones where the voxel size is unknown"
Spacing = Sequence[float] | Array  # millimetres, in the order of an array's axes
Maps = Array | Sequence[Array]  # one map, or a list with one per case
SMALLEST = 1e-7  # probabilities are clipped to [SMALLEST, 1 - SMALLEST]: about the spacing of float32 below 1


def is_tensor(given: object) -> bool:
    """Whether it is a tensor; before anything has imported torch, nothing is."""
    return "torch" in sys.modules and isinstance(given, sys.modules["torch"].Tensor)


def as_array(given: object, what: str, *, example: str) -> np.ndarray:
    """An array unchanged, a tensor as an array; anything else raises an error, since a guess would hide a mistake."""
    if isinstance(given, np.ndarray):
        return given
    if is_tensor(given):
        tensor = given.detach().cpu()
        return (tensor.float() if tensor.dtype == sys.modules["torch"].bfloat16 else tensor).numpy()  # NumPy has none
    raise TypeError(f"{what} is of type {type(given).__name__}; needed is an array or a tensor. Pass {example}.")


def as_list(maps: Maps) -> Sequence[Array]:
    return maps if isinstance(maps, list | tuple) else [maps]


def as_millimetres(spacing: object, what: str, *, example: str) -> tuple[float, ...]:
    """A sequence, array or tensor of numbers as a tuple of plain numbers."""
    try:
        if isinstance(spacing, str):
            raise TypeError(spacing)
        return tuple(mm if isinstance(mm, int) else float(mm) for mm in spacing)
    except (TypeError, ValueError):
        raise TypeError(
            f"{what} {spacing!r} came; needed is one number of millimetres per axis of the array. Pass {example}."
        ) from None


def checked_spacing(
    spacing: object, what: str, *, axes: int | None = None, example: str = EXAMPLE
) -> tuple[float, ...]:
    """The spacing as positive floats, in mm: `axes` of them, by default two or three."""
    found = tuple(map(float, as_millimetres(spacing, f"{what}: spacing", example=example)))
    if len(found) not in ((2, 3) if axes is None else (axes,)) or not all(0 < mm < math.inf for mm in found):
        raise ValueError(
            f"{what}: spacing {found} came; needed are {axes or 'two or three'} positive numbers, the millimetres "
            f"between voxels in the order of the array's axes. For instance {example}."
        )
    return found
