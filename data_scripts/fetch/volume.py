"""Voxels with their position in the patient: read without a float64 copy, written atomically."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsnotes.data import nifti
from dsnotes.data.geometry import Geometry
from dsnotes.safety.atomic import replacing
from fetch.download import require_space

SLABS = 16  # slices of a float64 image in memory at a time: a whole KiTS19 case takes 1.7 GB
STRAIGHT = {n: tuple(float(one) for one in np.eye(n).ravel()) for n in (2, 3)}


@dataclass(frozen=True, eq=False)
class Volume:
    """`voxels` are ([channels], slices, rows, columns) or (rows, columns), in the order of the file they come from."""

    voxels: np.ndarray
    geometry: Geometry

    def __post_init__(self) -> None:
        grid = self.geometry.size[::-1]
        assert self.voxels.shape[-len(grid) :] == grid, (self.voxels.shape, grid)


def plain(voxels: np.ndarray, spacing: Sequence[float]) -> Volume:
    """Voxels of a file without patient coordinates; `spacing` in the order of the array's axes."""
    n = len(spacing)
    size = voxels.shape[-n:][::-1]
    return Volume(voxels, Geometry(size, tuple(float(mm) for mm in spacing[::-1]), (0.0,) * n, STRAIGHT[n]))


def read(path: Path, dtype: str | None = None) -> Volume:
    """A NIfTI, MHD or other image file; raises an error if its values do not fit `dtype`."""
    import SimpleITK as sitk

    if path.name.lower().endswith((".nii", ".nii.gz")):
        return _read_nifti(path, dtype)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"{path.name} cannot be read ({reason}). Delete it, and fetch it again.") from error
    voxels = sitk.GetArrayFromImage(image)
    return Volume(voxels if dtype is None else fitting(voxels, dtype, path.name), _geometry(image))


def _read_nifti(path: Path, dtype: str | None) -> Volume:
    import nibabel
    import SimpleITK as sitk

    nifti.require_whole(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ValueError(f"{path.name} cannot be read ({str(error).strip().splitlines()[-1]}).") from error
    proxy = nibabel.load(path, keep_file_open=True).dataobj
    shape = proxy.shape
    voxels = np.empty(shape, dtype or proxy.dtype, order="F")
    for at in range(0, shape[-1], SLABS):
        slab = np.asanyarray(proxy[..., at : at + SLABS])
        voxels[..., at : at + SLABS] = slab if dtype is None else fitting(slab, dtype, path.name)
    return Volume(voxels.T, _geometry(reader))


def fitting(values: np.ndarray, dtype: str, of: str) -> np.ndarray:
    """Convert whole numbers to a smaller type; rounding errors of a scaled file (2.9999998) are allowed."""
    if values.dtype == np.dtype(dtype):
        return values
    whole = np.rint(values) if values.dtype.kind == "f" else values
    limits = np.iinfo(dtype)
    if not (np.abs(values - whole) < 1e-3).all() or whole.min() < limits.min or whole.max() > limits.max:
        raise ValueError(
            f"{of} holds values from {values.min():g} to {values.max():g}, not all of them whole numbers that fit into "
            f"{dtype}. It is not the file expected: look at it, and delete it to fetch it again."
        )
    return whole.astype(dtype)


def _geometry(image) -> Geometry:
    n = min(image.GetDimension(), 3)
    direction = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)[:n, :n]
    return Geometry(
        tuple(image.GetSize()[:n]),
        tuple(image.GetSpacing()[:n]),
        tuple(image.GetOrigin()[:n]),
        tuple(float(cosine) for cosine in direction.ravel()),
    )


def write(path: Path, volume: Volume) -> None:
    """Write NIfTI in the type of the voxels; channels become the fourth axis, as in Decathlon."""
    import SimpleITK as sitk

    n = len(volume.geometry.size)
    voxels = volume.voxels
    channels = [voxels] if voxels.ndim == n else list(voxels)
    images = [sitk.GetImageFromArray(np.ascontiguousarray(channel)) for channel in channels]
    for image in images:
        image.SetSpacing(volume.geometry.spacing)
        image.SetOrigin(volume.geometry.origin)
        image.SetDirection(volume.geometry.direction)
    require_space(path.parent, voxels.nbytes, path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as part:
            sitk.WriteImage(images[0] if voxels.ndim == n else sitk.JoinSeries(images), str(part), useCompression=True)
            nifti.require_whole(part)  # ITK may raise no error on a full disk
    except (RuntimeError, ValueError) as error:
        raise OSError(f"{path} cannot be written: is the disk full, the folder writable? ({error})") from error


def whole_numbers(voxels: np.ndarray) -> np.ndarray:
    """int16 if all values are whole and fit, as HU do; else float32."""
    if (voxels == np.rint(voxels)).all() and voxels.min() >= -32768 and voxels.max() <= 32767:
        return voxels.astype(np.int16)
    return voxels.astype(np.float32)
