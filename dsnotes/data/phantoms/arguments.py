"""What a caller ordered: how many, on which grid, from which seed; wrong orders are answered here."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from dsnotes.data.conversion import checked_spacing
from dsnotes.data.phantoms.grid import Grid

SMALLEST = 16  # voxels along an axis of a slice: below, no organ is recognisable


def checked_count(n: int, seed: int, kind: str) -> None:
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
        raise ValueError(f"n={n!r} cases were asked for, but it takes at least 1: phantoms.{kind}(4, seed=0).")
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed={seed!r}, but a seed is a whole number from 0 on. Pass phantoms.{kind}({n}, seed=0).")


def checked_size(size: object, dims: int, kind: str) -> tuple[int, ...]:
    given = size if isinstance(size, tuple | list) else (size,)
    whole = all(isinstance(v, Integral) and not isinstance(v, bool) for v in given)
    if len(given) != dims or not whole:
        axes = ("height", "width") if dims == 2 else ("depth", "height", "width")
        example = (64, 64) if dims == 2 else (32, 64, 64)
        raise ValueError(
            f"size={size!r}, but it takes {dims} whole numbers, ({', '.join(axes)}) in voxels: "
            f"phantoms.{kind}(1, size={example})."
        )
    least = (SMALLEST,) * 2 if dims == 2 else (SMALLEST // 2, SMALLEST, SMALLEST)
    if any(v < m for v, m in zip(given, least, strict=True)):
        raise ValueError(f"size={tuple(given)} is too small to hold the anatomy: use at least {least}.")
    return tuple(int(v) for v in given)


def fitted(
    size: object, spacing: object, *, field: tuple[float, float, float], kind: str
) -> tuple[Grid, tuple[float, ...], float]:
    """The grid in the anatomy's own mm, the spacing in mm, and the scale between the two.

    Without a spacing the voxels share out the natural field of view; with one, the anatomy shrinks or grows until it
    fills size × spacing.
    """
    size = checked_size(size, 3, kind)
    if spacing is None:
        spacing = tuple(f / n for f, n in zip(field, size, strict=True))
    spacing = checked_spacing(
        spacing, f"phantoms.{kind}", axes=3, example=f"phantoms.{kind}(1, spacing=(3.0, 1.5, 1.5))"
    )
    scale = min(n * s / f for n, s, f in zip(size, spacing, field, strict=True))
    return Grid(size, tuple(s / scale for s in spacing)), spacing, scale


def streams(kind: int, seed: int, index: int) -> tuple[np.random.Generator, np.random.Generator]:
    """Chance for the anatomy and for the voxels: case i is the same in any n, and the same patient on any grid."""
    return tuple(np.random.Generator(np.random.PCG64([int(seed), kind, index, part])) for part in range(2))


def settled(share: np.ndarray) -> np.ndarray:
    """Fractions in steps of 1/4096: equal on every machine, whatever its last bits."""
    return (np.rint(np.clip(share, 0, 1) * 4096) / 4096).astype(np.float32)
