"""Checks of NIfTI files that ITK leaves out: truncation, damage, NaN, invalid spacing."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np


def require_whole(path: Path) -> bool:
    """Raise an error for a truncated or damaged NIfTI file; returns whether all its voxels are finite.

    ITK fills the missing part of a truncated file with arbitrary memory, ignores the checksum and turns NaN into 0.
    """
    import nibabel

    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        _require_spacing(path, opener)
        proxy = nibabel.load(path).dataobj
        if proxy.dtype.kind == "c":
            raise ValueError(
                f"{path}: the image holds complex numbers; needed are real ones. Save the magnitude, "
                f"numpy.abs(image), or the phase, numpy.angle(image)."
            )
        size = proxy.dtype.itemsize
        needed = int(np.prod(proxy.shape, dtype=np.int64)) * size
        found, finite = 0, True
        with opener(path, "rb") as stream:
            stream.read(proxy.offset)
            while block := stream.read(1 << 20):
                found += len(block)
                if proxy.dtype.kind == "f" and finite:
                    voxels = np.frombuffer(block[: len(block) // size * size], proxy.dtype)
                    finite = bool(np.isfinite(voxels).all())
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
        raise _damaged(path, str(error)) from error
    except (EOFError, gzip.BadGzipFile, zlib.error, struct.error) as error:
        raise _damaged(path, str(error)) from error
    if found < needed:
        raise _damaged(path, f"its header promises {needed} bytes of voxels, it holds {found}")
    return finite


def _require_spacing(path: Path, opener: Callable) -> None:
    """Raise an error for an invalid spacing: ITK silently reads 0, infinity and NaN as 1 mm, nibabel 0."""
    with opener(path, "rb") as stream:
        head = stream.read(540)
    order = next((order for order in "<>" if struct.unpack_from(order + "i", head)[0] in (348, 540)), None)
    if order is None:
        return  # nibabel reports the error
    second = struct.unpack_from(order + "i", head)[0] == 540
    sizes = struct.unpack_from(order + ("8q" if second else "8h"), head, 16 if second else 40)
    spacing = struct.unpack_from(order + ("8d" if second else "8f"), head, 104 if second else 76)
    axes = range(1, 1 + min(max(sizes[0], 0), 3))
    if any(sizes[axis] > 1 and not 0 < abs(spacing[axis]) < np.inf for axis in axes):
        raise ValueError(
            f"{path}: its header gives {[spacing[axis] for axis in axes]} as the millimetres between voxels; needed "
            f"are positive numbers. Find out the true ones, and write them: nibabel.load(path).header.set_zooms(…), "
            f"then save."
        )


def as_it_is(path: Path) -> np.ndarray:
    """The voxels including NaN, in ITK's order of axes."""
    import nibabel

    return np.asanyarray(nibabel.load(path).dataobj).T


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is truncated or damaged: {why.rstrip('.')}. Download or copy it again.")
