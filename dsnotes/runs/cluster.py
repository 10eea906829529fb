"""Where a sweep's runs are computed: worker processes on this machine, or a cluster, given its scheduler's address."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dsnotes.runs.source import RefusedError

DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"  # the driver handles Ctrl-C and ends its workers
PATIENCE = 10.0  # seconds to wait for a scheduler


@contextmanager
def connected(workers: int | None, scheduler: str | None) -> Iterator[Any]:
    """A dask client, current inside the block; workers started for it end with it."""
    try:
        import dask
        from distributed import Client
    except ModuleNotFoundError:
        raise RefusedError('a sweep needs dask; type: pip install -c constraints.txt -e ".[sweep]"') from None
    if workers is not None and scheduler is not None:
        raise RefusedError("--workers starts workers here, --scheduler uses a cluster's; give only one of them")
    if workers is not None and workers < 1:
        raise RefusedError(f"--workers must be at least 1, got {workers}; give 1 or more")
    if scheduler is not None:
        with _connect_to(scheduler) as client, client.as_current():
            yield client
        return
    # If a second worker dies on the same run, the run counts as failed.
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        _local(workers) as cluster,
        Client(cluster, set_as_default=False) as client,
        client.as_current(),
    ):
        yield client


def _connect_to(scheduler: str) -> Any:
    from distributed import Client
    from distributed.comm import resolve_address

    try:
        resolve_address(scheduler)  # a client with an invalid address cannot be closed
        client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise RefusedError(
            f"no scheduler found at {scheduler} ({' '.join(str(error).split())[:120]}); start one with "
            f"`dask scheduler` and give the address that it prints"
        ) from None
    if not client.nthreads():
        client.close()
        raise RefusedError(
            f"the scheduler at {scheduler} has no workers; start some with `dask worker {scheduler} --nthreads 1`"
        )
    return client


def _local(workers: int | None) -> Any:
    """Workers on this machine, each with an equal share of the cores, and with one GPU if there are any."""
    from distributed import Nanny, Scheduler, SpecCluster

    gpus = gpus_here()
    workers = workers or len(gpus) or 1
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // workers))
    shared = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    quiet = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}  # else two sweeps would use the same port
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
    """GPUs in CUDA_VISIBLE_DEVICES, or all of this machine, from nvidia-smi, since importing torch takes seconds."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [one.strip() for one in named.split(",") if one.strip() and one.strip() != "-1"]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(place) for place in range(sum(line.startswith("GPU ") for line in listed.splitlines()))]
