"""A budget in seconds, fixed as steps before training starts: `fit(…, budget="600 s")`.

Seconds depend on what else the machine does. So the time of a step is measured once, on one thread or on the GPU, and
every system trains for as many steps as fit into the budget. Runs that differ in seed and patients alone can share one
measurement, and so make the same number of steps: `shared_seconds_per_step`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import secrets
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from dsnotes.training.batches import Draw
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

UNITS = {"s": 1, "min": 60, "h": 3600}
MEASURED = 5  # steps, after one that is not counted


def parse_seconds(budget: str | float) -> float:
    """The seconds in "600 s", "10 min", "1.5 h" or a number of seconds."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h)?\s*", str(budget))
    if isinstance(budget, bool) or not found or float(found[1]) == 0:
        raise ValueError(f'budget={budget!r} is not a time. Pass for instance budget="600 s", "10 min" or "1.5 h".')
    return float(found[1]) * UNITS[found[2] or "s"]


def seconds_per_step(system: System, settings: Settings, draw: Draw, *, amp: torch.dtype | None = None) -> float:
    """The median of a few steps on a copy of the network, with the time to make their batches: on a CPU the processor
    time of one thread, which other processes do not lengthen; on a GPU wall time.
    """
    step = system.make_step(copied := replace(system, network=copy.deepcopy(system.network)), settings, amp=amp)
    step.set_lr(settings.lr)
    copied.network.train()
    on_cpu, threads, taken = draw.device.type == "cpu", torch.get_num_threads(), []
    clock = time.process_time if on_cpu else time.perf_counter
    try:
        if on_cpu:
            torch.set_num_threads(1)
        for iteration in range(MEASURED + 1):
            started = clock()
            step(draw.to_device(draw(0, iteration)))
            if not on_cpu:
                torch.accelerator.synchronize()
            taken.append(clock() - started)
    finally:
        torch.set_num_threads(threads)
    return statistics.median(taken[1:])


def shared_seconds_per_step(
    folder: str | os.PathLike, run: Mapping[str, object], measure: Callable[[], float]
) -> float:
    """The seconds per step of `run`, measured by the first run with this description and read by the others."""
    text = json.dumps(run, sort_keys=True)
    path = Path(folder) / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{secrets.token_hex(4)}")
        part.write_text(json.dumps({"seconds per step": measure(), "run": run}, indent=1), encoding="utf-8")
        try:
            os.link(part, path)
        except OSError:
            if not path.exists():  # a file system without hard links; else another run was faster, and its time counts
                os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    return float(json.loads(path.read_text(encoding="utf-8"))["seconds per step"])


def settings_within(settings: Settings, budget: str | float, per_step: float) -> Settings:
    """The settings with as many steps as fit into the budget, the same number in every epoch."""
    steps = int(parse_seconds(budget) / per_step)
    if steps < 1:
        raise ValueError(
            f"budget={budget!r} is shorter than one step, which takes {per_step:.2g} s here. Pass a longer budget, a "
            f"smaller patch or a smaller batch."
        )
    epochs = min(settings.epochs, steps)
    return replace(settings, epochs=epochs, iterations=steps // epochs)
