"""Live progress on a terminal; a few plain lines in a log file."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsnotes.runs.sweep import Sweep, Task

SELDOM = 10.0  # seconds between lines in a log


class Terminal:
    """`line` replaces the previous line, `sweep` the whole previous table."""

    def __init__(self, stream: Any = None) -> None:  # a text file; tests pass their own
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.started = time.monotonic()
        self.height, self.last, self.said = 0, -SELDOM, set()

    def line(self, text: str) -> None:
        text = f"{_hours_minutes_seconds(time.monotonic() - self.started)}  {text}"
        if self.live:
            self._draw([text])
        elif time.monotonic() - self.last >= SELDOM:
            self.last = time.monotonic()
            print(text, file=self.stream, flush=True)

    def sweep(self, state: Sweep) -> None:
        if self.live:
            self._draw(table(state))
            return
        for task in state.tasks:
            if task.over and task.state != "found" and id(task) not in self.said:
                self.said.add(id(task))
                print(
                    f"{summary(state)}  {task.state} {task.folder.name} {task.error}".rstrip(),
                    file=self.stream,
                    flush=True,
                )

    def close(self) -> None:
        self._draw([])

    def _draw(self, lines: list[str]) -> None:
        if not self.live:
            return
        columns = shutil.get_terminal_size().columns - 1
        up = f"\x1b[{self.height}F" if self.height else ""
        self.stream.write(up + "\x1b[J" + "".join(f"{line[:columns]}\n" for line in lines))
        self.stream.flush()
        self.height = len(lines)


def summary(state: Sweep) -> str:
    over = state.count("done", "found", "failed")
    counted = ((name, state.count(name)) for name in ("failed", "running", "elsewhere", "waiting"))
    parts = [f"{over}/{len(state.tasks)} over", *(f"{n} {name}" for name, n in counted if n)]
    spent = time.monotonic() - state.started
    if (fresh := state.count("done", "failed")) > 0 and over < len(state.tasks):
        parts.append(f"about {_hours_minutes_seconds(spent / fresh * (len(state.tasks) - over))} left")
    return f"{_hours_minutes_seconds(spent)}  " + ", ".join(parts)


def table(state: Sweep) -> list[str]:
    """The counts, then every active run with its latest line, then the failed runs."""
    running = [task for task in state.tasks if task.state in ("running", "elsewhere")]
    shown = [f"  {_differing(task, state)}  {_task_progress(task)}" for task in running[:16]]
    failed = [f"  failed: {task.folder.name} {task.error}" for task in state.failed[-4:]]
    return [summary(state), *shown, *failed]


def _differing(task: Task, state: Sweep) -> str:
    """The run's values of the parameters in which the sweep's runs differ."""
    first = state.tasks[0].values
    names = [name for name in first if any(other.values[name] != first[name] for other in state.tasks)]
    return " ".join(f"{name}={task.values[name]}" for name in names) or task.folder.name


def _task_progress(task: Task) -> str:
    from dsnotes.runs.sweep import PROGRESS

    if task.state == "elsewhere":
        return "running in another process"
    try:
        return (task.folder / PROGRESS).read_text(encoding="utf-8")
    except OSError:
        return "starting"


def _hours_minutes_seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
