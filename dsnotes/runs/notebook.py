"""One parameterised run of a notebook, in a folder named by what it computes.

runs/80_experiment-3f2a9c1d8e4b/
    notebook.ipynb   as executed; `running.ipynb` beside `begun.json` until then, `failed.ipynb` beside `failure.json`
    result.json      metrics, parameters, versions, commit, device, seconds, peak memory: written when the run is done
    figures/         every picture of the notebook
    …                files that the notebook keeps, such as checkpoints: a killed run resumes from them
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dsnotes.runs.experiment_names import names_in
from dsnotes.runs.kernel import Tell, execute
from dsnotes.runs.locks import locked
from dsnotes.runs.pictures import keep_figures
from dsnotes.runs.results_io import (
    METRICS,
    RUN,
    STARTED_FROM,
    rank,
    read_metrics,
    read_result,
    write_json,
    write_result,
)
from dsnotes.runs.source import RefusedError, Source, open_source

BEGUN, RESULT, FAILURE = "begun.json", "result.json", "failure.json"
RUNNING, EXECUTED, FAILED = "running.ipynb", "notebook.ipynb", "failed.ipynb"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)


class FailedError(RuntimeError):
    """A cell raised, the kernel died or the time ran out; `traceback` says which, `folder` keeps the details."""

    def __init__(self, message: str, folder: Path, traceback: str = "") -> None:
        super().__init__(message)
        self.folder, self.traceback = folder, traceback


@dataclass(frozen=True)
class Run:
    folder: Path
    result: dict
    fresh: bool  # False: it was done before


def run(
    notebook: str | os.PathLike,
    parameters: Mapping[str, Any] | None = None,
    *,
    out: str | os.PathLike = "runs",
    timeout: float | None = None,
    tell: Tell | None = None,
    started_from: str | os.PathLike | None = None,
) -> Run:
    """Execute the notebook with these parameters unless that was done before; `timeout` (seconds) is for the whole run.

    `tell` is called with a line on every change. Raises `RefusedError` for invalid parameters, `BusyError` if another
    process is computing this run, and `FailedError` if the notebook fails: its folder keeps the traceback.
    """
    source = open_source(notebook)
    values = source.check(parameters or {})
    if timeout is not None and not 0 < timeout < math.inf:
        raise RefusedError(
            f"timeout={timeout} must be a positive number; give seconds, such as timeout=3600, or leave it out"
        )
    folder = folder_of(source, values, out)
    if (done := finished(folder)) is not None:
        return Run(folder, done, fresh=False)
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if rank() > 0:
            return _run_as_other_rank(source, values, folder, timeout=timeout, started_from=started_from)
        with locked(folder) as lock:
            if (done := finished(folder)) is not None:  # while this one was reaching for the lock
                return Run(folder, done, fresh=False)
            try:
                result = _execute(source, values, folder, timeout=timeout, tell=tell, started_from=started_from)
            except RefusedError:
                if new:
                    shutil.rmtree(folder, ignore_errors=True)
                raise
            if not lock.held():
                raise FailedError("another process has taken this run over while this one was asleep", folder)
            write_result(folder / RESULT, result)
            (folder / BEGUN).unlink(missing_ok=True)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise RefusedError(
                f"no space left for {folder} ({error.strerror}): free some and run the same command again; it resumes "
                f"from the files there"
            ) from error
        if error.errno in CLOSED:
            raise RefusedError(
                f"cannot write to {out} ({error.strerror}); give a writable folder with --out"
            ) from error
        raise
    return Run(folder, result, fresh=True)


def folder_of(source: Source, values: Mapping[str, Any], out: str | os.PathLike) -> Path:
    return Path(out).absolute() / f"{source.name}-{source.identity(values)}"


def finished(folder: Path) -> dict | None:
    try:
        return read_result(folder / RESULT)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _execute(source: Source, values: dict, folder: Path, *, timeout, tell, started_from) -> dict:
    started, clock = datetime.now(UTC), time.perf_counter()
    for stale in (METRICS, FAILURE, FAILED, RUNNING):
        (folder / stale).unlink(missing_ok=True)
    failure = traceback = ""
    begun = {"notebook": source.path.name, "parameters": values, "started": started.isoformat(timespec="seconds")}
    write_json(folder / BEGUN, begun)
    account: dict = {}
    node: Any = None
    try:
        node, account = execute(
            source.filled(values),
            folder / RUNNING,
            cwd=source.path.absolute().parent,
            environment=_environment(folder, started_from),
            timeout=timeout,
            tell=tell,
            refusal=_refusal(source, values),
        )
        failure, traceback = _error(node)
    except Exception as error:
        failure, traceback = _from_outside(error, timeout)
        if not failure:
            raise
    about = {
        **begun,
        "seconds": round(time.perf_counter() - clock, 2),
        "commit": _commit(source.path.absolute().parent),
        **account,
    }
    for code in NO_SPACE:  # a full disk is not the notebook's failure, and its traceback could not be written
        if os.strerror(code) in failure:
            raise OSError(code, os.strerror(code))
    if failure:
        write_json(folder / FAILURE, {**about, "error": failure, "traceback": traceback, **read_metrics(folder)})
        (folder / BEGUN).unlink(missing_ok=True)
        if (folder / RUNNING).exists():
            os.replace(folder / RUNNING, folder / FAILED)
        raise FailedError(failure, folder, traceback)
    figures = keep_figures(node, folder / "figures")
    os.replace(folder / RUNNING, folder / EXECUTED)
    return {**about, "figures": figures, **read_metrics(folder)}


def _refusal(source: Source, values: Mapping[str, Any]) -> str:
    """An expression for the kernel: why a name that the notebook passes to the library is unknown."""
    names = names_in(source, values)
    call = f"__import__('dsnotes.runs.experiment_names', fromlist=['refusal']).refusal({json.dumps(names)!r})"
    return call if names else ""


def _run_as_other_rank(source: Source, values: dict, folder: Path, *, timeout, started_from) -> Run:
    """Run in a torchrun process other than the first: it computes along and keeps only its executed notebook."""
    (folder / "ranks").mkdir(exist_ok=True)
    node, account = execute(
        source.filled(values),
        folder / "ranks" / f"{rank()}.ipynb",
        cwd=source.path.absolute().parent,
        environment=_environment(folder, started_from),
        timeout=timeout,
    )
    failure, traceback = _error(node)
    if failure:
        raise FailedError(f"process {rank()}: {failure}", folder, traceback)
    return Run(folder, account, fresh=True)


LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"


def _environment(folder: Path, started_from: str | os.PathLike | None) -> dict[str, str]:
    """This process's environment, with large memory pages for torch unless it disables them (`benchmarks/pages.py`)."""
    environment = {
        LARGE_PAGES: "1",
        **os.environ,
        RUN: str(folder),
        STARTED_FROM: str(Path(started_from or "").absolute()),
    }
    environment.pop("MPLBACKEND", None)  # notebooks use their kernel's own backend
    return environment


def _error(node: Any) -> tuple[str, str]:
    """The error of the first failed cell in one line, and its traceback; empty if none failed."""
    for number, cell in enumerate(node.cells):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error" and (output["ename"], output["evalue"]) != ("SystemExit", "0"):
                said = output["evalue"].strip().splitlines() or [""]
                text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output["traceback"]))
                return f"cell {number}: {output['ename']}: {said[0]}", text
    return "", ""


def _from_outside(error: Exception, timeout: float | None) -> tuple[str, str]:
    """The cause if the kernel was ended, not a cell: time-out or death; empty for any other error."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    if isinstance(error, CellTimeoutError):
        return f"not done after {timeout} s: allow more with --timeout", str(error)
    if isinstance(error, DeadKernelError):
        return "the kernel died; if memory ran out, a smaller batch or patch needs less", str(error)
    return "", ""


def _commit(folder: Path) -> str | None:
    """The commit of the notebook's repository, with a + if tracked files have changed since."""
    ask = {"cwd": folder, "capture_output": True, "text": True, "check": True}
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], **ask).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **ask).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")
