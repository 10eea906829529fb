"""Locks on run folders: no two processes compute the same run, and a dead worker's run is taken over.

A folder's locks are numbered files, lock.1.json, lock.2.json, …; the last one counts. A process takes a lock by
creating the next number, which the file system allows only one process to do. Locks are never deleted, so no number is
used twice. A lock ends when its owner releases it, when its owner's process is gone (on this machine), or when its file
has not been touched for `SILENT` seconds (on another).

filelock does not serve here: its `FileLock` needs a file system that shares flock between machines, and its
`SoftFileLease` takes over a dead owner's lock by exchanging two names in one call, which NFS and SMB do not support, so
on a cluster's shared folder a killed worker's run would stay locked. A hard link works on NFS.
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

BEAT, SILENT = 5.0, 120.0  # seconds between heartbeats, and without one until an owner counts as gone


class BusyError(RuntimeError):
    """Another process is working on this run."""


@contextmanager
def locked(folder: Path) -> Iterator[Lock]:
    """Inside the block, only this process works in `folder`; `BusyError` if another one does."""
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
            os.link(part, lock.path)  # atomic, with its content; unlike a rename it fails if the number is taken
        except FileExistsError:
            raise BusyError(f"{folder} has just been locked by another process") from None
        finally:
            part.unlink()
        return lock

    def held(self) -> bool:
        """Whether the lock is still ours; another process may have taken over while this machine was asleep."""
        number, owner = latest(self.path.parent)
        return owner is not None and owner.get("token") == self.token

    def beat(self) -> None:
        while not self.over.wait(BEAT):
            try:
                os.utime(self.path)
            except OSError:  # the folder was removed: nothing left to hold
                return

    def release(self) -> None:
        """End the lock; after a crash the next process detects it without this."""
        part = self.path.with_suffix(f".{self.token}.part")
        try:
            part.write_text(json.dumps({"token": self.token, "released": True}), encoding="utf-8")
            os.replace(part, self.path)
        except OSError:  # full disk or removed folder: the lock then ends with the process
            part.unlink(missing_ok=True)


def latest(folder: Path) -> tuple[int, dict | None]:
    """The highest number, and its owner."""
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
        os.kill(pid, 0)  # signal 0 only checks
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        return True
    return not _zombie(pid)


def _zombie(pid: int) -> bool:
    """Whether the process has ended but not been reaped by its parent (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
