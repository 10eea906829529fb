"""Submissions worked through, several at once, each in a process of its own; whatever happens there stays there.

    for sitting in examine(papers, limits=Limits(), workers=2): ...

The processes are forked from one that has loaded torch already, so that each starts in milliseconds.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dsnotes.labs.desk import PICTURE, TEXT, sit
from dsnotes.labs.source import is_locked, points_of
from dsnotes.labs.wall import Limits, possible

GRACE = 10.0  # seconds between the end that a cell can still tell of and the end of its process
ANSWER = 20_000_000  # bytes that one cell may send
STARTING = 180.0
STOPPED = ("TimeUp", "MemoryError", "PermissionError", "BlockingIOError", "OSError")  # what the wall answers with
SERVER = threading.Lock()
HELD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass
class Paper:
    """What one student handed in for one lab, with the instructor's cells back in their places."""

    student: str
    lab: str
    notebook: dict
    happened: list[str] = field(default_factory=list)
    read: bool = True  # False: there was nothing in it that could be run


@dataclass
class Sitting:
    paper: Paper
    scores: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    cpu: float = 0.0  # as the process itself told, up to its last answer
    wall: str = "not run"


def examine(
    papers: Iterable[Paper],
    *,
    limits: Limits | None = None,
    workers: int = 1,
    hidden: Sequence[Path] = (),
    namespaces: bool = True,
) -> Iterator[Sitting]:
    """Each paper with the outputs of its run, in the order given."""
    with ThreadPoolExecutor(max(workers, 1)) as desks:
        started = [
            desks.submit(run, paper, limits or Limits(), hidden=hidden, namespaces=namespaces) for paper in papers
        ]
        for each in started:
            yield each.result()


def run(
    paper: Paper,
    limits: Limits,
    *,
    hidden: Sequence[Path] = (),
    walled: bool = True,
    namespaces: bool = True,
) -> Sitting:
    """One paper: its cells' outputs are filled in, and `happened` says what a student should be told."""
    sitting = Sitting(paper)
    if not paper.read:
        _not_run(paper.notebook["cells"], "the file could not be read")
        return sitting
    # Not below the account's own temporary folder, which others may not enter
    folder = Path(tempfile.mkdtemp(prefix="dsnotes-lab-"))
    folder.chmod(0o777)
    mine, theirs = multiprocessing.Pipe()
    process = _process(sit, (theirs, str(folder), limits, tuple(map(str, hidden)), walled, namespaces))
    process.start()
    theirs.close()
    started = time.monotonic()
    try:
        sitting.wall, started = _wall(mine), time.monotonic()
        _conduct(mine, paper, limits, sitting)
    finally:
        sitting.seconds = time.monotonic() - started
        mine.close()
        process.kill()
        process.join()
        process.close()
        shutil.rmtree(folder, ignore_errors=True)
    return sitting


def _wall(conversation: Connection) -> str:
    """The first word of the process. Nothing of the student's has run yet: what fails until here is ours."""
    try:
        said = _answer(conversation, STARTING)
    except EndedError as ended:
        said = {"failed": str(ended)}
    if "failed" in said:
        raise RuntimeError(f"no wall could be built to grade behind, so nothing was graded:\n{said['failed']}")
    return str(said["wall"])


class EndedError(RuntimeError):
    """The process answers no more."""


def _process(target: Any, given: tuple) -> Any:
    """Forked from a warm server where that can be; the server is told to keep to one thread before it starts."""
    if not possible():
        return multiprocessing.get_context("spawn").Process(target=target, args=given, daemon=True)
    context = multiprocessing.get_context("forkserver")
    with SERVER:
        _serve(context)
    return context.Process(target=target, args=given, daemon=True)


def _serve(context: Any) -> None:
    from multiprocessing.forkserver import ensure_running

    context.set_forkserver_preload(["dsnotes.labs.preloaded"])
    before = {name: os.environ.get(name) for name in HELD}
    os.environ.update(dict.fromkeys(HELD, "1"))
    try:
        ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def _conduct(conversation: Connection, paper: Paper, limits: Limits, sitting: Sitting) -> None:
    until = time.monotonic() + limits.seconds
    cells = [cell for cell in paper.notebook["cells"] if cell["cell_type"] == "code"]
    for at, cell in enumerate(cells):
        name = name_of(cell, at)
        asked = {"name": name, "source": cell["source"], "locked": is_locked(cell)}
        left = until - time.monotonic()
        try:
            if left <= 0:
                raise EndedError(f"the {limits.seconds:g} s for the whole notebook were over")
            conversation.send_bytes(json.dumps(asked).encode())
            answer = _answer(conversation, min(left, limits.cell_clock + GRACE))
            outputs = [_checked(output, cell) for output in answer["outputs"]]
        except (EndedError, OSError, ValueError, KeyError, TypeError) as error:
            why = str(error) if isinstance(error, EndedError) else "it answered with something that is no output"
            paper.happened.append(f"In the cell {name} the process ended: {why}. Nothing after it could be run.")
            _not_run(cells[at : at + 1], why)
            _not_run(cells[at + 1 :], f"the process had ended in the cell {name}")
            return
        cell["outputs"], cell["execution_count"] = outputs, at + 1
        sitting.cpu = float(answer.get("cpu", 0.0))
        if is_locked(cell):
            sitting.scores |= {str(k): float(v) for k, v in answer.get("scores", {}).items()}
            if mended := [str(each)[:80] for each in answer.get("mended", [])][:20]:
                paper.happened.append(f"Replaced in the libraries, and put back before {name}: {', '.join(mended)}.")
        for output in outputs:
            if output["output_type"] == "error" and output["ename"] in STOPPED:
                paper.happened.append(f"In the cell {name}: {output['ename']}: {output['evalue'][:300]}")


def _answer(conversation: Connection, seconds: float) -> dict:
    try:
        if not conversation.poll(seconds):
            raise EndedError(f"it gave no answer within {seconds:.0f} s and was stopped")
        answer = json.loads(conversation.recv_bytes(ANSWER))
    except (EOFError, ConnectionError):
        raise EndedError("it was gone (ended by itself, or out of memory or processor time)") from None
    if not isinstance(answer, dict):
        raise EndedError("it answered with something that is no output")
    return answer


def _checked(output: dict, cell: dict) -> dict:
    """Only what nbformat knows and a page may show; a test's value only as points between none and all of them."""
    kind = output["output_type"]
    if kind == "stream":
        name = "stderr" if output["name"] == "stderr" else "stdout"
        return {"output_type": "stream", "name": name, "text": str(output["text"])[:TEXT]}
    if kind == "error":
        lines = [str(line)[:TEXT] for line in output["traceback"]][:20]
        return {"output_type": kind, "ename": str(output["ename"])[:200], "evalue": str(output["evalue"])[:TEXT]} | {
            "traceback": lines
        }
    data = {"text/plain": str(output["data"].get("text/plain", ""))[:TEXT]}
    if isinstance(picture := output["data"].get("image/png"), str):
        data["image/png"] = picture[:PICTURE]
    if kind == "execute_result" and is_locked(cell) and points_of(cell):
        data = {"text/plain": repr(min(max(_number(data["text/plain"]), 0.0), points_of(cell)))}
    more = {"execution_count": None} if kind == "execute_result" else {}
    return {"output_type": "execute_result" if more else "display_data", "data": data, "metadata": {}, **more}


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if value == value else 0.0


def _not_run(cells: Sequence[dict], why: str) -> None:
    for cell in cells:
        if cell["cell_type"] == "code":
            said = f"NotRun: {why}"
            cell["outputs"] = [{"output_type": "error", "ename": "NotRun", "evalue": why, "traceback": [said]}]


def name_of(cell: dict, at: int) -> str:
    return cell["metadata"].get("nbgrader", {}).get("grade_id") or f"cell {at + 1}"


def fresh(notebook: dict) -> dict:
    """A copy without outputs."""
    copied = json.loads(json.dumps(notebook))
    for cell in copied["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return copied
