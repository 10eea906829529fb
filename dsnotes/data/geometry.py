"""Orientation: how a file's axes lie in the patient, and the fixed orientation of arrays in dsnotes.

In arrays depth runs from the feet to the head, height from front to back and width from the patient's right to the
left (ITK's "LPS"), so that a network never sees a mirrored patient. Axes are only swapped and flipped, without
resampling, so the way back is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np


@dataclass(frozen=True)
class Geometry:
    """How a file's voxels lie in the patient: ITK's numbers, in the file's own order of axes (x first)."""

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]  # row by row; column k is the direction of axis k of the file

    @cached_property
    def turn(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Which axis of the file's array becomes axis 0, 1, … of our array, and which axes of ours are then flipped."""
        n = len(self.size)
        towards = np.array(self.direction).reshape(n, n)
        source = max(permutations(range(n)), key=lambda p: sum(abs(towards[i, p[i]]) for i in range(n)))
        order = tuple(n - 1 - source[n - 1 - axis] for axis in range(n))
        return order, tuple(axis for axis in range(n) if towards[n - 1 - axis, source[n - 1 - axis]] < 0)

    @property
    def space(self) -> tuple[int, ...]:
        """The size of our array."""
        return tuple(self.size[::-1][axis] for axis in self.turn[0])

    @property
    def array_spacing(self) -> tuple[float, ...]:
        return tuple(self.spacing[::-1][axis] for axis in self.turn[0])

    def canonical(self, array: np.ndarray) -> np.ndarray:
        """Turn the file's array, (*channels, z, y, x), into the fixed orientation."""
        order, flipped = self.turn
        lead = array.ndim - len(order)
        array = array.transpose(*range(lead), *(lead + axis for axis in order))
        return np.flip(array, [lead + axis for axis in flipped])

    def as_filed(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `canonical`."""
        order, flipped = self.turn
        lead = array.ndim - len(order)
        array = np.flip(array, [lead + axis for axis in flipped])
        return array.transpose(*range(lead), *(lead + int(axis) for axis in np.argsort(order)))
