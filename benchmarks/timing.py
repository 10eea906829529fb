"""Shared by all benchmarks: alternating runs, a description of the machine, saving a table."""

from __future__ import annotations

import platform
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """The kind of processor (not its model), threads and torch."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    threads = torch.get_num_threads()
    has = [name for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if name in flags]
    return (
        f"{platform.machine()} CPU ({', '.join(has) or 'instruction sets unknown'}), "
        f"{threads} thread{'s' * (threads > 1)}, torch {torch.__version__}"
    )


def take_turns(
    ways: dict[str, Callable[[], object]], rounds: int, *, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each way and round, after a warm-up; the order changes from round to round.

    On a busy machine use `time.process_time`: it counts only this process's own work, over all its threads.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            started = clock()
            ways[name]()
            seconds[name].append(clock() - started)
    return {name: taken[1:] for name, taken in seconds.items()}


def ratio(a: list[float], b: list[float]) -> float:
    """The median of the rounds' ratios, so that a machine that slows down slows both equally."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def table(columns: list[str], rows: list[list[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def reset_peak() -> None:
    """From here on `peak_mib` counts anew; Linux only."""
    if (file := Path("/proc/self/clear_refs")).exists():
        file.write_text("5")


def peak_mib() -> int | None:
    """The most memory that this process held since `reset_peak`; None where the system does not say."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) // 1024 if found else None


def keep(name: str, text: str) -> None:
    """`results/<name>.md`, which README.md links to."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text + "\n")
