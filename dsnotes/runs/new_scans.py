"""The new scans that `dsnotes predict` is given: which files are one scan, and whether the run takes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dsnotes.runs.source import RefusedError


@dataclass(frozen=True)
class Scan:
    """The files of one new image, one a channel."""

    name: str
    files: tuple[Path, ...]

    @property
    def image(self) -> Path | list[Path]:
        return self.files[0] if len(self.files) == 1 else list(self.files)

    def state(self) -> list:
        """Names, sizes and times: a file that has changed is predicted again."""
        paths = [at for file in self.files for at in (sorted(file.iterdir()) if file.is_dir() else [file])]
        return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def scans_of(files: list[Path], *, channels: int, at_least: bool = False) -> list[Scan]:
    """Files, folders of DICOM, and folders of image files; the channels of one case (_0000, _0001) are one scan.

    `at_least`: the run chooses some of a scan's channels, of which there may be more.
    """
    from dsnotes.data.dicom_labels import is_dicom
    from dsnotes.data.files import stem
    from dsnotes.data.layout import without_channel
    from dsnotes.data.pairing import image_files

    listed: list[Path] = []
    for path in files:
        if path.is_dir() and not any(is_dicom(one) for one in path.iterdir() if one.is_file()):
            listed += image_files(path)
        else:
            listed.append(path)
    grouped: dict[str, list[Path]] = {}
    numbered = channels > 1 or at_least or all(stem(path).endswith(("_0000", "-0000")) for path in listed)
    for path in listed:
        name = stem(path) if not path.is_dir() else path.name
        grouped.setdefault(without_channel(name) if numbered else name, []).append(path)
    for name, paths in grouped.items():
        if len(paths) > 1 and channels == 1 and not at_least:
            raise RefusedError(f"{len(paths)} scans are called {name}: {', '.join(map(str, paths))}. Rename one")
        if len(paths) not in (1, channels) and not (at_least and len(paths) > channels):
            raise RefusedError(f"{name} has {len(paths)} files, the run takes {channels} channels: {paths[0]} …")
    if not grouped:
        raise RefusedError(f"{files[0]} holds no image")
    return [Scan(name, tuple(sorted(paths))) for name, paths in grouped.items()]


def require_channels(scans: list[Scan], channels: int, *, at_least: bool, series: str | None) -> None:
    """Check the number of channels by the headers; a file that cannot be read is reported when it is predicted."""
    from dsnotes.data.files import channels_of

    for scan in scans:
        if len(scan.files) > 1:
            continue
        try:
            found = channels_of(scan.files[0], series=series)
        except (ValueError, OSError):
            continue
        if found < channels if at_least else found != channels:
            raise RefusedError(
                f"{scan.files[0]} has {found} channel{'s' if found > 1 else ''}, the run takes {channels}"
                f"{' or more' if at_least else ''}. Give the channels of one scan as one file, or as files that are "
                f"called {scan.name}_0000, {scan.name}_0001, …"
            )


def all_flat(scans: list[Scan]) -> bool:
    """Whether every scan is a picture such as PNG, whose label is one too."""
    return all(scan.files[0].suffix.lower() in (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff") for scan in scans)
