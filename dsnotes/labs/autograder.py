"""Grades submissions, several at once: student code runs in sandboxes, the tests run here.

The tests contain hidden parts, reference answers (`reference.dice`) and random inputs (`SEED`). In their namespace a
student's functions are proxies, so student code can return wrong answers but do nothing else here.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import math
import multiprocessing
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dsnotes.labs.channel import Channel, EndedError, StudentError, described
from dsnotes.labs.proxy import RemoteFunction
from dsnotes.labs.sandbox import Limits, Sandbox
from dsnotes.labs.score import RECORDED
from dsnotes.labs.source import Lab, id_of, in_sandbox, is_locked, names_in, open_lab, points_of
from dsnotes.labs.submission import Submission

TEXT = 20_000
PIXELS = 4_000_000
STOPPED = ("TimeUp", "MemoryError", "PermissionError", "BlockingIOError", "OSError", "CPU")


@dataclass
class Attempt:
    """One grading of one submission."""

    student: str
    lab: str
    points: dict[str, float] = field(default_factory=dict)  # by test
    messages: dict[str, str] = field(default_factory=dict)  # by test, if points were lost or something was printed
    outputs: dict[str, list[dict]] = field(default_factory=dict)  # by position of the student's cell
    scores: dict[str, float] = field(default_factory=dict)  # for the leaderboard
    notes: list[str] = field(default_factory=list)
    sandbox: str = "not run"
    seconds: float = 0.0

    def to_dict(self) -> dict:
        return asdict(self)


def autograde(
    submissions: Iterable[Submission],
    folder: Path,
    *,
    sandbox: Sandbox,
    seed: int,
    limits: Limits | None = None,
    workers: int = 1,
) -> Iterator[Attempt]:
    """Each submission's attempt, in the order given; one that kills its grading process does not affect the others."""
    jobs = [(each, folder / f"{each.lab}.py", sandbox, seed, limits or Limits()) for each in submissions]
    with _pool(workers) as pool:
        started = [pool.submit(attempt, *job) for job in jobs]
        for job, future in zip(jobs, started, strict=True):
            yield _outcome(job, future)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max(workers, 1), mp_context=multiprocessing.get_context("spawn"))


def _outcome(job: tuple, future: Future) -> Attempt:
    try:
        return future.result()
    except BrokenProcessPool:  # unknown which one: the rest run in a process each
        try:
            with _pool(1) as alone:
                return alone.submit(attempt, *job).result()
        except BrokenProcessPool:
            note = "This submission killed its grading process, so it has no points."
            return Attempt(job[0].student, job[0].lab, dict.fromkeys(_lab(job[1]).tests, 0.0), notes=[note])


@cache
def _lab(path: Path) -> Lab:
    return open_lab(path)


def attempt(submission: Submission, path: Path, sandbox: Sandbox, seed: int, limits: Limits) -> Attempt:
    """Grade one submission from its first cell to its last, in a process that runs only the instructor's code."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    lab = _lab(path)
    done = Attempt(submission.student, lab.name, dict.fromkeys(lab.tests, 0.0), notes=list(submission.notes))
    if not submission.read:
        return done
    space = {"__name__": "__main__", "SEED": seed, "reference": reference(path)}
    RECORDED.clear()
    torch.manual_seed(0)
    with Channel(sandbox, limits, lab.needs) as channel:
        started = time.monotonic()
        done.sandbox = sandbox.name
        for at, cell in enumerate(submission.cells):
            if cell["cell_type"] != "code":
                continue
            try:
                _cell(cell, at, lab, space, channel, done)
            except Exception as error:  # no answer may stop the whole command
                where, said = id_of(cell) or f"cell {at + 1}", str(error) or type(error).__name__
                done.notes.append(f"In {where} the process ended: {said}. Later cells could not be run.")
                done.messages |= {
                    name: "not run" for name in lab.tests if name not in done.messages and not done.points[name]
                }
                break
        done.seconds = time.monotonic() - started
    done.scores = {name: value for name, value in RECORDED.items() if math.isfinite(value)}
    return done


def _cell(cell: dict, at: int, lab: Lab, space: dict[str, Any], channel: Channel, done: Attempt) -> None:
    name = id_of(cell)
    if name in lab.tests:
        full = points_of(cell)
        done.points[name], said = run_test(cell["source"], name, space, full)
        if said:
            done.messages[name] = said
            done.notes += [f"In {name}: {line}" for line in said.splitlines()[:20] if line.split(":")[0] in STOPPED]
        return
    given = bool(name) and is_locked(cell)
    if given and not in_sandbox(cell):
        exec(compile(cell["source"], f"<{name}>", "exec", optimize=0), space)
    try:
        shown = _shown(channel.ask("run", name=name or f"cell {at + 1}", source=cell["source"]))
    except StudentError as error:
        shown = [{"error": str(error)}]
    if not given:
        done.outputs[str(at)] = shown
    done.notes += [f"In {name or f'cell {at + 1}'}: {o['error'].splitlines()[-1][:300]}" for o in shown if _stopped(o)]
    if name:
        functions, values = names_in(lab.cells[name]["source"]) if not given or in_sandbox(cell) else ((), ())
        space |= {function: RemoteFunction(channel, function) for function in functions}
        for each in values:
            space.pop(each, None)
            with contextlib.suppress(StudentError):  # not defined: its test reports that
                space[each] = channel.ask("value", name=each)


def _stopped(output: dict) -> bool:
    return "error" in output and output["error"].splitlines()[-1].split(":")[0] in STOPPED


def run_test(source: str, name: str, space: dict[str, Any], full: float) -> tuple[float, str]:
    """The points of one test (all of them unless its last line is a number) and its message."""
    tree, printed = ast.parse(source), io.StringIO()
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, f"<{name}>", "exec", optimize=0), space)
            value = eval(compile(last, f"<{name}>", "eval"), space) if last else full
    except EndedError:
        raise
    except AssertionError as error:
        return 0.0, f"{printed.getvalue()}{error}"[:TEXT]
    except Exception as error:  # raised by the test, on an answer of the wrong type
        return 0.0, f"{printed.getvalue()}{type(error).__name__}: {error}"[:TEXT]
    points = float(value) if isinstance(value, int | float) else full
    return (min(max(points, 0.0), full) if math.isfinite(points) else 0.0), printed.getvalue()[:TEXT]


def _shown(outputs: Any) -> list[dict]:
    """Keep only text, errors and pictures of the outputs that a worker reports."""
    if not isinstance(outputs, list):
        raise EndedError("it sent something that is not an output")
    shown = []
    for output in outputs[:60]:
        if isinstance(output, dict) and "error" in output:
            shown.append({"error": described(output["error"])})
        elif isinstance(output, dict) and isinstance(encoded := output.get("png"), str):
            shown.append(redrawn(encoded))
        elif isinstance(output, dict):
            shown.append({"text": str(output.get("text"))[:TEXT]})
    return shown


def redrawn(encoded: str) -> dict[str, str]:
    """A PNG re-encoded, so that only its pixels are kept."""
    from PIL import Image

    try:
        opened = Image.open(io.BytesIO(base64.b64decode(encoded)), formats=["PNG"])
        if opened.width * opened.height > PIXELS:
            return {"text": f"(a picture of {opened.width} × {opened.height} is too large to show)"}
        drawn = io.BytesIO()
        opened.convert("RGB").save(drawn, "PNG")
    except Exception as error:  # any error of a decoder on hostile bytes
        return {"text": f"(cannot read this picture: {type(error).__name__})"}
    return {"png": base64.b64encode(drawn.getvalue()).decode()}


@cache
def reference(path: Path) -> SimpleNamespace:
    """Everything that the lab's own cells define, except tests: the solutions to compare with."""
    space: dict[str, Any] = {"__name__": "__main__"}
    for cell in _lab(path).cells.values():
        if cell["cell_type"] == "code" and not points_of(cell):
            exec(compile(cell["source"], f"<{id_of(cell)}>", "exec", dont_inherit=True), space)
    return SimpleNamespace(**space)
