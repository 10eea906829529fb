"""dsnotes.fit against a bare forward, backward, step loop.

    python benchmarks/fit.py [--threads 1] [--sizes 0] [--write]

The bare loop gets its batches drawn beforehand and does nothing else: no history, no check for NaN. fit draws the same
batches as it runs, and after an epoch both must have bitwise identical weights. For fit the second epoch is timed, from
the end of the first to its own end. The two alternate within each round, and the ratio is the median of the rounds'
ratios, so that a busy machine slows both equally. The second ratio is of the processor time of all threads, which shows
work hidden by overlapping.

The last rows compare fit in bfloat16 with a loop as most people would write it: PyTorch's own layers in its default
memory layout, and autocast around the forward pass and the loss.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import torch
from timing import RESULTS, keep, machine
from torch import nn

from dsnotes.data import phantoms
from dsnotes.data.case import Case
from dsnotes.networks.blocks import CONV, UP_CONV
from dsnotes.networks.unet import UNet
from dsnotes.supervision import loss_terms
from dsnotes.supervision.base import supervise
from dsnotes.supervision.plain import Plain
from dsnotes.training.batches import Draw
from dsnotes.training.fit import fit
from dsnotes.training.settings import Settings
from dsnotes.training.step import make_optimiser
from dsnotes.training.system import System


@dataclass(frozen=True)
class Setting:
    name: str
    dims: int
    width: int
    patch: tuple[int, ...]
    batch: int
    steps: int


SETTINGS = (
    Setting("2-D, width 16, 2 × 64²: a notebook's smoke run", 2, 16, (64, 64), 2, 30),
    Setting("2-D, width 32, 4 × 128²", 2, 32, (128, 128), 4, 3),
    Setting("3-D, width 16, 2 × 32³", 3, 16, (32, 32, 32), 2, 4),
)


HAND_WRITTEN = "a hand-written loop: autocast, default layout"
PLAIN = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def cases() -> list[Case]:
    return [replace(case, image=case.image / 200) for case in phantoms.lung(4, seed=0, size=(64, 128, 128))]


def system(setting: Setting) -> System:
    torch.manual_seed(0)
    network = supervise(UNet(dims=setting.dims, width=setting.width, depth=4), Plain())
    return System("u-net", network, Plain(), Settings(patch=setting.patch, batch=setting.batch))


def bare(system: System, drawn: list, *, autocast: bool = False) -> tuple[float, float]:
    """Seconds on the clock and of the processor for a loop over ready batches."""
    network = system.network.train()
    optimiser = make_optimiser(network, system.settings)
    started = now()
    for batch in drawn:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = sum(loss_terms(system.objective, network, batch).values())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), system.settings.clip)
        optimiser.step()
    return since(started)


def with_pytorchs_layers(system: System) -> System:
    """The same network and weights, without what our layers do for bfloat16 on a CPU."""
    plain = dict(zip((*CONV.values(), *UP_CONV.values()), PLAIN, strict=True))
    for module in system.network.modules():
        module.__class__ = plain.get(type(module), type(module))
    return system


def second_epoch(system: System, data: list[Case], *, amp: bool = False, **options) -> tuple[float, float]:
    moments = []
    fit(
        system,
        data,
        epochs=2,
        amp=amp,
        progress=False,
        device="cpu",
        on_epoch=lambda _: moments.append(now()),
        **options,
    )
    return tuple(b - a for a, b in zip(*moments, strict=True))


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def since(started: tuple[float, float]) -> tuple[float, float]:
    return tuple(b - a for a, b in zip(started, now(), strict=True))


def compare(setting: Setting, data: list[Case], rounds: int) -> list[str]:
    """Rows of the table: milliseconds a step, and the ratios of fit to the bare loop."""
    base = system(setting)
    drawn = [drawing(base, data)(1, i)[0] for i in range(setting.steps)]
    check(base, data, drawn)
    with tempfile.TemporaryDirectory() as folder:
        folders = (Path(folder) / str(index) for index in count())
        ways = {
            "bare loop": lambda system: bare(system, drawn),
            "fit": lambda system: second_epoch(system, data, iterations=setting.steps),
            "fit, drawing on no thread": lambda system: second_epoch(system, data, iterations=setting.steps, workers=0),
            "fit, augmenting": lambda system: second_epoch(system, data, iterations=setting.steps, augment=True),
            "fit, a checkpoint an epoch": lambda system: second_epoch(
                system, data, iterations=setting.steps, out=next(folders)
            ),
            HAND_WRITTEN: lambda system: bare(with_pytorchs_layers(system), drawn, autocast=True),
            "fit, bfloat16": lambda system: second_epoch(system, data, iterations=setting.steps, amp=True),
        }
        taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for turn in range(rounds + 1):  # the first warms up
            for way in list(ways)[:: 1 if turn % 2 else -1]:
                taken[way].append(ways[way](replace(base, network=copy.deepcopy(base.network))))
    rows = []
    for way, measured in taken.items():
        base_way = HAND_WRITTEN if way in (HAND_WRITTEN, "fit, bfloat16") else "bare loop"
        ms = statistics.median(clock for clock, _ in measured[1:]) / setting.steps * 1e3
        clock, processor = (
            statistics.median(
                ours[i] / theirs[i] for ours, theirs in zip(measured[1:], taken[base_way][1:], strict=True)
            )
            for i in (0, 1)
        )
        rows.append(f"| {setting.name} | {way} | {ms:.1f} | {clock:.3f} | {processor:.3f} |")
    started = time.perf_counter()
    for i in range(20):
        drawing(base, data)(1, i)
    return [*rows, f"| {setting.name} | drawing a batch, by itself | {(time.perf_counter() - started) * 50:.1f} | | |"]


def drawing(system: System, data: list[Case]) -> Draw:
    return Draw(data, system.settings, 2, None, 0, 0, torch.device("cpu"))


def check(base: System, data: list[Case], drawn: list) -> None:
    """fit and the bare loop must do the same work."""
    alone, fitted = (replace(base, network=copy.deepcopy(base.network)) for _ in range(2))
    bare(alone, drawn)
    fit(fitted, data, epochs=1, iterations=len(drawn), amp=False, progress=False, device="cpu")
    if not same(alone, fitted):
        raise RuntimeError("fit and the bare loop end with different weights: they did not do the same work")


def same(a: System, b: System) -> bool:
    pairs = zip(a.network.state_dict().values(), b.network.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def written(rounds: int, rows: list[str]) -> str:
    return "\n".join(
        [
            "## Training",
            "",
            f"`python benchmarks/fit.py` on a {machine()}, {rounds} rounds.",
            "",
            "The last two rows of a size are in bfloat16, and their ratios are to the hand-written loop.",
            "",
            "| U-Net of depth 4 | | ms a step | × bare | × bare, processor time |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes", nargs="*", type=int, default=list(range(len(SETTINGS))), help="from the smallest, 0")
    parser.add_argument("--write", action="store_true", help="keep the rows; those of other sizes stay")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data, kept = cases(), (RESULTS / "fit.md").read_text().splitlines() if options.write else []
    rows = {setting: [line for line in kept if line.startswith(f"| {setting.name} ")] for setting in SETTINGS}
    for setting in (SETTINGS[at] for at in options.sizes):
        rows[setting] = compare(setting, data, options.rounds)
        print(*rows[setting], sep="\n", flush=True)
        if options.write:
            keep("fit", written(options.rounds, [line for lines in rows.values() for line in lines]))


if __name__ == "__main__":
    main()
