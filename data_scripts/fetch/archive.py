"""Read single members from tar and zip archives, on disk or behind a URL."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from pathlib import Path
from urllib.error import HTTPError

from dsnotes.safety import paths
from fetch.download import (
    CHUNK,
    FULL,
    DownloadError,
    ask,
    in_words,
    no_space,
    persistently,
    read_briskly,
    require_space,
)

JUNK = re.compile(r"(^|/)(\._[^/]*|\.DS_Store|__MACOSX|Thumbs\.db)(/|$)")  # added by macOS and Windows
DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError),
    *(NotImplementedError, RuntimeError),  # zip: unknown compression, or encrypted
)
PACKED = {b"\x1f\x8b": gzip.GzipFile, b"BZh": bz2.BZ2File, b"\xfd7zXZ": lzma.LZMAFile}
BUFFER = 1 << 16  # bytes per request to a remote archive: a header or two
IN_MEMORY = 64 * CHUNK  # the largest member that is read into memory
HARMLESS, RATIO = 1 << 30, 200  # limits of the unpacked size: bytes, or multiple of the archive's size


class Archive:
    """`names` are the files inside, without junk; an archive with any unsafe path is rejected as a whole."""

    def __init__(self, source: Path | io.BufferedIOBase, name: str) -> None:
        self.name = name
        self._file = source.open("rb") if isinstance(source, Path) else source
        try:
            self._members = self._checked(self._listed())
        except BaseException:
            self.close()
            raise

    def _checked(self, members: list[tuple]) -> dict:
        """Normalised name -> entry; raises an error for any link or unsafe path, or for a decompression bomb."""
        found = {}
        for name, info, plain in members:
            try:
                if not plain:
                    raise paths.UnsafePathError(f"{name!r} is a link or a device.")
                found[paths.relative(name).as_posix()] = info
            except paths.UnsafePathError as error:
                raise ValueError(
                    f"{self.name} holds a link or a path that leads out of the folder it is unpacked in: {error} "
                    f"Nothing was taken from it."
                ) from error
        announced, packed = sum(_size(info) for _, info, _ in members), self._file.seek(0, io.SEEK_END)
        if announced > max(HARMLESS, RATIO * packed):
            raise ValueError(
                f"{self.name} has {in_words(packed)} and announces {in_words(announced)}, more than {RATIO} times as "
                f"much: it is damaged or malicious. Nothing was taken from it; report it to the source."
            )
        return {name: info for name, info in found.items() if not JUNK.search(name)}

    def _listed(self) -> list[tuple]:
        """(Name, entry, whether it is a plain file) of all entries except folders."""
        try:
            if self.name.lower().endswith((".zip", ".whl")):
                self._open = zipfile.ZipFile(self._file)
                infos = [info for info in self._open.infolist() if not info.orig_filename.endswith("/")]
                return [(info.orig_filename, info, info.external_attr >> 28 in (0, 0o10)) for info in infos]
            self._open = tarfile.open(fileobj=_Bounded(_unpacked(self._file)), mode="r:")  # noqa: SIM115
            return [(info.name, info, info.isfile()) for info in self._open if not info.isdir()]
        except (*DAMAGED, ValueError, UnicodeError, OverflowError) as error:
            raise ValueError(
                f"{self.name} is not an archive or is damaged ({error}). Delete it, and fetch it again."
            ) from error

    @property
    def names(self) -> list[str]:
        return list(self._members)

    def find(self, ending: str) -> list[str]:
        """Names that match a pattern at their end, in natural order: case_2 before case_10."""
        found = [name for name in self._members if re.search(f"(^|/)(?:{ending})$", name)]
        return sorted(found, key=lambda name: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", name)])

    def size(self, name: str) -> int:
        return _size(self._member(name))

    def extract(self, name: str, folder: Path, to: str | None = None) -> Path:
        """Extract a member below `folder`, under its own name or `to`, atomically."""
        size, target = self.size(name), paths.inside(folder, to or name)
        if target.is_file() and target.stat().st_size == size:
            return target
        require_space(folder, size, name)
        try:
            with self._stream(name) as stream, paths.write_inside(folder, to or name) as out:
                self._copy(stream, out, name, size)
        except DownloadError:
            raise  # what a server did says nothing of the member
        except DAMAGED as error:
            raise self._damaged(name, error) from error
        except OSError as error:
            raise (no_space(error, target) if error.errno in FULL else error) from error
        return target

    def read(self, name: str, limit: int = IN_MEMORY) -> bytes:
        """The bytes of a small member; raises an error before unpacking if it announces more than `limit`."""
        if (size := self.size(name)) > limit:
            raise ValueError(
                f"{name} in {self.name} announces {in_words(size)}, expected at most {in_words(limit)}: it is not "
                f"the file expected. Delete {self.name}, and fetch it again."
            )
        held = io.BytesIO()
        try:
            with self._stream(name) as stream:
                self._copy(stream, held, name, size)
        except DAMAGED as error:
            raise self._damaged(name, error) from error
        return held.getvalue()

    def _copy(self, stream, out, name: str, size: int) -> None:
        """Copy exactly as many bytes as the member announced, else raise an error."""
        came = 0
        while block := stream.read(min(8 * CHUNK, size + 1 - came)):
            came += len(block)
            if came > size:
                break
            out.write(block)
        if came != size:
            raise self._damaged(name, f"{'more' if came > size else 'fewer'} than its {size} bytes came")

    def _damaged(self, name: str, why: object) -> ValueError:
        return ValueError(f"{name} in {self.name} is damaged ({why}). Delete the archive, and fetch it again.")

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


class _Bounded:
    """A stream that limits single reads, because tarfile reads headers of any length into memory."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self.seek, self.tell, self.close = stream.seek, stream.tell, stream.close

    def read(self, count: int) -> bytes:
        if not 0 <= count <= 16 * CHUNK:
            raise tarfile.ReadError(f"a header of {in_words(count)}")
        return self._stream.read(count)


def _unpacked(file: io.BufferedIOBase) -> io.BufferedIOBase:
    first = file.read(6)
    file.seek(0)
    kind = next((kind for mark, kind in PACKED.items() if first.startswith(mark)), None)
    return file if kind is None else kind(fileobj=file) if kind is gzip.GzipFile else kind(file)


def _size(info: zipfile.ZipInfo | tarfile.TarInfo) -> int:
    return info.file_size if isinstance(info, zipfile.ZipInfo) else info.size


def remote(url: str, name: str) -> Archive | None:
    """A remote archive, read by HTTP Range requests; None if the server does not support them."""
    try:
        stream = RangeFile(url)
    except NoRangeError:
        return None
    return Archive(io.BufferedReader(stream, BUFFER), name)


class NoRangeError(Exception):
    """The server does not send parts of files."""


class RangeFile(io.RawIOBase):
    """A seekable remote file with one request per read; it must not change meanwhile."""

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
                    raise DownloadError(f"{self.url} changed while it was read. Run the same command again.")
                self.length, self.etag = length, etag
                came = read_briskly(answer, count - len(got))
            got.extend(came)
            if not came:
                raise ConnectionError("closed before any byte arrived")
            return len(got) >= count

        persistently(attempt, self.url)
        return bytes(got)
