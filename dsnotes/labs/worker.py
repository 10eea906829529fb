"""The process that runs a student's notebook: it runs cells and calls their functions.

It has no tests, references or scores. The grader treats its answers as untrusted student output.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import traceback
from collections import OrderedDict
from types import FrameType
from typing import Any

import numpy as np
import torch

from dsnotes.labs.wire import LENGTH, PROTOCOL, decode, encode, mapped, tensors, write_frame

TEXT = 20_000  # characters of one output that are kept
PICTURE = 400_000
GRAPHS = 64  # calls whose gradients can still be requested


class TimeUpError(BaseException):
    """Not an Exception, so that `except Exception` in a submission cannot catch it."""


def main(told: dict) -> None:
    """Take over the two streams for messages, lock the process down, and answer until the other side is gone."""
    source, target = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    safe = told.pop("safe")
    try:
        if safe:
            from dsnotes.labs.lockdown import limit, refuse_system_calls

            refuse_system_calls()
        torch.set_num_threads(1)
        worker = Worker(told["cell_seconds"], 5.0 * told["cell_seconds"])
        if safe:
            limit(**{name: told[name] for name in ("memory_mb", "cpu_seconds", "file_mb")})
    except Exception as error:
        write_frame(target, encode({"failed": "".join(traceback.format_exception(error))[-2000:]}))
        return
    write_frame(target, encode({"ready": PROTOCOL}))
    while (asked := _next(source)) is not None:
        write_frame(target, encode(worker.answer(asked)))


def _next(source: int) -> dict | None:
    def take(size: int) -> bytes:
        content = b""
        while len(content) < size and (more := os.read(source, size - len(content))):
            content += more
        return content

    head = take(LENGTH.size)
    return decode(take(LENGTH.unpack(head)[0])) if len(head) == LENGTH.size else None


class Worker:
    """One namespace, in which cells run one after another and functions are called."""

    def __init__(self, cell_seconds: float, clock_seconds: float) -> None:
        self.shell, self.now = _shell(), "<cell>"
        self.limits = cell_seconds, clock_seconds
        self.graphs: OrderedDict[int, tuple[list, list]] = OrderedDict()
        self.values: list[dict] = []  # the values of a cell's last line
        self.shell.compile.get_code_name = lambda raw, code, number: self.now
        self.shell.showtraceback = lambda *_, **__: None
        self.shell.display_trap.hook = self._value
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        for alarm in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(alarm, self._time_up)

    def _time_up(self, number: int, frame: FrameType | None) -> None:
        spent = f"{self.limits[0]:g} s of computing" if number == signal.SIGPROF else "a long wait"
        raise TimeUpError(f"not done after {spent}: is there a loop that does not end?")

    def _value(self, value: object) -> None:
        if value is not None:
            self.values.append(self.shell.display_formatter.format(value, include={"text/plain", "image/png"})[0])

    def answer(self, asked: dict) -> dict:
        """`{"id", "ok"}` or `{"id", "error"}`, within the limits of one cell."""
        number, do = asked.pop("id"), asked.pop("do")
        try:
            self._alarm(*self.limits)
            told = {"id": number, "ok": getattr(self, do)(**asked) if do != "call" else self.call(number, **asked)}
            encode(told)  # a value that cannot be sent is an error of the function that returned it
            return told
        except (Exception, TimeUpError) as error:
            return {"id": number, "error": _error_for_student(error)}
        finally:
            self._alarm(0, 0)

    def _alarm(self, computing: float, clock: float) -> None:
        signal.setitimer(signal.ITIMER_PROF, computing)
        signal.setitimer(signal.ITIMER_REAL, clock)

    def run(self, name: str, source: str) -> list[dict]:
        """Run a cell and return its outputs."""
        from IPython.utils.capture import capture_output

        self.now, self.values, error = f"<{name}>", [], None
        with capture_output() as seen:
            try:
                result = self.shell.run_cell(source, store_history=False, silent=False)
                error = result.error_before_exec or result.error_in_exec
            except TimeUpError as late:
                error = late
        shown = [{"text": text[:TEXT]} for text in (seen.stdout, seen.stderr) if text]
        for data in [output.data for output in seen.outputs] + self.values:
            picture = data.get("image/png")
            is_kept = isinstance(picture, str) and len(picture) <= PICTURE
            shown.append({"png": picture} if is_kept else {"text": str(data.get("text/plain", ""))[:TEXT]})
        return shown[:50] + ([{"error": _error_for_student(error)}] if error is not None else [])

    def value(self, name: str) -> Any:
        return self.shell.user_ns[name]

    def call(self, number: int, name: str, args: tuple, kwargs: dict, links: list) -> dict:
        """Call a function; return its result and complaints, such as a changed argument.

        A link (i, j, g) means that tensor i depends on tensor j with the gradient g.
        """
        given = (args, kwargs)
        inputs = tensors(given)
        for at, on, gradient in links:
            inputs[at] = inputs[at] + (gradient * (inputs[on] - inputs[on].detach())).sum()
        order = iter(inputs)
        args, kwargs = mapped(given, lambda _: next(order))
        leaves = tensors(given)
        before = encode(mapped((args, kwargs), torch.Tensor.detach))
        result = self.shell.user_ns[name](*args, **kwargs)
        complaints = []
        if encode(mapped((args, kwargs), torch.Tensor.detach)) != before:
            complaints.append("changed its arguments in place; work on a copy")
        if any(leaf.grad is not None for leaf in leaves):
            complaints.append("left a gradient in .grad of its arguments; torch.autograd.grad leaves none")
        for at, on, _ in links:
            try:
                torch.autograd.grad(inputs[at], leaves[on], retain_graph=True)
            except RuntimeError:
                complaints.append("freed the graph of a loss that is needed again; retain_graph=True keeps it")
        self.graphs[number] = [t for t in tensors(result) if t.requires_grad], [t for t in leaves if t.requires_grad]
        while len(self.graphs) > GRAPHS:
            self.graphs.popitem(last=False)
        return {"value": result, "complaints": complaints}

    def gradient(self, of: int, cotangents: list) -> list:
        """The gradient of a call's results with respect to its arguments, weighted by the cotangents."""
        outputs, inputs = self.graphs[of]
        return list(torch.autograd.grad(outputs, inputs, cotangents, allow_unused=True, retain_graph=True))


def _shell() -> Any:
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    settings = Config()
    settings.HistoryManager.enabled = False
    settings.InteractiveShell.colors = "nocolor"
    settings.InteractiveShell.autoawait = False
    shell = InteractiveShell.instance(config=settings)
    shell.user_ns["exit"] = shell.user_ns["quit"] = sys.exit
    return shell


def _error_for_student(error: BaseException) -> dict:
    """The error for the student: its message, and where in their cells it was raised."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith("<") and not frame.filename.startswith(("<string>", "<frozen", "<@"))
    ]
    where = [f"in {frame.filename[1:-1]}, line {frame.lineno}: {frame.line}"[:500] for frame in frames[-6:]]
    name = {"TimeUpError": "TimeUp", "WireError": "TypeError"}.get(type(error).__name__, type(error).__name__)
    said = str(error)[:TEXT]
    if isinstance(error, SyntaxError):
        said = f"line {error.lineno}: {error.msg}: {(error.text or '').strip()}"[:TEXT]
    return {"name": name[:200], "text": said, "where": where}


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
