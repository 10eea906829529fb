"""sha256 checksums stored with the data: in a torch file, in a JSON file, or of an array."""

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
    """A file that changed since it was written."""


def of_bytes(*blocks: bytes | memoryview) -> str:
    found = hashlib.sha256()
    for block in blocks:
        found.update(block)
    return found.hexdigest()


def of_stream(file: IO[bytes], count: int | None = None) -> str:
    """sha256 of the next `count` bytes, or of the rest of the stream."""
    found = hashlib.sha256()
    while block := file.read(CHUNK if count is None else min(CHUNK, count)):
        found.update(block)
        count = None if count is None else count - len(block)
    return found.hexdigest()


def of_file(path: Path) -> str:
    with open(path, "rb") as file:
        return of_stream(file)


def seal(file: IO[bytes]) -> None:
    """Store the sha256 of a zip file, such as torch.save writes, in its comment, which zip readers ignore.

    `file` is open for reading and writing. The sum covers all bytes before the length of the comment.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(size - 22)
    end = file.read()
    if end[:4] != b"PK\5\6" or end[-2:] != b"\0\0":
        raise DamagedError(f"{file.name} is not a zip file, or has a comment already.")
    file.seek(0)
    found = of_stream(file, size - 2).encode()
    file.seek(size - 2)
    file.write(LENGTH.to_bytes(2, "little") + b"dsnotes sha256 " + found)


def require_sealed(path: Path) -> None:
    """Raise `DamagedError` unless the file is as `seal` left it."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - LENGTH - 2, 0))
        end = file.read()
        found = TRAILER.fullmatch(end[2:])
        if found is None or int.from_bytes(end[:2], "little") != LENGTH:
            raise DamagedError(f"{path} is damaged, or was not written by dsnotes.fit: it has no sha256 at its end.")
        file.seek(0)
        if of_stream(file, size - LENGTH - 2) != found[1].decode():
            raise DamagedError(f"{path} is damaged: its sha256 differs from the stored one.")


def stamped(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a JSON file with its own sha256 added."""
    bare = {name: value for name, value in content.items() if name != KEY}
    return {**bare, KEY: _of_json(bare)}


def require_stamped(content: object, path: Path) -> dict[str, Any]:
    """The content without its sha256; raises `DamagedError` where it changed since it was written."""
    if not isinstance(content, dict) or KEY not in content:
        raise DamagedError(f"{path} has no {KEY}: it is damaged, or another version of dsnotes wrote it.")
    bare = {name: value for name, value in content.items() if name != KEY}
    if content[KEY] != _of_json(bare):
        raise DamagedError(f"{path} is damaged or was edited: its content does not match its sha256.")
    return bare


def _of_json(content: Mapping[str, Any]) -> str:
    return of_bytes(json.dumps(content, sort_keys=True).encode())
