"""Checks of untrusted path names: archive members, case names, data files named in image headers.

A name is normalised, the path must resolve to inside its folder, and files are opened for writing without following
links. So a name that gets past one of the three steps still has to pass the other two.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

LONGEST, LONGEST_PATH = 255, 4096  # bytes of UTF-8: the limits of common file systems for a name and for a path
DRIVE = re.compile("[A-Za-z]:")
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)\s*(\.|$)", re.IGNORECASE)
ANCHORED = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")  # not on Windows


class UnsafePathError(ValueError):
    """A name that leads, or could lead, out of the folder it is meant for."""


def relative(name: str) -> PurePosixPath:
    """The name as a relative path that stays below its folder on every system; raises `UnsafePathError` otherwise.

    `./` and doubled slashes are dropped first. Unicode look-alikes of dots and slashes count as dots and slashes.
    """
    plain = unicodedata.normalize("NFKC", name).replace("\\", "/")
    if not name.strip() or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise _refused(name, "is empty, or contains control characters or invalid Unicode")
    if plain.startswith("/") or name.replace("\\", "/").startswith("/"):
        raise _refused(name, "is an absolute path")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    for part in parts:
        if not part.strip(" ."):  # "..", and what Windows makes of ".. ." and "..."
            raise _refused(name, "leads out of its folder")
        if DRIVE.match(part):
            raise _refused(name, "names a drive")
        if os.name == "nt" and DEVICES.match(part):
            raise _refused(name, "names a device")
    found = PurePosixPath(*(part for part in name.replace("\\", "/").split("/") if part not in ("", ".")))
    sizes = [len(part.encode()) for part in found.parts]
    if not sizes or max(sizes) > LONGEST or sum(sizes) + len(sizes) > LONGEST_PATH:
        raise _refused(name, "is empty or too long for a file system")
    return found


def file_name(name: str) -> str:
    """The name as a file name without folders, such as a case's."""
    found = relative(name)
    if len(found.parts) != 1:
        raise _refused(name, "contains a folder")
    return found.parts[0]


def inside(folder: str | os.PathLike, name: str) -> Path:
    """`folder / name`; raises `UnsafePathError` where the name or an existing link leads out of the folder."""
    folder = Path(folder)
    path = folder.joinpath(*relative(name).parts)
    require_inside(path, folder, name)
    return path


def require_inside(path: Path, folder: Path, name: str) -> None:
    """Resolve every link of `path` and require that it ends below `folder`."""
    end = Path(os.path.realpath(path))  # Path.resolve raises on a link that leads to itself
    if not end.is_relative_to(os.path.realpath(folder)):
        raise _refused(name, f"leads to {end}, outside of {folder}")


@contextmanager
def write_inside(folder: str | os.PathLike, name: str) -> Iterator[BinaryIO]:
    """A new file below `folder`, renamed to `name` once it is complete; no link below `folder` is followed.

    A link at the target is replaced; what it points to is left alone.
    """
    parts = relative(name).parts
    Path(folder).mkdir(parents=True, exist_ok=True)
    part = f".part-{secrets.token_hex(6)}"
    place = _enter(Path(folder), parts[:-1], name)
    try:
        with open(part, "xb", opener=place.opener) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        try:
            place.rename(part, parts[-1])
        except IsADirectoryError as error:
            raise _refused(name, f"is already a folder in {folder}") from error
    except BaseException:
        place.remove(part)
        raise
    finally:
        place.close()


class _Place:
    """A folder opened step by step: by file descriptor where the system supports it, else by path."""

    def __init__(self, at: int | Path) -> None:
        self.at = at
        self._by = {} if isinstance(at, Path) else {"dir_fd": at}

    def _path(self, name: str) -> str | Path:
        return self.at / name if isinstance(self.at, Path) else name

    def opener(self, name: str, flags: int) -> int:
        return os.open(self._path(name), flags | getattr(os, "O_NOFOLLOW", 0), 0o666, **self._by)

    def rename(self, old: str, new: str) -> None:
        by = {} if isinstance(self.at, Path) else {"src_dir_fd": self.at, "dst_dir_fd": self.at}
        os.replace(self._path(old), self._path(new), **by)

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):  # renamed already, or never created
            os.unlink(self._path(name), **self._by)

    def close(self) -> None:
        if not isinstance(self.at, Path):
            os.close(self.at)


def _enter(folder: Path, parts: tuple[str, ...], name: str) -> _Place:
    """Open the folder below, creating folders on the way; a link on the way raises `UnsafePathError`."""
    if not ANCHORED:
        target = folder.joinpath(*parts)
        require_inside(target, folder, name)
        target.mkdir(parents=True, exist_ok=True)
        require_inside(target, folder, name)
        return _Place(target)
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for part in parts:
        try:
            with suppress(FileExistsError):  # entered below, if it is a folder
                os.mkdir(part, dir_fd=at)
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise _refused(name, f"passes through {part!r} in {folder}, which is a link or a file") from error
            raise
        finally:
            os.close(at)
        at = below
    return _Place(at)


def _refused(name: str, why: str) -> UnsafePathError:
    shown = name if len(name) <= 80 else f"{name[:60]}…{name[-15:]}"
    return UnsafePathError(
        f"the name {shown!r} {why}. A path must stay in its folder, such as 'imagesTr/case_01.nii.gz': "
        f"rename the file, or report it to its source."
    )
