"""A file that is there whole or not at all: filled beside its place, brought to disk, then moved in one step."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PART = "part-"  # how the name of a file begins that is being filled


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A path beside `path` with the same ending, for any writer to fill; at the end it takes the place of `path`.

    No other process or thread is given the same one. After an error it is removed, and `path` is as it was.
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
    """`open` for writing, but `path` changes only when all is on the disk: a kill leaves the old file or the new."""
    with replacing(path) as part, open(part, mode, **options) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def keep(path: Path, other: Path) -> None:
    """The file under a second name too, without a copy where the file system can; `path` stays where it is."""
    with replacing(other) as part:
        try:
            os.link(path, part)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, part)


def write_text(path: str | os.PathLike, text: str) -> None:
    with atomic(path, "w", encoding="utf-8") as file:
        file.write(text)


def remove_leftovers(folder: Path, name: str) -> None:
    """What killed processes left of the file `name`; only for the one process that may write it."""
    for part in folder.glob(f"{PART}*-{name}"):
        part.unlink(missing_ok=True)
