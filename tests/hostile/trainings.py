"""A checkpoint with flipped bytes, and trainings that are killed: what was written is what is read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
TRAINING = """
import sys
import torch
from hostile.trainings import train
torch.set_num_threads(1)
train(sys.argv[1], kill_at=int(sys.argv[2]))
"""


def train(out: str | None, *, kill_at: int = 0) -> dict:
    """Six epochs of a network of a few hundred weights, with a kill -9 before step `kill_at`; its weights."""
    import signal
    from dataclasses import replace

    import torch

    from dsnotes.training.fit import fit
    from hostile.wrong_inputs import discs, tiny

    torch.manual_seed(0)
    system = tiny()
    steps, plain = [0], system.make_step

    class Deadly(plain):
        def __call__(self, batch):
            steps[0] += 1
            if steps[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(batch)

    Deadly.__qualname__, Deadly.__module__ = plain.__qualname__, plain.__module__
    system = replace(system, make_step=Deadly)
    fit(system, discs(), epochs=6, out=out, progress=False, device="cpu", amp=False)
    return system.network.state_dict()


def flipped_bytes(folder: Path, count: int = 39) -> list[str]:
    """What became of a checkpoint with one bit turned, at so many places: "refused" or "accepted"."""
    from dsnotes.training import checkpoints

    train(str(folder))
    path = folder / checkpoints.CHECKPOINT
    whole, told = path.read_bytes(), []
    for place in np.linspace(0, len(whole) - 1, count).astype(int):
        turned = bytearray(whole)
        turned[place] ^= 1 << (place % 8)
        path.write_bytes(turned)
        try:
            checkpoints.load(folder)
            told.append(f"accepted at byte {place}")
        except ValueError as error:
            told.append("refused" if "checkpoint.previous.pt" in str(error) else f"no remedy: {error}")
    path.write_bytes(whole)
    return told


def kills(folder: Path, count: int = 10) -> list[str]:
    """Trainings that are killed somewhere and then started again: "identical" to the one that was never stopped."""
    import torch

    straight = train(None)
    told = []
    for at in range(count):
        out = folder / f"kill{at}"
        command = [sys.executable, "-c", TRAINING, str(out)]
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
        how = {"env": environment, "cwd": ROOT, "capture_output": True, "text": True, "check": False}
        first = subprocess.run([*command, str(1 + at * 11 // max(count - 1, 1))], **how)
        if first.returncode != -9:
            told.append(f"not killed: {first.stderr[-300:]}")
            continue
        ended = train(str(out))
        same = all(torch.equal(value, straight[name]) for name, value in ended.items())
        told.append("identical" if same else "other weights")
    return told
