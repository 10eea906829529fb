"""Tar and zip archives, on this disk or behind a URL, from which only what is wanted is taken."""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError

from fetch.download import CHUNK, FULL, DownloadError, ask, no_space, persistently, require_space

JUNK = re.compile(r"(^|/)(\._[^/]*|\.DS_Store|__MACOSX|Thumbs\.db)(/|$)")  # what macOS and Windows leave in archives
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error)
BUFFER = 1 << 16  # of a remote archive: a header or two, and small enough for hundreds of them


class Archive:
    """`names` are the files within, without the junk; an archive with a path that leads elsewhere is refused whole."""

    def __init__(self, source: Path | io.BufferedIOBase, name: str) -> None:
        self.name = name
        self._file = source.open("rb") if isinstance(source, Path) else source
        try:
            members = self._listed()
            if odd := next((name for name, (_, plain) in members.items() if not plain or leads_elsewhere(name)), None):
                raise ValueError(
                    f"{self.name} holds {odd!r}, a link or a path that leads out of the folder it is unpacked in. "
                    f"Nothing was taken from it; report it to the source."
                )
        except BaseException:
            self.close()
            raise
        self._members = {n.removeprefix("./"): info for n, (info, _) in members.items() if not JUNK.search(n)}

    def _listed(self) -> dict:
        """Name -> (its entry, whether it is a plain file), folders left out."""
        try:
            if self.name.lower().endswith((".zip", ".whl")):
                self._open = zipfile.ZipFile(self._file)
                infos = [info for info in self._open.infolist() if not info.is_dir()]
                return {info.filename: (info, info.external_attr >> 28 != 0o12) for info in infos}
            self._open = tarfile.open(fileobj=self._file)  # noqa: SIM115
            return {info.name: (info, info.isfile()) for info in self._open if not info.isdir()}
        except DAMAGED as error:
            raise ValueError(
                f"{self.name} is no archive or is damaged ({error}). Delete it, and fetch it again."
            ) from error

    @property
    def names(self) -> list[str]:
        return list(self._members)

    def find(self, ending: str) -> list[str]:
        """Names that match a pattern at their end, in natural order: case_2 before case_10."""
        found = [name for name in self._members if re.search(f"(^|/)(?:{ending})$", name)]
        return sorted(found, key=lambda name: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", name)])

    def size(self, name: str) -> int:
        info = self._member(name)
        return info.file_size if isinstance(info, zipfile.ZipInfo) else info.size

    def extract(self, name: str, to: Path) -> Path:
        """The member as the file `to`, whole or not at all."""
        if to.is_file() and to.stat().st_size == self.size(name):
            return to
        require_space(to.parent, self.size(name), name)
        to.parent.mkdir(parents=True, exist_ok=True)
        part = to.with_name(to.name + ".part")
        try:
            with self._stream(name) as stream, part.open("wb") as out:
                shutil.copyfileobj(stream, out, 8 * CHUNK)
        except DAMAGED as error:
            raise ValueError(f"{name} in {self.name} is damaged ({error}). Delete the archive, fetch again.") from error
        except OSError as error:
            raise (no_space(error, part) if error.errno in FULL else error) from error
        os.replace(part, to)
        return to

    def read(self, name: str) -> bytes:
        with self._stream(name) as stream:
            return stream.read()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _member(self, name: str):
        if name not in self._members:
            raise ValueError(f"{self.name} holds no {name}; it holds {', '.join(self.names[:5]) or 'nothing'}, …")
        return self._members[name]

    def _stream(self, name: str):
        info = self._member(name)
        return self._open.open(info) if isinstance(self._open, zipfile.ZipFile) else self._open.extractfile(info)


def leads_elsewhere(name: str) -> bool:
    """Whether a member's path is absolute, names a drive or climbs out."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or bool(re.match("[A-Za-z]:", name))


def remote(url: str, name: str) -> Archive | None:
    """An archive read where it lies, by HTTP Range; None where the server sends whole files only."""
    try:
        stream = RangeFile(url)
    except NoRangeError:
        return None
    return Archive(io.BufferedReader(stream, BUFFER), name)


class NoRangeError(Exception):
    """The server does not send parts of files."""


class RangeFile(io.RawIOBase):
    """A remote file that can be read and sought, a request a read; it must not change meanwhile."""

    def __init__(self, url: str) -> None:
        self.url, self.at, self.length, self.etag = url, 0, 0, None
        self._get(0, 1)

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.length}[whence]
        return self.at

    def readinto(self, buffer) -> int:
        count = min(len(buffer), self.length - self.at)
        if count <= 0:
            return 0
        buffer[:count] = self._get(self.at, count)
        self.at += count
        return count

    def _get(self, start: int, count: int) -> bytes:
        got = bytearray()

        def attempt() -> bool:
            try:
                answer = ask(self.url, {"Range": f"bytes={start + len(got)}-{start + count - 1}"})
            except HTTPError as error:
                if error.code == 416:  # an empty file
                    error.close()
                    raise NoRangeError from error
                raise
            with answer:
                extent = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range") or "")
                if answer.status != 206 or not extent:
                    raise NoRangeError
                length, etag = int(extent[2]), answer.headers.get("ETag")
                if self.length and (length, etag) != (self.length, self.etag):
                    raise DownloadError(f"{self.url} changed while it was read. Start the same command again.")
                self.length, self.etag = length, etag
                came = answer.read(count - len(got))
            got.extend(came)
            if not came:
                raise ConnectionError("closed before a byte came")
            return len(got) >= count

        persistently(attempt, self.url)
        return bytes(got)
