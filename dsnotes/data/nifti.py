"""What ITK does not say of a NIfTI file: that it is cut short, damaged, or holds NaN."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np


def require_whole(path: Path) -> bool:
    """ITK fills what a cut NIfTI lacks with whatever it finds in memory, ignores the checksum and turns NaN into 0.

    So the file is gone through once before ITK reads it; returns whether all its voxels are finite.
    """
    import nibabel

    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        proxy = nibabel.load(path).dataobj
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
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, str(error)) from error
    if found < needed:
        raise _damaged(path, f"its header promises {needed} bytes of voxels, it holds {found}")
    return finite


def as_it_is(path: Path) -> np.ndarray:
    """The voxels with their NaN, in ITK's order of axes."""
    import nibabel

    return np.asanyarray(nibabel.load(path).dataobj).T


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is truncated or damaged: {why.rstrip('.')}. Download or copy it again.")
