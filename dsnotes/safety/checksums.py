"""sha256 with what was written: inside a torch file, inside a JSON file, or of an array."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

CHUNK = 1 << 20
TRAILER = re.compile(rb"dsnotes sha256 ([0-9a-f]{64})")
LENGTH = len(b"dsnotes sha256 ") + 64
KEY = "sha256"


class DamagedError(ValueError):
    """A file that is not what was written."""


def of_bytes(*blocks: bytes | memoryview) -> str:
    found = hashlib.sha256()
    for block in blocks:
        found.update(block)
    return found.hexdigest()


def of_stream(file: IO[bytes], count: int | None = None) -> str:
    """Of the next `count` bytes, or of all that follow."""
    found = hashlib.sha256()
    while block := file.read(CHUNK if count is None else min(CHUNK, count)):
        found.update(block)
        count = None if count is None else count - len(block)
    return found.hexdigest()


def of_file(path: Path) -> str:
    with open(path, "rb") as file:
        return of_stream(file)


def seal(file: IO[bytes]) -> None:
    """Put the sha256 of a zip file, such as torch.save writes, into its comment; every reader of zip files takes it.

    `file` is open for reading and writing. The sum is over all bytes up to the length of the comment.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(size - 22)
    end = file.read()
    if end[:4] != b"PK\5\6" or end[-2:] != b"\0\0":
        raise DamagedError(f"{file.name} does not end as a zip file without a comment does.")
    file.seek(0)
    found = of_stream(file, size - 2).encode()
    file.seek(size - 2)
    file.write(LENGTH.to_bytes(2, "little") + b"dsnotes sha256 " + found)


def require_sealed(path: Path) -> None:
    """Refuse a file whose bytes are not those that `seal` saw."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - LENGTH - 2, 0))
        end = file.read()
        found = TRAILER.fullmatch(end[2:])
        if found is None or int.from_bytes(end[:2], "little") != LENGTH:
            raise DamagedError(f"{path} is damaged, or was not written by dsnotes.fit: it does not end in its sha256.")
        file.seek(0)
        if of_stream(file, size - LENGTH - 2) != found[1].decode():
            raise DamagedError(f"{path} is damaged: its sha256 is not the one it was written with.")


def stamped(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a JSON file with the sha256 of all else in it."""
    bare = {name: value for name, value in content.items() if name != KEY}
    return {**bare, KEY: _of_json(bare)}


def require_stamped(content: object, path: Path) -> dict[str, Any]:
    """The content without its stamp; refused where it was changed since it was written."""
    if not isinstance(content, dict) or KEY not in content:
        raise DamagedError(f"{path} carries no {KEY}: it is damaged, or another version wrote it.")
    bare = {name: value for name, value in content.items() if name != KEY}
    if content[KEY] != _of_json(bare):
        raise DamagedError(f"{path} is not what was written: its sha256 does not fit. It is damaged, or was edited.")
    return bare


def _of_json(content: Mapping[str, Any]) -> str:
    return of_bytes(json.dumps(content, sort_keys=True).encode())
