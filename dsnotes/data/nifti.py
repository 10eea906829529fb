"""Checks of NIfTI files that ITK leaves out: truncation, damage, NaN, invalid spacing."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

# Codes of the voxels' types, https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 32: "c8", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8"}
TYPES |= {1280: "u8", 1792: "c16"}


def require_whole(path: Path) -> bool:
    """Raise an error for a truncated or damaged NIfTI file; returns whether all its voxels are finite.

    ITK fills the missing part of a truncated file with arbitrary memory, ignores the checksum and turns NaN into 0.
    """
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rb") as stream:
            head = stream.read(540)
            _require_spacing(path, head)
            shape, dtype, offset = _single_file(head) or _by_nibabel(path)
            if dtype.kind == "c":
                raise ValueError(
                    f"{path}: the image holds complex numbers; needed are real ones. Save the magnitude, "
                    f"numpy.abs(image), or the phase, numpy.angle(image)."
                )
            needed, found, finite = math.prod(shape) * dtype.itemsize, 0, True
            stream.seek(offset)
            while block := stream.read(1 << 20):
                found += len(block)
                if dtype.kind == "f" and finite:
                    voxels = np.frombuffer(block[: len(block) // dtype.itemsize * dtype.itemsize], dtype)
                    finite = bool(np.isfinite(voxels).all())
    except (EOFError, gzip.BadGzipFile, zlib.error, struct.error) as error:
        raise _damaged(path, str(error)) from error
    if found < needed:
        raise _damaged(path, f"its header promises {needed} bytes of voxels, it holds {found}")
    return finite


def _single_file(head: bytes) -> tuple[tuple[int, ...], np.dtype, int] | None:
    """Shape, type and place of the voxels of the usual kind of file; None for any other, which nibabel reads.

    Importing nibabel takes longer than reading a small image.
    """
    order, second = _order(head)
    magic = head[4:8] if second else head[344:348]
    if order is None or magic != (b"n+2\0" if second else b"n+1\0"):
        return None
    (code,) = struct.unpack_from(order + "h", head, 12 if second else 70)
    (offset,) = struct.unpack_from(order + ("q" if second else "f"), head, 168 if second else 108)
    n, *sizes = struct.unpack_from(order + ("8q" if second else "8h"), head, 16 if second else 40)
    least = 544 if second else 352
    if code not in TYPES or not 1 <= n <= 7 or min(sizes[:n]) < 1 or not least <= offset < 2**31 or offset % 1:
        return None
    return tuple(sizes[:n]), np.dtype(TYPES[code]).newbyteorder(order), int(offset)


def _by_nibabel(path: Path) -> tuple[tuple[int, ...], np.dtype, int]:
    import nibabel

    try:
        proxy = nibabel.load(path).dataobj
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
        raise _damaged(path, str(error)) from error
    return proxy.shape, proxy.dtype, proxy.offset


def _order(head: bytes) -> tuple[str | None, bool]:
    """The byte order by the size of the header, None if neither fits; whether it is NIfTI-2."""
    order = next((order for order in "<>" if struct.unpack_from(order + "i", head)[0] in (348, 540)), None)
    return order, order is not None and struct.unpack_from(order + "i", head)[0] == 540


def _require_spacing(path: Path, head: bytes) -> None:
    """Raise an error for an invalid spacing: ITK silently reads 0, infinity and NaN as 1 mm, nibabel 0."""
    order, second = _order(head)
    if order is None:
        return  # nibabel reports the error
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
