"""Where the classes of a case lie: voxel counts per slice and class, computed once per case."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from dsnotes.data.case import Case

if TYPE_CHECKING or "torch" in sys.modules:
    import torch

_COUNTS: WeakKeyDictionary[Case, np.ndarray] = WeakKeyDictionary()
_LOWEST: WeakKeyDictionary[Case, np.ndarray] = WeakKeyDictionary()


def class_counts(case: Case) -> np.ndarray:
    """Number of voxels of each class in each slice: (slices along axis 0, classes).

    With it, drawing a random voxel of a class reads one slice instead of the whole volume.
    """
    if case not in _COUNTS:
        label = require_label(case)
        rows = [np.bincount(plane.ravel(), minlength=256) for plane in label]
        counts = np.stack(rows)
        _COUNTS[case] = counts[:, : np.flatnonzero(counts.any(0))[-1] + 1]
    return _COUNTS[case]


def lowest(case: Case) -> np.ndarray:
    """The smallest value of each channel, (channels,): air in CT, background in MR."""
    if case not in _LOWEST:
        _LOWEST[case] = case.image.reshape(case.channels, -1).min(1)
    return _LOWEST[case]


def remember(case: Case, counts: np.ndarray | None, low: np.ndarray) -> None:
    """Take counts and minima from the disk cache, so that opening a case reads no voxel."""
    if counts is not None:
        _COUNTS[case] = counts
    _LOWEST[case] = low


def foreground_classes(case: Case) -> list[int]:
    """The classes other than background that the case holds."""
    return [int(value) + 1 for value in np.flatnonzero(class_counts(case)[:, 1:].any(0))]


def draw_voxel(case: Case, value: int, generator: torch.Generator) -> tuple[int, ...]:
    """A uniformly drawn voxel of class `value`."""
    ends = class_counts(case)[:, value].cumsum()
    rank = draw_below(int(ends[-1]), generator)
    plane = int(np.searchsorted(ends, rank, side="right"))
    label = require_label(case)[plane]
    within = np.flatnonzero(label == value)[rank - (int(ends[plane - 1]) if plane else 0)]
    return plane, *(int(i) for i in np.unravel_index(within, label.shape))


def draw_below(n: int, generator: torch.Generator) -> int:
    """A random whole number from 0 to n - 1."""
    import torch

    return int(torch.randint(n, (1,), generator=generator, device=generator.device))


def require_label(case: Case) -> np.ndarray:
    if case.label is None:
        raise ValueError(
            f"case {case.name} has no label, which training and its statistics need. Open it with one, "
            f"open_case(image, label), or use the labelled part of a dataset, open_dataset(folder, split='training')."
        )
    return case.label
