"""The process in which one submission is worked through: a cell comes in, what it showed goes out.

A shell of IPython without a kernel: no port is opened, and a process forked from a warm one starts at once. What comes
back is JSON and nothing else, since what sits here is not trusted.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType, ModuleType

from dsnotes.labs.score import SCORE
from dsnotes.labs.wall import Limits, enclose

TEXT = 20_000  # characters of one output that are kept
PICTURE = 400_000
WATCHED = ("builtins", "math", "copy", "numpy", "torch", "torch.nn", "torch.nn.functional", "torch.testing")


class TimeUpError(BaseException):
    """No `except Exception` of a submission keeps it running."""


def sit(
    conversation: Connection, folder: str, limits: Limits, hidden: tuple[str, ...], walled: bool, namespaces: bool
) -> None:
    """The whole life of the process."""
    warm()
    if walled:  # nothing that leads to the server or to the grader is left open but the conversation
        os.closerange(3, conversation.fileno())
        os.closerange(conversation.fileno() + 1, 4096)
    try:
        around = tuple(map(Path, hidden))
        wall = enclose(Path(folder), limits, around, namespaces=namespaces) if walled else "no wall"
        desk = Desk(limits)
    except Exception as error:
        conversation.send_bytes(json.dumps({"failed": "".join(traceback.format_exception(error))}).encode())
        return
    conversation.send_bytes(json.dumps({"wall": wall}).encode())
    while True:
        try:
            asked = json.loads(conversation.recv_bytes())
        except EOFError:
            return
        conversation.send_bytes(json.dumps(desk.work(**asked)).encode())


def warm() -> None:
    """What every lab needs, loaded and compiled once in the process that the others are forked from."""
    if "dsnotes.labs.warmed" in sys.modules:
        return
    import numpy as np
    import torch
    from IPython.core.interactiveshell import InteractiveShell  # noqa: F401
    from IPython.utils import capture  # noqa: F401

    import dsnotes.data.patches
    import dsnotes.data.phantoms
    import dsnotes.metrics
    import dsnotes.networks.unet
    import dsnotes.supervision
    import dsnotes.training.fit  # noqa: F401
    from dsnotes.softmask import soft_mask, trimap_from_mask

    torch.set_num_threads(1)
    disk = np.hypot(*np.mgrid[-8:9, -8:9]) < 4
    soft_mask(disk.astype(np.float32), trimap_from_mask(disk, radius=2), eps=1e-3)
    sys.modules["dsnotes.labs.warmed"] = ModuleType("dsnotes.labs.warmed")


class Desk:
    """`work` runs one cell after another in one namespace."""

    def __init__(self, limits: Limits) -> None:
        self.shell = _shell()
        self.limits, self.began, self.names = limits, time.process_time(), {}
        self.shell.compile.get_code_name = lambda raw, code, number: self.names.get("now", "<cell>")
        self.shell.showtraceback = lambda *_, **__: None  # `work` tells what went wrong
        self.values: list[dict] = []  # of a cell's last line
        self.shell.display_trap.hook = self._value
        self.known = _snapshot()
        _seed()
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGPROF, self._time_up)
            signal.signal(signal.SIGALRM, self._time_up)

    def _time_up(self, number: int, frame: FrameType | None) -> None:
        spent = f"{self.limits.cell_seconds:g} s of computing" if number == signal.SIGPROF else "a long wait"
        raise TimeUpError(f"not done after {spent}: is there a loop that does not end?")

    def _value(self, value: object) -> None:
        if value is not None:
            self.values.append(self.shell.display_formatter.format(value, include={"text/plain", "image/png"})[0])

    def work(self, name: str, source: str, locked: bool) -> dict:
        """Outputs as nbformat has them, the scores recorded, and what had to be put right first."""
        from IPython.utils.capture import capture_output

        mended = _mend(self.known) if locked else []
        self.names["now"] = f"<{name}>"
        self.values, error = [], None
        with capture_output() as seen:
            self._alarm(self.limits.cell_seconds, self.limits.cell_clock)
            try:
                result = self.shell.run_cell(source, store_history=False, silent=False)
                error = result.error_before_exec or result.error_in_exec
            except TimeUpError as late:
                error = late
            finally:
                self._alarm(0, 0)
        outputs, scores = _collected(seen, self.values, locked)
        if error is not None:
            outputs.append(_told(error, f"<{name}>", locked))
        return {"outputs": outputs, "scores": scores, "mended": mended, "cpu": time.process_time() - self.began}

    def _alarm(self, computing: float, clock: float) -> None:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, computing)
            signal.setitimer(signal.ITIMER_REAL, clock)


def _shell():
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    settings = Config()
    settings.HistoryManager.enabled = False
    settings.InteractiveShell.colors = "nocolor"
    settings.InteractiveShell.autoawait = False
    shell = InteractiveShell.instance(config=settings)
    shell.user_ns["exit"] = shell.user_ns["quit"] = sys.exit
    return shell


def _seed() -> None:
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def _snapshot() -> dict[str, tuple[ModuleType, dict]]:
    """The public names of the libraries that tests rely on."""
    own = [name for name in sys.modules if name.startswith("dsnotes.") and not name.startswith("dsnotes.labs.warmed")]
    found = {name: sys.modules[name] for name in (*WATCHED, *own) if name in sys.modules}
    return {
        name: (module, {key: value for key, value in vars(module).items() if not key.startswith("_")})
        for name, module in found.items()
    }


def _mend(known: dict[str, tuple[ModuleType, dict]]) -> list[str]:
    """Put back what a submission has replaced in the libraries; the names of it."""
    mended = []
    for name, (module, held) in known.items():
        if sys.modules.get(name) is not module:
            sys.modules[name] = module
            mended.append(name)
        now = vars(module)
        for key, value in held.items():
            if now.get(key, mended) is not value:
                setattr(module, key, value)
                mended.append(f"{name}.{key}")
    return mended


def _collected(seen, values: list[dict], locked: bool) -> tuple[list[dict], dict[str, float]]:
    outputs, scores = [], {}
    text = seen.stdout + (seen.stderr if locked else "")  # nbgrader gives no point to a test that warned
    for name, said in (("stdout", text), ("stderr", "" if locked else seen.stderr)):
        if said:
            outputs.append({"output_type": "stream", "name": name, "text": said[:TEXT]})
    for shown in seen.outputs:
        scores |= shown.data.get(SCORE, {})
        outputs.append({"output_type": "display_data", "data": _kept(shown.data), "metadata": {}})
    for data in values:
        outputs.append({"output_type": "execute_result", "data": _kept(data), "metadata": {}, "execution_count": None})
    return outputs, scores


def _kept(data: dict) -> dict:
    kept = {"text/plain": str(data.get("text/plain", ""))[:TEXT]}
    if isinstance(picture := data.get("image/png"), str) and len(picture) <= PICTURE:
        kept["image/png"] = picture
    return kept


def _told(error: BaseException, here: str, locked: bool) -> dict:
    """The error as a student should read it: of a test the message, and where in the student's cells it arose."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith("<") and frame.filename != "<string>" and not (locked and frame.filename == here)
    ]
    lines = [f"in {frame.filename[1:-1]}, line {frame.lineno}: {frame.line}" for frame in frames[-6:]]
    name = type(error).__name__.removesuffix("Error") if isinstance(error, TimeUpError) else type(error).__name__
    said = str(error)[:TEXT]
    if isinstance(error, SyntaxError):
        said = f"line {error.lineno}: {error.msg}: {(error.text or '').strip()}"
    return {"output_type": "error", "ename": name, "evalue": said, "traceback": [*lines, f"{name}: {said}"]}
