"""Where a sweep's runs are computed: processes of this machine, or a cluster by its scheduler's address."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dsnotes.runs.source import RefusedError

DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"  # Ctrl-C is for the driver, which ends its workers
PATIENCE = 10.0  # seconds for a scheduler to answer


@contextmanager
def connected(workers: int | None, scheduler: str | None) -> Iterator[Any]:
    """A dask client, current inside; what was started for it ends with it."""
    try:
        import dask
        from distributed import Client
    except ModuleNotFoundError:
        raise RefusedError('a sweep needs dask; type: pip install -c constraints.txt -e ".[sweep]"') from None
    if workers is not None and scheduler is not None:
        raise RefusedError("--workers starts workers here, --scheduler uses those of a cluster; give one of the two")
    if workers is not None and workers < 1:
        raise RefusedError(f"--workers {workers} does nothing; give 1 or more")
    if scheduler is not None:
        with _reached(scheduler) as client, client.as_current():
            yield client
        return
    # A worker that dies takes its run along; when a second one dies of the same run, that run is to blame.
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        _local(workers) as cluster,
        Client(cluster, set_as_default=False) as client,
        client.as_current(),
    ):
        yield client


def _reached(scheduler: str) -> Any:
    from distributed import Client
    from distributed.comm import resolve_address

    try:
        resolve_address(scheduler)  # a client of an address that is none cannot be closed
        client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise RefusedError(
            f"no scheduler answers at {scheduler} ({' '.join(str(error).split())[:120]}); start one by "
            f"`dask scheduler`, and give the address that it prints"
        ) from None
    if not client.nthreads():
        client.close()
        raise RefusedError(
            f"the scheduler at {scheduler} has no workers; start some by `dask worker {scheduler} --nthreads 1`"
        )
    return client


def _local(workers: int | None) -> Any:
    """Each worker with its share of the cores, and with one GPU where there are any."""
    from distributed import Nanny, Scheduler, SpecCluster

    gpus = gpus_here()
    workers = workers or len(gpus) or 1
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // workers))
    shared = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    quiet = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}  # else two sweeps want one port
    own = [{"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} if gpus else {} for place in range(workers)]
    alone = {"nthreads": 1, "memory_limit": 0, "silence_logs": logging.ERROR, "preload": [DEAF], **quiet}
    here = {"protocol": "tcp://", "host": "127.0.0.1", "port": 0, **quiet}
    return SpecCluster(
        workers={place: {"cls": Nanny, "options": {**alone, "env": shared | mine}} for place, mine in enumerate(own)},
        scheduler={"cls": Scheduler, "options": here},
        silence_logs=logging.ERROR,
        name="dsnotes",
    )


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus_here() -> list[str]:
    """What CUDA_VISIBLE_DEVICES names, or every GPU of this machine; asked of the driver, since torch takes seconds."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [one.strip() for one in named.split(",") if one.strip() and one.strip() != "-1"]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(place) for place in range(sum(line.startswith("GPU ") for line in listed.splitlines()))]
