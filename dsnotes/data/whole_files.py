"""Checks that ITK leaves out: truncated image files, files that unpack to gigabytes, headers that name other files.

TIFF 6.0, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf; JPEG, ITU-T T.81 annex B; MetaImage,
https://itk.org/Wiki/ITK/MetaIO/Documentation; NRRD, https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from dsnotes.safety import paths

HARMLESS, RATIO = 2 << 30, 500  # limits of an image in memory: bytes, or multiple of its file size
GIPL_BYTES = {7: 1, 8: 1, 15: 2, 16: 2, 31: 4, 32: 4, 64: 4, 65: 8}  # bytes per voxel by type number
PAGES = 1_000_000


def require_whole(path: Path) -> None:
    """Raise an error for a truncated TIFF (any of its pages), BMP, JPEG or GIPL; the first three known by content."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        try:
            first = file.read(4)
            kind = _kind(first, path)
            if kind is not None:
                kind(file)
        except (struct.error, EOFError, zlib.error, gzip.BadGzipFile, OverflowError) as error:
            raise _truncated(path, f"it ends within its header ({error})") from error
        except _CutError as error:
            raise _truncated(path, str(error)) from None


class _CutError(Exception):
    """The file is shorter than its header says."""


def _kind(first: bytes, path: Path) -> Callable[[io.BufferedIOBase], None] | None:
    if first in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff
    if first[:2] == b"BM":
        return _bmp
    if first[:3] == b"\xff\xd8\xff":
        return _jpeg
    return _gipl if path.name.lower().endswith((".gipl", ".gipl.gz")) else None


def _size(file: io.BufferedIOBase) -> int:
    return file.seek(0, os.SEEK_END)


def _tiff(file: io.BufferedIOBase) -> None:
    """Follow the chain of pages and check that the strips or tiles of each lie within the file."""
    size = _size(file)
    file.seek(0)
    first = file.read(16)
    order = "<" if first[:2] == b"II" else ">"
    big = first[2:4] in (b"+\0", b"\0+")
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), first, 8 if big else 4)
    seen: set[int] = set()
    named = 0
    while at:
        if at in seen or len(seen) > PAGES:
            raise _CutError(f"page {len(seen) + 1} repeats an earlier page")
        if at + 2 > size:
            raise _CutError(f"page {len(seen) + 1} would begin at byte {at} of {size}")
        seen.add(at)
        tags, at = _directory(file, at, order, big)
        for places, counts in ((273, 279), (324, 325)):  # strips, tiles
            for place, count in zip(tags.get(places, ()), tags.get(counts, ()), strict=False):
                if place + count > size:
                    raise _CutError(f"page {len(seen)} would end at byte {place + count} of {size}")
        found = re.match(rb"ImageJ=.*\nimages=(\d+)", bytes(tags.get(270, ())), re.DOTALL)
        named = max(named, int(found[1]) if found else 0)
    if named > len(seen):
        raise _CutError(f"ImageJ named {named} slices, {len(seen)} are listed; save it in ImageJ as an image sequence")


def _directory(file: io.BufferedIOBase, at: int, order: str, big: bool) -> tuple[dict[int, tuple], int]:
    """A page's tags with their values, and the offset of the next page."""
    file.seek(at)
    count_format, entry = (order + "Q", 20) if big else (order + "H", 12)
    (count,) = struct.unpack(count_format, file.read(8 if big else 2))
    block = file.read(count * entry)
    if len(block) < count * entry:
        raise _CutError("a page's list of tags is incomplete")
    (following,) = struct.unpack(order + ("Q" if big else "I"), file.read(8 if big else 4))
    tags = {}
    for start in range(0, len(block), entry):
        tag, kind = struct.unpack_from(order + "HH", block, start)
        letter = {1: "B", 2: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
        if tag not in (270, 273, 279, 324, 325) or letter is None:
            continue
        (n,) = struct.unpack_from(order + ("Q" if big else "I"), block, start + 4)
        values, room = struct.Struct(f"{order}{n}{letter}") if n < 1 << 28 else None, 8 if big else 4
        if values is None:
            raise _CutError(f"tag {tag} announces {n} values")
        if values.size <= room:
            tags[tag] = values.unpack_from(block, start + (12 if big else 8))
            continue
        (place,) = struct.unpack_from(order + ("Q" if big else "I"), block, start + (12 if big else 8))
        file.seek(place)
        tags[tag] = values.unpack(file.read(values.size))
    return tags, following


def _bmp(file: io.BufferedIOBase) -> None:
    size = _size(file)
    file.seek(0)
    head = file.read(34)
    told, start = struct.unpack_from("<I", head, 2)[0], struct.unpack_from("<I", head, 10)[0]
    width, height, _, bits, packed = struct.unpack_from("<iiHHI", head, 18)
    needed = told if packed in (1, 2) else start + (width * bits + 31) // 32 * 4 * abs(height)
    if size < needed:
        raise _CutError(f"its header promises {needed} bytes, it has {size}")


def _gipl(file: io.BufferedIOBase) -> None:
    head = file.read(252)  # after the first four bytes
    first = struct.unpack(">I", file.seek(0) or file.read(4))[0]
    sizes = (first >> 16, first & 0xFFFF, *struct.unpack_from(">HH", head, 0))
    (kind,) = struct.unpack_from(">H", head, 4)
    needed = math.prod(max(n, 1) for n in sizes) * GIPL_BYTES.get(kind, 0)
    file.seek(256)
    found = 0
    while found < needed and (block := file.read(min(1 << 20, needed - found))):
        found += len(block)
    if found < needed:
        raise _CutError(f"its header promises {needed} bytes of voxels, it has {found}")


def _jpeg(file: io.BufferedIOBase) -> None:
    """Look for the end-of-image marker after the start of the scan."""
    file.seek(2)
    while True:
        mark = file.read(2)
        if len(mark) < 2 or mark[0] != 0xFF:
            raise _CutError("it ends before the image begins")
        (length,) = struct.unpack(">H", file.read(2))
        file.seek(length - 2, os.SEEK_CUR)
        if mark[1] == 0xDA:
            break
    last = b""
    while block := file.read(1 << 20):
        if b"\xff\xd9" in last + block:
            return
        last = block[-1:]
    raise _CutError("its end-of-image marker is missing")


def require_sane_size(path: Path, size: tuple[int, ...], voxel_bytes: int) -> None:
    """Raise an error before unpacking for an image of gigabytes from a tiny file."""
    needed, held = math.prod(size) * voxel_bytes, path.stat().st_size
    if needed > max(HARMLESS, RATIO * held):
        raise ValueError(
            f"{path} has {held} bytes, but its header announces an image of {needed} ({size} voxels), more than "
            f"{RATIO} times as much. It is damaged or malicious. If it is your own, save it cropped or as integers."
        )


def require_own_data(path: Path) -> None:
    """Raise an error for a header whose data file lies outside the header's folder."""
    suffix = path.suffix.lower()
    named = _metaimage(path) if suffix in (".mhd", ".mha") else _nrrd(path) if suffix in (".nrrd", ".nhdr") else ()
    for name in named:
        try:
            paths.relative(name)
            data = path.parent / name
            if "%" not in name and not data.resolve().is_relative_to(path.resolve().parent):
                paths.require_inside(data, path.parent, name)
        except paths.UnsafePathError as error:
            raise ValueError(
                f"{path} takes its voxels from {name!r}, which is not in the header's folder ({error}) Put the data "
                f"beside the header, and write the bare file name there."
            ) from error


def _lines(path: Path) -> Iterator[str]:
    """The lines of the header, read from the first megabyte."""
    with open(path, "rb") as file:
        for line in file.read(1 << 20).splitlines():
            yield line.decode("latin-1").strip()


def _metaimage(path: Path) -> Iterator[str]:
    lines = _lines(path)
    for line in lines:
        key, _, value = (part.strip() for part in line.partition("="))
        if key.lower() == "elementdatafile":
            if value.upper().startswith("LIST"):
                yield from filter(None, lines)
            elif value.upper() != "LOCAL":
                yield value.split()[0] if "%" in value else value
            return


def _nrrd(path: Path) -> Iterator[str]:
    lines = _lines(path)
    for line in lines:
        if not line:
            return  # the voxels follow
        key, _, value = (part.strip() for part in line.partition(":"))
        if key.lower() in ("data file", "datafile"):
            if value.upper().startswith("LIST"):
                yield from filter(None, lines)
                return
            yield value.split()[0] if "%" in value else value


def _truncated(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is truncated or damaged: {why}. Download or copy it again.")
