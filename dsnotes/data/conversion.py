"""What a person hands over as an array or as a spacing: NumPy's own, a tensor wherever it lies, a list of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

EXAMPLE = "(5.0, 0.8, 0.8), or ones where the size of a voxel is unknown"
Array = np.ndarray | Tensor
Spacing = Sequence[float] | Array  # millimetres, in the order of an array's axes


def as_array(given: object, what: str, *, example: str) -> np.ndarray:
    """The array itself, a tensor as one; anything else is refused, since a guess would hide a mistake."""
    if isinstance(given, np.ndarray):
        return given
    if isinstance(given, Tensor):
        tensor = given.detach().cpu()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()  # NumPy has no bfloat16
    raise TypeError(f"{what} is of type {type(given).__name__}; needed is an array or a tensor. Pass {example}.")


def as_millimetres(spacing: object, what: str, *, example: str) -> tuple[float, ...]:
    """A tuple, a list, an array or a tensor of numbers as plain numbers."""
    try:
        if isinstance(spacing, str):
            raise TypeError(spacing)
        return tuple(mm if isinstance(mm, int) else float(mm) for mm in spacing)
    except (TypeError, ValueError):
        raise TypeError(
            f"{what} {spacing!r} came; needed is one number of millimetres for each axis of the array. Pass {example}."
        ) from None


def checked_spacing(
    spacing: object, what: str, *, axes: int | None = None, example: str = EXAMPLE
) -> tuple[float, ...]:
    """Positive millimetres as plain floats: as many as there are `axes`, or two or three."""
    found = tuple(map(float, as_millimetres(spacing, f"{what}: spacing", example=example)))
    if len(found) not in ((2, 3) if axes is None else (axes,)) or not all(0 < mm < math.inf for mm in found):
        raise ValueError(
            f"{what}: spacing {found} came; needed are {axes or 'two or three'} positive numbers, the millimetres "
            f"between voxels in the order of the array's axes. Pass for instance {example}."
        )
    return found
