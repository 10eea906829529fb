"""A folder of DICOM slices: the series it holds, and a check that a series forms an evenly spaced volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def series_files(folder: Path, series: str | None) -> list[str]:
    """The files of one series, sorted along the patient; raises an error if they are not evenly spaced."""
    import SimpleITK as sitk

    found = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not found:
        names = sorted(entry.name for entry in folder.iterdir())
        raise ValueError(
            f"{folder} holds no DICOM series; it holds {', '.join(names[:5]) or 'nothing'}"
            f"{', …' if len(names) > 5 else ''}. Pass the folder that holds the slices, or an image file."
        )
    if series is None and len(found) > 1:
        raise ValueError(
            f"{folder} holds {len(found)} DICOM series:\n{_listing(folder, found)}\n"
            f"Choose one: open_case(folder, series={found[0]!r})."
        )
    if series is not None and series not in found:
        raise ValueError(f"{folder} holds no series {series!r}. It holds:\n{_listing(folder, found)}")
    series = series or found[0]
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series)
    _require_even_stack(list(files), f"DICOM series {series} in {folder}")
    return list(files)


def _listing(folder: Path, found: tuple[str, ...]) -> str:
    import SimpleITK as sitk

    lines = []
    for series in found:
        files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series)
        header = _header(files[0])
        tags = [header.GetMetaData(tag).strip() for tag in ("0008|0060", "0008|103e") if header.HasMetaDataKey(tag)]
        lines.append(f"  {series}  {len(files)} slices  {' '.join(tags)}".rstrip())
    return "\n".join(lines)


def _header(file: str):
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return reader


def _require_even_stack(files: list[str], which: str) -> None:
    """ITK uses the distance between the first two slices for all, so a gap would shift everything after it."""
    if len(files) < 2:
        return
    headers = [_header(file) for file in files]
    sizes = {header.GetSize()[:2] for header in headers}
    if len(sizes) > 1:
        raise ValueError(
            f"{which}: slices of different size {sorted(sizes)}. Move those that do not belong (often a scout view) "
            f"out of the folder."
        )
    origins = np.array([header.GetOrigin() for header in headers])  # (slices, 3)
    axes = np.array(headers[0].GetDirection()).reshape(3, 3)
    along = (origins - origins[0]) @ axes[:, 2]
    steps = np.diff(along)
    usual = float(np.median(steps))
    odd = np.flatnonzero(np.abs(steps - usual) > max(0.01, 0.02 * abs(usual)))
    twice = np.flatnonzero(np.abs(steps) < 1e-3)
    if twice.size:
        first, second = (Path(files[i]).name for i in (twice[0], twice[0] + 1))
        raise ValueError(
            f"{which}: {twice.size + 1} of {len(files)} slices share a position, first {first} and {second}. "
            f"Keep one slice per position (and one phase or echo) in the folder."
        )
    if odd.size:
        first, second = (Path(files[i]).name for i in (odd[0], odd[0] + 1))
        raise ValueError(
            f"{which}: slices are missing or uneven: usually {usual:.4g} mm apart, but {steps[odd[0]]:.4g} mm between "
            f"{first} and {second} ({odd.size} such gaps). Fetch the missing slices, or copy the slices on one side "
            f"of the gap to another folder and open that."
        )
    drift = float(np.linalg.norm(origins[-1] - origins[0] - along[-1] * axes[:, 2]))
    if drift > 0.5 * min(headers[0].GetSpacing()[:2]):
        angle = np.degrees(np.arctan2(drift, abs(along[-1])))
        raise ValueError(
            f"{which}: the gantry was tilted by {angle:.1f} degrees, so the slices do not stack at right angles. "
            f"Straighten the series first, for instance with dcm2niix, and open the NIfTI file."
        )
