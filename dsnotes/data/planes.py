"""Select or resize the slices of a volume, as papers on 2-D networks prepare their data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.foreground import require_label
from dsnotes.data.region import cut


def between(case: Case, first: int, last: int) -> Case:
    """Slices `first` to `last`, inclusive: µ-Net uses 30 to 125 of a brain's 155."""
    _require_volume(case)
    if not 0 <= first <= last < case.space[0]:
        raise ValueError(
            f"slices {first} to {last} came for case {case.name}, which has {case.space[0]}. Pass two from 0 to "
            f"{case.space[0] - 1}, the lower first."
        )
    return _with_slices(case, np.arange(first, last + 1))


def positive(case: Case) -> Case:
    """The slices with foreground: for heart and spleen µ-Net deletes the others, in the test set too."""
    _require_volume(case)
    found = np.flatnonzero(require_label(case).any((1, 2)))
    if not len(found):
        raise ValueError(f"case {case.name} has no foreground in any slice. Leave it out, or keep its empty slices.")
    return _with_slices(case, found)


def resized(case: Case, size: tuple[int, ...]) -> Case:
    """Resample every slice to `size` pixels; the spacing changes accordingly."""
    axes = len(case.space) - len(size)
    return cut(case, tuple(slice(0, n) for n in case.space), size=(*case.space[:axes], *size))


def _with_slices(case: Case, which: np.ndarray) -> Case:
    def take(array: np.ndarray) -> np.ndarray:
        return np.take(array, which, axis=array.ndim - len(case.space))

    extras = {
        key: take(value) if isinstance(value, np.ndarray) and value.shape[-len(case.space) :] == case.space else value
        for key, value in case.extras.items()
        if key != "geometry"  # it describes the old grid
    }
    return replace(case, image=take(case.image), label=take(require_label(case)), extras=extras)


def _require_volume(case: Case) -> None:
    if len(case.space) != 3:
        raise ValueError(f"case {case.name} has the grid {case.space}; slices can be selected in volumes only.")
