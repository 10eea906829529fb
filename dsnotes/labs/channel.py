"""The grading process's connection to one worker; every answer is checked, and an invalid one ends the worker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dsnotes.labs.sandbox import Limits, Sandbox
from dsnotes.labs.wire import PROTOCOL, WireError, decode, encode, read_frame, write_frame

STARTING = 180.0  # seconds to start, on a busy machine
GRACE = 10.0  # seconds between a worker's own time limit and the end of its process


class EndedError(RuntimeError):
    """The worker stopped or sent an invalid answer; no later cell can be run."""


class StudentError(AssertionError):
    """Student code raised this, or broke a rule for graded functions."""


class Channel:
    """A context manager; leaving it ends the worker and everything it started."""

    def __init__(self, sandbox: Sandbox, limits: Limits, needs: Sequence[str] = ()) -> None:
        self.sandbox, self.limits, self.asked, self.label = sandbox, limits, 0, f"dsnotes-lab-{uuid.uuid4().hex}"
        self.until = time.monotonic() + STARTING
        self.most_mb = 0
        self.process = subprocess.Popen(
            sandbox.command(limits, needs, self.label),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=sandbox.environment(),
            start_new_session=True,
        )
        try:
            hello = self._read(STARTING)
            if hello != {"ready": PROTOCOL}:
                raise EndedError(str(hello.get("failed") or f"the worker does not speak version {PROTOCOL}"))
        except EndedError as error:
            self.close()
            raise RuntimeError(f"the sandbox ({sandbox.name}) did not start, so nothing was graded: {error}") from None
        self.until = time.monotonic() + limits.seconds
        self.most_mb = held_mb(self.process.pid) + limits.memory_mb + limits.file_mb

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.process.kill()
        self.sandbox.end(self.label)
        self.process.communicate()

    def ask(self, do: str, **what: Any) -> Any:
        """The answer; `StudentError` if student code failed, `EndedError` for everything else."""
        self.asked += 1
        try:
            frame = encode({"id": self.asked, "do": do, **what})
            write_frame(self.process.stdin.fileno(), frame, self.until)
        except (OSError, TimeoutError):
            raise EndedError("it was gone (ended by itself, or out of memory or processor time)") from None
        told = self._read(self.limits.clock_seconds + GRACE)
        if told.get("id") != self.asked or (("ok" in told) == ("error" in told)):
            raise EndedError("it sent something that is not an answer")
        if "ok" in told:
            return told["ok"]
        raise StudentError(described(told["error"]))

    def _read(self, seconds: float) -> dict:
        until = min(self.until, time.monotonic() + seconds)
        try:
            told = decode(read_frame(self.process.stdout.fileno(), until, self._watch))
        except TimeoutError:
            over = f"the {self.limits.seconds:g} s for the whole notebook ran out" if until == self.until else ""
            raise EndedError(over or f"it gave no answer within {seconds:.0f} s and was stopped") from None
        except (EOFError, OSError):
            raise EndedError("it was gone (ended by itself, or out of memory or processor time)") from None
        except WireError as error:
            raise EndedError(f"it sent something that is not a message ({error})") from None
        if not isinstance(told, dict):
            raise EndedError("it sent something that is not an answer")
        return told

    def _watch(self) -> None:
        """A second limit beside the worker's own: the memory of all the sandbox's processes together."""
        if self.most_mb and (held := held_mb(self.process.pid)) > self.most_mb:
            self.process.kill()
            raise EndedError(f"it used {held} MB of memory, more than its limit of {self.most_mb} MB")


def described(error: Any) -> str:
    """The text of a student's error, from whatever the worker sent."""
    if not isinstance(error, dict):
        return "an error without a description"
    where = error.get("where")
    lines = [str(line)[:500] for line in where[:6]] if isinstance(where, list) else []
    return "\n".join([*lines, f"{str(error.get('name'))[:200]}: {str(error.get('text'))[:20_000]}"])


def held_mb(root: int) -> int:
    """Resident and shared memory of a process and all its descendants; 0 on systems without /proc."""
    if sys.platform != "linux":
        return 0
    parents, pages = {}, {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            pages[int(process.name)] = int((process / "statm").read_text().split()[1])
        except (OSError, ValueError):
            continue  # the process has ended
    return sum(pages[pid] for pid in _family(root, parents)) * os.sysconf("SC_PAGE_SIZE") >> 20


def _family(root: int, parents: dict[int, int]) -> Iterable[int]:
    yield from (root,) if root in parents else ()
    for pid, parent in parents.items():
        if parent == root:
            yield from _family(pid, parents)
