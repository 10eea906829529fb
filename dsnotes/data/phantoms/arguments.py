"""Check the arguments of the phantom functions: number, seed, size and spacing; and set up their random streams."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from dsnotes.data.conversion import checked_spacing
from dsnotes.data.phantoms.grid import Grid

SMALLEST = 16  # voxels along an axis of a slice; with fewer, organs are not recognisable


def checked_count(n: int, seed: int, kind: str) -> None:
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
        raise ValueError(f"n={n!r}, but at least 1 case is needed. Pass phantoms.{kind}(4, seed=0).")
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed={seed!r}, but a seed is a whole number ≥ 0. Pass phantoms.{kind}({n}, seed=0).")


def checked_size(size: object, dims: int, kind: str) -> tuple[int, ...]:
    given = size if isinstance(size, tuple | list) else (size,)
    whole = all(isinstance(v, Integral) and not isinstance(v, bool) for v in given)
    if len(given) != dims or not whole:
        axes = ("height", "width") if dims == 2 else ("depth", "height", "width")
        example = (64, 64) if dims == 2 else (32, 64, 64)
        raise ValueError(
            f"size={size!r}; needed are {dims} whole numbers, ({', '.join(axes)}) in voxels. "
            f"Pass phantoms.{kind}(1, size={example})."
        )
    least = (SMALLEST,) * 2 if dims == 2 else (SMALLEST // 2, SMALLEST, SMALLEST)
    if any(v < m for v, m in zip(given, least, strict=True)):
        raise ValueError(f"size={tuple(given)} is too small for the anatomy: use at least {least}.")
    return tuple(int(v) for v in given)


def fitted(
    size: object, spacing: object, *, field: tuple[float, float, float], kind: str
) -> tuple[Grid, tuple[float, ...], float]:
    """The grid in the anatomy's own mm, the spacing in mm, and the scale between the two.

    Without a spacing the voxels divide the default field of view; with one, the anatomy is scaled to fill
    size × spacing.
    """
    size = checked_size(size, 3, kind)
    if spacing is None:
        spacing = tuple(f / n for f, n in zip(field, size, strict=True))
    spacing = checked_spacing(
        spacing, f"phantoms.{kind}", axes=3, example=f"phantoms.{kind}(1, spacing=(3.0, 1.5, 1.5))"
    )
    scale = min(n * s / f for n, s, f in zip(size, spacing, field, strict=True))
    return Grid(size, tuple(s / scale for s in spacing)), spacing, scale


def streams(kind: int, seed: int, index: int, *, parts: int = 2) -> tuple[np.random.Generator, ...]:
    """Random generators for anatomy, voxels …: case i is the same for any n, and the same patient on any grid."""
    return tuple(np.random.Generator(np.random.PCG64([int(seed), kind, index, part])) for part in range(parts))


def settled(share: np.ndarray) -> np.ndarray:
    """Round fractions to multiples of 1/4096, so that they are equal on every machine."""
    return (np.rint(np.clip(share, 0, 1) * 4096) / 4096).astype(np.float32)
