"""Runs measurements in a separate process, since they may run out of memory, hang in a compiler or crash."""

from __future__ import annotations

import contextlib
import gc
import importlib
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field

STARTING = 120.0  # seconds
DEAD = ("CUDA error", "cuDNN error", "device-side assert", "NCCL")  # after these a process computes nothing any more


@dataclass(frozen=True)
class Job:
    """`call` is "module:function" of a generator of rows; `about` says in a row what did not come to an end."""

    about: str
    call: str
    arguments: dict = field(default_factory=dict)


class Worker:
    """rows(job, seconds) gives the job's rows as they come; one that fails or takes too long is a row that says so."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.process = self.pipe = None
        self.quiet = quiet

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, self.quiet))
        self.process.start()
        theirs.close()
        self.pipe.poll(STARTING)  # torch takes seconds to import, which is nobody's measurement

    def rows(self, job: Job, seconds: float) -> Iterator[list]:
        if self.process is None:
            self.start()
        deadline = time.monotonic() + seconds
        self.pipe.send(job)
        while True:
            try:
                if not self.pipe.poll(max(deadline - time.monotonic(), 0)):
                    self.stop()
                    yield [job.about, f"stopped after {seconds:.0f} s"]
                    return
                kind, found = self.pipe.recv()
            except (EOFError, OSError):
                self.process.join()
                code = self.process.exitcode
                self.stop()
                yield [job.about, f"its process ended with exit code {code}"]
                return
            if kind == "ready":
                continue
            if kind == "row":
                yield found
                continue
            if kind == "failed":
                yield [job.about, found]
                if any(word in found for word in DEAD):
                    self.stop()
            return

    def stop(self) -> None:
        """With whatever it started."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.pipe.close()
        self.process = None


def serve(pipe, quiet: bool) -> None:
    """What the worker's process does: one job after the other, until it is killed or its owner is gone."""
    if hasattr(os, "setsid"):
        os.setsid()  # so that those it starts can be ended with it
    import torch  # noqa: F401  (now, and not on the first job's time)

    pipe.send(("ready", None))
    while True:
        try:
            job: Job = pipe.recv()
        except EOFError:
            return
        try:
            module, name = job.call.split(":")
            for row in getattr(importlib.import_module(module), name)(**job.arguments):
                pipe.send(("row", row))
            pipe.send(("done", None))
        except Exception as error:  # whatever it is, the table goes on
            if not quiet:
                traceback.print_exc()
            words = str(error).splitlines()[0][:160] if str(error) else "no words"
            kind = "out of memory" if "OutOfMemory" in type(error).__name__ else type(error).__name__
            pipe.send(("failed", f"{kind}: {words}"))
        tidy()


def tidy() -> None:
    """So that one job's memory is not the next one's lack."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()
