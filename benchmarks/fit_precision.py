"""A step and a run of a small U-Net in bfloat16 against float32, with losses in float32 either way.

    python benchmarks/fit_precision.py [--threads 1] [--write]

The first table times forward and backward alternately, the second trains to the end: the Dice must not suffer.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import torch
from fit import SETTINGS, Setting, cases, drawing, system
from timing import keep, machine, table

from dsnotes.data import phantoms
from dsnotes.data.case import Case
from dsnotes.networks.unet import UNet
from dsnotes.supervision.base import supervise
from dsnotes.supervision.plain import Plain
from dsnotes.training.fit import fit
from dsnotes.training.forward_pass import ForwardPass
from dsnotes.training.settings import Settings
from dsnotes.training.system import System


def bfloat16(setting: Setting, data: list[Case], rounds: int) -> list[str]:
    """A row: forward and backward in float32 and in bfloat16 with losses in float32."""
    base = system(setting)
    batch = drawing(base, data)(1, 0)[0]
    taken = {dtype: [] for dtype in (None, torch.bfloat16)}
    for _ in range(rounds):
        for dtype, seconds in taken.items():
            seconds.append(step_seconds(base, batch, dtype))
    exact, lowered = (statistics.median(seconds) * 1e3 for seconds in taken.values())
    ratio = statistics.median(a / b for a, b in zip(taken[None], taken[torch.bfloat16], strict=True))
    return [setting.name, f"{exact:.1f}", f"{lowered:.1f}", f"{ratio:.2f}"]


def step_seconds(base: System, batch: dict, dtype: torch.dtype | None) -> float:
    """The shorter of two forward and backward passes after one to warm up."""
    forward_pass = ForwardPass(base.network.train(), base.objective, amp=dtype)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        _, terms = forward_pass(batch)
        torch.autograd.grad(sum(terms.values()), list(base.network.parameters()))
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def dice(seed: int) -> list[object]:
    """A row: validation Dice of a small 3-D U-Net on kidney phantoms, the same run in both precisions."""
    train, val = ([binary(case) for case in phantoms.kidneys(n, seed=n, size=(16, 48, 48))] for n in (12, 6))
    scores = []
    for amp in (False, True):
        torch.manual_seed(seed)
        network = supervise(UNet(dims=3, width=8, depth=3, norm="instance"), Plain())
        settings = Settings(patch=(16, 48, 48), batch=2, lr=3e-3, schedule="poly", epochs=10, iterations=20)
        made = System("u-net", network, Plain(), settings)
        scores.append(fit(made, train, val, amp=amp, seed=seed, progress=False, device="cpu")[-1]["val_dice"])
    return [seed, *(f"{score:.3f}" for score in scores)]


def binary(case: Case) -> Case:
    return replace(case, image=case.image / 200, label=(case.label > 0).astype("uint8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3, help="runs in each precision for the second table")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = cases()
    steps = [bfloat16(setting, data, options.rounds) for setting in SETTINGS]
    runs = [dice(seed) for seed in range(options.seeds)]
    text = "\n\n".join(
        [
            "## Training in bfloat16",
            f"`python benchmarks/fit_precision.py` on a {machine()}, {options.rounds} rounds.",
            table(["forward and backward", "float32 ms", "bfloat16 ms", "times faster"], steps),
            table(["seed", "Dice, float32", "Dice, bfloat16"], runs),
        ]
    )
    print(text)
    if options.write:
        keep("fit_precision", text)


if __name__ == "__main__":
    main()
