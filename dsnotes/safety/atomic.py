"""Atomic writes: fill a temporary file beside the target, flush it to disk, then rename it."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PART = "part-"  # prefix of temporary files


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with the same ending; on success it replaces `path`.

    The temporary name is unique to the call. After an error the temporary file is removed and `path` is unchanged.
    """
    path = Path(path)
    part = path.with_name(f"{PART}{os.getpid()}-{secrets.token_hex(4)}-{path.name[-180:]}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic(path: str | os.PathLike, mode: str = "wb", **options: Any) -> Iterator[IO]:
    """Like `open` for writing, but an interrupted write leaves the old file as it was."""
    with replacing(path) as part, open(part, mode, **options) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def keep(path: Path, other: Path) -> None:
    """Make `path` available as `other` too: a hard link, or a copy where the file system has none."""
    with replacing(other) as part:
        try:
            os.link(path, part)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, part)


def write_text(path: str | os.PathLike, text: str) -> None:
    with atomic(path, "w", encoding="utf-8") as file:
        file.write(text)


def remove_leftovers(folder: Path, name: str) -> None:
    """Remove temporary files of killed processes for `name`; call it only from the process that writes `name`."""
    for part in folder.glob(f"{PART}*-{name}"):
        part.unlink(missing_ok=True)
