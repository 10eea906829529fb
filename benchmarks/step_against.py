"""Steps of this tree and of another commit, in two processes that take turns; `step.py --against COMMIT` runs it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import torch

from dsnotes.papers import build

SYSTEMS = {
    "msds-unet": (2, 1, 32, 48, 32),
    "dsmsc-unet": (4, 1, 128, 128),
    "mss-unet": (2, 1, 24, 64, 64),
    "mu-net-hyb": (4, 1, 128, 128),
    "dsnet": (2, 1, 64, 64),
}
ALSO = {
    "unet-2d": (8, 1, 128, 128),
    "unet-3d": (2, 1, 32, 48, 32),
    "unet-3d@32": (2, 1, 32, 48, 32),  # of width 32
    "msds-unet-gm": (2, 1, 32, 32, 32),
}
ROOT = Path(__file__).resolve().parents[1]


def make_step(name: str, shape: tuple[int, ...]):
    """A step in bfloat16 and its batch, laid out as `fit` of the imported dsnotes would."""
    torch.manual_seed(0)
    name, _, width = name.partition("@")
    system = build(name, width=int(width or 16))
    try:
        from dsnotes.training.forward_pass import to_channels_last
    except ImportError:  # a commit without the rule: on a CPU `fit` leaves the network as it is
        pass
    else:
        to_channels_last(system.network, "auto", amp=torch.bfloat16)
    label = (torch.rand(shape[0], *shape[2:]) > 0.9).long()
    batch = {"image": torch.rand(shape), "label": label, "soft": label[:, None].float()}
    return system.make_step(system, system.settings, amp=torch.bfloat16), batch


def memory_as_in_fit():
    """How `fit` of the imported dsnotes has the C library keep memory; an older one leaves it alone."""
    from dsnotes.training import devices

    return devices.keep_freed_memory(torch.device("cpu")) if hasattr(devices, "keep_freed_memory") else nullcontext()


def against(commit: str, name: str, rounds: int) -> Iterator[tuple[float, float]]:
    """Processor seconds of a step at the commit and here, round by round."""
    if rounds < 1:
        return
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.check_output(["git", "-C", ROOT, "archive", commit, "dsnotes"])
        with tarfile.open(fileobj=io.BytesIO(packed)) as sources:
            sources.extractall(folder, filter="data")
        told = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        workers = [
            subprocess.Popen([sys.executable, __file__, name], env=os.environ | {"PYTHONPATH": tree}, **told)
            for tree in (folder, str(ROOT))
        ]
        try:
            for turn in range(rounds):
                seconds = [0.0, 0.0]
                for which in (0, 1) if turn % 2 else (1, 0):
                    print(file=workers[which].stdin, flush=True)
                    seconds[which] = float(workers[which].stdout.readline())
                yield tuple(seconds)
        finally:
            for worker in workers:
                worker.stdin.close()
                worker.wait()


def worker(name: str) -> None:
    """For every line read, take a step and print its processor seconds; one step warms up."""
    torch.set_num_threads(1)
    with memory_as_in_fit():
        step, batch = make_step(name, (SYSTEMS | ALSO)[name])
        step(batch)
        for _ in sys.stdin:
            started = time.process_time()
            step(batch)
            print(time.process_time() - started, flush=True)


if __name__ == "__main__":
    worker(sys.argv[1])
