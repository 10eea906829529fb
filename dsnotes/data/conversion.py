"""What a person hands over as an array or as a spacing: NumPy's own, a tensor wherever it lies, a list of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray | Tensor
Spacing = Sequence[float | int] | Array  # millimetres, in the order of an array's axes


def as_array(given: object, what: str, *, example: str) -> np.ndarray:
    """The array itself, a tensor as one; anything else is refused, since a guess would hide a mistake."""
    if isinstance(given, np.ndarray):
        return given
    if isinstance(given, Tensor):
        tensor = given.detach().cpu()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()  # NumPy has no bfloat16
    raise TypeError(f"{what} is of type {type(given).__name__}; needed is an array or a tensor. Pass {example}.")


def as_millimetres(spacing: object, what: str, *, example: str) -> tuple[float | int, ...]:
    """A tuple, a list, an array or a tensor of numbers as plain numbers."""
    try:
        if isinstance(spacing, str):
            raise TypeError(spacing)
        return tuple(mm if isinstance(mm, int) else float(mm) for mm in spacing)
    except (TypeError, ValueError):
        raise TypeError(
            f"{what} {spacing!r} came; needed is one number of millimetres for each axis of the array. Pass {example}."
        ) from None
