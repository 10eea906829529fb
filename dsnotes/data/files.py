"""Read and write image files: NIfTI, MHA, NRRD, PNG, DICOM folders; arrays share one orientation, files keep theirs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dsnotes.data import dicom, nifti, whole_files
from dsnotes.data.case import Case, class_indices, require_finite
from dsnotes.data.geometry import Geometry
from dsnotes.safety.atomic import replacing
from dsnotes.safety.nearest import nearest

SUFFIXES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".dcm", ".png", ".tiff", ".tif", ".jpeg", ".jpg", ".bmp")
WRITTEN = (".nii.gz", ".nii", ".mha", ".nrrd", ".png", ".tiff", ".tif")  # single files, so that a rename is atomic


def open_case(
    image_path: str | os.PathLike | Sequence[str | os.PathLike],
    label_path: str | os.PathLike | None = None,
    *,
    name: str | None = None,
    series: str | None = None,
) -> Case:
    """Open an image and, if given, its label as a `Case`.

    A folder is read as a DICOM series (`series` selects one of several). A fourth axis, vector pixels and several
    files on one grid become channels. `extras["geometry"]` keeps the file's grid for `save_label` and `save_volume`.
    """
    if isinstance(image_path, list | tuple):
        array, geometry = _one_file_a_channel(image_path)
        image_path = image_path[0]
    else:
        array, geometry = read_volume(image_path, series=series)
    image = np.ascontiguousarray(array, dtype=np.float32)
    require_finite(image, str(image_path))
    label = None
    if label_path is not None:
        label, of_label = read_volume(label_path)
        if label.ndim > len(of_label.size):
            raise ValueError(
                f"{label_path}: a label with {label.shape[0]} channels came; needed is one channel of class indices "
                f"(background 0, then 1, 2, …). Save for instance channels.argmax(0), or map colours to indices."
            )
        require_same_geometry(geometry, of_label, image_path, label_path)
        label = np.ascontiguousarray(class_indices(label, str(label_path)))
    name = name or stem(image_path)
    return Case(name, image, label, geometry.array_spacing, {"geometry": geometry})


def _one_file_a_channel(paths: Sequence[str | os.PathLike]) -> tuple[np.ndarray, Geometry]:
    if not paths:
        raise ValueError("no image file came. Pass one path, or a list with one path per channel.")
    first, geometry = read_volume(paths[0])
    image = np.empty((len(paths), *geometry.space), np.float32)
    for channel, path in enumerate(paths):
        one, own = (first, geometry) if channel == 0 else read_volume(path)
        if one.ndim > len(own.size):
            raise ValueError(f"{path} holds {one.shape[0]} channels; with several files, each must hold one channel.")
        require_same_geometry(geometry, own, paths[0], path)
        image[channel] = one
    return image, geometry


def save_label(path: str | os.PathLike, label: np.ndarray, case: Case) -> Path:
    """Write class indices on the grid of the file that `case` was opened from."""
    return _save(Path(path), class_indices(label, f"label for {path}"), case)


def save_volume(path: str | os.PathLike, volume: np.ndarray, case: Case) -> Path:
    """Write ([channels], *space) float32, such as probabilities, on the grid of the file that `case` came from."""
    return _save(Path(path), volume.astype(np.float32, copy=False), case)


def stem(path: str | os.PathLike) -> str:
    """A file's name without ".nii.gz" or another image extension."""
    name = Path(path).name
    ending = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(ending)] or name


def read_volume(path: str | os.PathLike, *, series: str | None = None) -> tuple[np.ndarray, Geometry]:
    """Voxels of an image file or DICOM folder as ([channels], *space) in dsnotes' orientation, and the geometry."""
    import SimpleITK as sitk

    path = Path(path)
    require_exists(path)
    finite = True
    if path.is_dir():
        source: str | list[str] = dicom.series_files(path, series)
    else:
        source = str(path)
        finite = _require_sound(path)
    try:
        image = sitk.ReadImage(source)
    except RuntimeError as error:
        raise ValueError(f"{path}: SimpleITK cannot read it ({_reason(error)}). {_remedy(error)}") from error
    array = sitk.GetArrayViewFromImage(image)
    if array.dtype.kind == "c":
        raise ValueError(
            f"{path}: the image holds complex numbers; needed are real ones. Save the magnitude, numpy.abs(image), or "
            f"the phase, numpy.angle(image)."
        )
    n = image.GetDimension()
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)
    keep = min(n, 3)
    if n > 4 or array.ndim > keep + 1:
        raise ValueError(
            f"{path}: the image has the axes {array.shape}; needed are at most three axes in space and one of "
            f"channels. Save the channels as the fourth axis, or one image per time point."
        )
    direction = np.array(image.GetDirection()).reshape(n, n)[:keep, :keep]
    geometry = Geometry(
        size=tuple(image.GetSize()[:keep]),
        spacing=tuple(image.GetSpacing()[:keep]),
        origin=tuple(image.GetOrigin()[:keep]),
        direction=tuple(float(cosine) for cosine in direction.ravel()),
    )
    if not finite:
        array = nifti.as_it_is(path).reshape(array.shape)
    return np.array(geometry.canonical(array), order="C"), geometry  # a copy: the view ends with the image


def channels_of(path: Path, *, series: str | None = None) -> int:
    """How many channels `open_case` would find, by the header of the file or of the first of the series."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path) if not path.is_dir() else dicom.series_files(path, series)[0])
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ValueError(f"{path}: SimpleITK cannot read it ({_reason(error)}). {_remedy(error)}") from error
    fourth = reader.GetSize()[3] if reader.GetDimension() > 3 else 1
    return fourth * reader.GetNumberOfComponents()


def _require_sound(path: Path) -> bool:
    """Raise an error if the file is truncated, unpacks to gigabytes or reads files elsewhere; whether all is finite."""
    import SimpleITK as sitk

    whole_files.require_own_data(path)
    whole_files.require_whole(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        reader = None  # reported when it is read
    if reader is not None and path.suffix.lower() not in (".mhd", ".nhdr"):  # their voxels are in another file
        of_a_voxel = 8 * reader.GetNumberOfComponents()
        whole_files.require_sane_size(path, reader.GetSize(), of_a_voxel)
    return nifti.require_whole(path) if path.name.lower().endswith((".nii", ".nii.gz")) else True


def require_exists(path: Path) -> None:
    """Raise an error for a missing path that suggests the nearest existing names."""
    if path.exists():
        return
    there = next(folder for folder in path.absolute().parents if folder.is_dir())
    wanted = path.absolute().relative_to(there).parts[0]
    names = sorted(entry.name for entry in there.iterdir())
    near = nearest(wanted, names) or names[:3]
    raise FileNotFoundError(
        f"there is no {path}. In {there} there is no {wanted!r}; "
        + (f"the nearest names there: {', '.join(near)}." if near else "that folder is empty.")
    )


def require_same_geometry(image: Geometry, label: Geometry, image_path: object, label_path: object) -> None:
    """Raise an error unless image and label have the same voxels at the same places."""
    tolerance = {"size": 0.0, "spacing": 1e-3 * min(image.spacing), "direction": 1e-3}
    tolerance["origin"] = 0.1 * min(image.spacing)
    for what, within in tolerance.items():
        of_image, of_label = getattr(image, what), getattr(label, what)
        if len(of_image) != len(of_label) or not np.allclose(of_image, of_label, rtol=0, atol=within):
            raise ValueError(
                f"image and label have a different {what} (x first): {_short(of_image)} in {image_path}, "
                f"{_short(of_label)} in {label_path}. Bring the label onto the image's grid with "
                f"SimpleITK.Resample(label, image, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor), or, if only "
                f"its header is wrong, label.CopyInformation(image)."
            )


def _short(numbers: tuple) -> str:
    return "(" + ", ".join(f"{number:.5g}" for number in numbers) + ")"


def _save(path: Path, array: np.ndarray, case: Case) -> Path:
    import SimpleITK as sitk

    n = len(case.spacing)
    geometry = case.extras.get("geometry") or Geometry(
        case.space[::-1], case.spacing[::-1], (0.0,) * n, tuple(float(one) for one in np.eye(n).ravel())
    )
    if array.shape[-n:] != geometry.space or array.ndim not in (n, n + 1):
        raise ValueError(
            f"an array of shape {array.shape} came for case {case.name}, whose file has the grid {geometry.space}. "
            + (
                "It lies on the preprocessed grid: save dsnotes.data.preprocess.restore(array, case)."
                if array.shape[-n:] == case.space
                else f"Pass ([channels], {', '.join(str(size) for size in geometry.space)})."
            )
        )
    filed = np.ascontiguousarray(geometry.as_filed(array))
    if filed.ndim == n or n == 2:
        image = sitk.GetImageFromArray(filed if filed.ndim == n else np.moveaxis(filed, 0, -1), isVector=filed.ndim > n)
        _stamp(image, geometry)
    else:  # channels of a volume become the fourth axis, as in the Decathlon
        channels = [_stamp(sitk.GetImageFromArray(channel), geometry) for channel in filed]
        image = sitk.JoinSeries(channels)
    if not path.name.lower().endswith(WRITTEN):
        raise ValueError(f"{path}: dsnotes does not write this format. End the name in one of {', '.join(WRITTEN)}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as part:
            sitk.WriteImage(image, str(part), useCompression=True)
    except RuntimeError as error:
        raise ValueError(
            f"{path} cannot be written ({_reason(error)}). Save volumes and float values as .nii.gz, .mha or .nrrd; "
            f"the folder must be writable and have space left."
        ) from error
    return path


def _stamp(image, geometry: Geometry):
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


def _reason(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("sitk::ERROR: ").rstrip(".")


def _remedy(error: RuntimeError) -> str:
    if "orthonormal" in str(error):
        return (
            "Its axes are not at right angles: set the environment variable ITK_NIFTI_SFORM_PERMISSIVE=1 to have ITK "
            "use the nearest orthogonal axes, or resample the file."
        )
    return f"Pass one of {', '.join(SUFFIXES)}, or the folder of a DICOM series. If it is one of these, copy it again."
