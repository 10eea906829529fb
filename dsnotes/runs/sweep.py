"""Many runs on dask.distributed: two on a laptop, one per GPU, or as many as a cluster has workers.

What is done is known by its folder alone, so a sweep that was killed goes on where it stopped, and two sweeps into one
folder share the work: each run is locked by the process that computes it, and waited for by the others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsnotes.runs.cluster import connected
from dsnotes.runs.locks import BusyError
from dsnotes.runs.notebook import FailedError, finished, folder_of, run
from dsnotes.runs.plan import Plan
from dsnotes.runs.source import RefusedError

TRIES = 2  # a failed run is tried once more
WAIT = 1.0  # seconds between checks of the workers
PROGRESS = "progress.txt"
# dask sets this for its workers, and kernels inherit it: freed memory goes back to the system at once, each layer's
# maps are allocated anew, and a training step takes twice as long (`benchmarks/pages.py`).
TRIMMING = "MALLOC_TRIM_THRESHOLD_"


@dataclass
class Task:
    values: dict[str, Any]
    folder: Path
    state: str = "waiting"  # waiting, running, elsewhere, done, found, failed
    tries: int = 0
    error: str = ""
    looked: float = 0.0
    seconds: float = 0.0

    @property
    def over(self) -> bool:
        return self.state in ("done", "found", "failed")


@dataclass
class Sweep:
    tasks: list[Task]
    started: float = field(default_factory=time.monotonic)

    def count(self, *states: str) -> int:
        return sum(task.state in states for task in self.tasks)

    @property
    def failed(self) -> list[Task]:
        return [task for task in self.tasks if task.state == "failed"]


Look = Callable[[Sweep], object]


def sweep(
    plan: Plan,
    *,
    out: str | os.PathLike = "runs",
    workers: int | None = None,
    scheduler: str | None = None,
    look: Look | None = None,
) -> Sweep:
    """Compute the runs that are not done; `look` is called about once a second. A run that fails twice stays failed.

    Without `scheduler` (an address such as tcp://node7:8786), `workers` processes are started here: by default one per
    GPU, or one if there is none.
    """
    state = Sweep([Task(values, folder_of(plan.source, values, out)) for values in plan.runs])
    for task in state.tasks:
        if finished(task.folder) is not None:
            task.state = "found"
    if not all(task.over for task in state.tasks):
        with connected(workers, scheduler) as client:
            _run_on_cluster(client, plan, state, out, look)
    if look is not None:
        look(state)
    return state


def _run_on_cluster(client: Any, plan: Plan, state: Sweep, out: str | os.PathLike, look: Look | None) -> None:
    from distributed import wait
    from distributed.scheduler import KilledWorker

    flying: dict[Any, Task] = {}
    path, home = plan.source.path.absolute(), Path().absolute()
    while not all(task.over for task in state.tasks):
        slots = sum(client.nthreads().values()) - len(flying)
        now = time.monotonic()
        for task in state.tasks:
            ready = task.state == "waiting" or (task.state == "elsewhere" and now - task.looked > WAIT)
            if slots > 0 and ready:
                if task.state == "elsewhere" and finished(task.folder) is not None:
                    task.state = "found"
                    continue
                task.state, slots = "running", slots - 1
                future = client.submit(
                    work, path, task.values, Path(out).absolute(), plan.timeout, home, pure=False, retries=0
                )
                flying[future] = task
        if look is not None:
            look(state)
        if flying:
            try:
                wait(list(flying), timeout=WAIT, return_when="FIRST_COMPLETED")
            except TimeoutError:
                continue
        else:
            time.sleep(WAIT)
        for future in [future for future in flying if future.done()]:
            task = flying.pop(future)
            try:
                task.state, task.error, task.seconds = future.result()
            except KilledWorker as error:
                task.state, task.error = (
                    "failed",
                    f"its worker died twice ({error.last_worker.address}): out of memory?",
                )
                task.tries = TRIES
            except Exception as error:  # the run could not start there: another dsnotes, a missing path
                task.state, task.error = "failed", f"{type(error).__name__}: {error}"
            if task.state == "elsewhere":
                task.looked = time.monotonic()
            if task.state == "failed":
                task.tries += 1
                task.state = "waiting" if task.tries < TRIES else "failed"
            future.release()


def work(path: Path, values: dict, out: Path, timeout: float | None, home: Path) -> tuple[str, str, float]:
    """Compute one run on a worker: its state, its error and its seconds."""
    os.environ.pop(TRIMMING, None)
    try:
        found = run(path, values, out=out, timeout=timeout, started_from=home, tell=_write_progress(path, values, out))
    except BusyError as error:
        return "elsewhere", str(error), 0.0
    except (FailedError, RefusedError) as error:
        return "failed", str(error), 0.0
    return ("done" if found.fresh else "found"), "", float(found.result["seconds"])


def _write_progress(path: Path, values: dict, out: Path) -> Callable[[str], object]:
    """A `tell` that writes the latest line into the run's folder, where the sweep's driver reads it."""
    from dsnotes.runs.source import open_source

    note = folder_of(open_source(path), values, out) / PROGRESS
    last = 0.0

    def tell(line: str) -> None:
        nonlocal last
        if time.monotonic() - last > WAIT:
            last = time.monotonic()
            note.write_text(line, encoding="utf-8")

    return tell
