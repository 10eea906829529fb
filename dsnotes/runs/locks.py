"""Who is working on a run: so that no run is done twice, and a dead worker's run is taken over.

A folder's locks are numbered files, lock.1.json, lock.2.json, …; the last one counts. A lock is taken by creating the
next number, which the file system grants to one process alone, and is never deleted, so that numbers are never given
out twice. It is over when its owner says so, when its owner's process is gone (on this machine), or when nobody has
touched it for `SILENT` seconds (on another).

By hand and not by filelock: its `FileLock` needs a file system that carries flock from machine to machine, and its
`SoftFileLease` takes a dead owner's lock over by exchanging two names in one call, which NFS and SMB refuse, so that on
a cluster's shared folder a killed worker's run would stay locked for ever. A hard link, which NFS has, does it here.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BEAT, SILENT = 5.0, 120.0  # seconds between two signs of life, and without one until an owner counts as gone


class BusyError(RuntimeError):
    """Another process is working on this run."""


@contextmanager
def locked(folder: Path) -> Iterator[Lock]:
    """Inside, this process alone works in `folder`; `BusyError` where another one does."""
    lock = Lock.take(folder)
    beating = threading.Thread(target=lock.beat, daemon=True)
    beating.start()
    try:
        yield lock
    finally:
        lock.over.set()
        beating.join()
        lock.release()


class Lock:
    def __init__(self, path: Path, token: str) -> None:
        self.path, self.token, self.over = path, token, threading.Event()

    @classmethod
    def take(cls, folder: Path) -> Lock:
        folder.mkdir(parents=True, exist_ok=True)
        number, owner = latest(folder)
        if owner is not None and alive(folder / f"lock.{number}.json", owner):
            raise BusyError(
                f"{folder} is being worked on by process {owner.get('pid', '?')} on {owner.get('host', '?')}"
            )
        token = uuid.uuid4().hex
        lock = cls(folder / f"lock.{number + 1}.json", token)
        part = folder / f"lock.{token}.part"
        part.write_text(
            json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": token}), encoding="utf-8"
        )
        try:
            os.link(part, lock.path)  # with its content at once, and unlike a rename only where the number is free
        except FileExistsError:
            raise BusyError(f"{folder} has just been locked by another process") from None
        finally:
            part.unlink()
        return lock

    def held(self) -> bool:
        """Whether nobody has taken over, as they may after this machine was asleep."""
        number, owner = latest(self.path.parent)
        return owner is not None and owner.get("token") == self.token

    def beat(self) -> None:
        while not self.over.wait(BEAT):
            try:
                os.utime(self.path)
            except OSError:  # the folder was removed: nothing left to hold
                return

    def release(self) -> None:
        """Say that it is over; after a crash the next one finds out by itself."""
        part = self.path.with_suffix(f".{self.token}.part")
        try:
            part.write_text(json.dumps({"token": self.token, "released": True}), encoding="utf-8")
            os.replace(part, self.path)
        except OSError:  # a full disk, a removed folder: an owner that is gone holds nothing either
            part.unlink(missing_ok=True)


def latest(folder: Path) -> tuple[int, dict | None]:
    """The highest number, and who holds it."""
    numbers = [int(p.name.split(".")[1]) for p in folder.glob("lock.*.json") if p.name.split(".")[1].isdigit()]
    if not numbers:
        return 0, None
    try:
        return max(numbers), json.loads((folder / f"lock.{max(numbers)}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return max(numbers), {}


def alive(path: Path, owner: dict) -> bool:
    if owner.get("released"):
        return False
    if owner.get("host") == socket.gethostname() and os.name == "posix":
        return running(owner["pid"])
    return time.time() - path.stat().st_mtime < SILENT


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # asks, and sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return not _zombie(pid)


def _zombie(pid: int) -> bool:
    """Dead, though its parent has not looked yet (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
