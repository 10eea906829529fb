"""The cost of DSNet's frozen teacher, computed in every step or cached across epochs.

    python benchmarks/teacher.py [--write]

Both do the same steps on the same images; the cached images have been seen once before, as in every epoch but the
first. The teacher's outputs are compared bit for bit. On a CPU the seconds are processor time, so that other load on
the machine matters less; beside them are the operations of a step, which do not depend on the machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from timing import keep, machine, ratio, table, take_turns
from torch.utils.flop_counter import FlopCounterMode

from dsnotes.networks.teacher import OutputCache, Teacher
from dsnotes.papers import build, dsnet
from dsnotes.training.step import Step

WIDTHS = (8, 16)
BLOCKS = 16
SIZE = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="64 is the paper's: for a GPU")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = []
    for width in options.widths:
        torch.manual_seed(0)
        batches = [
            {
                "image": torch.randn(1, 1, SIZE, SIZE, device=device),
                "label": (torch.rand(1, SIZE, SIZE, device=device) > 0.9).long(),
                "soft": torch.rand(1, 1, SIZE, SIZE, device=device),
            }
            for _ in range(2)
        ]
        ways = {}
        for name, memory in (("computed", 0), ("remembered", 2**30)):
            torch.manual_seed(0)
            teacher = dsnet.super_resolution(width=width, blocks=BLOCKS)
            system = build("dsnet", width=width, teacher=teacher, memory=memory)
            system.network.to(device)
            ways[name] = partial(epoch, system.make_step(system, system.settings), batches)
        clock = time.perf_counter if device.type == "cuda" else time.process_time
        seconds = take_turns(ways, options.rounds, clock=clock)
        refuse_difference(system.network.backbone.teacher, batches[0]["image"])
        each = [median(seconds[name]) * 1e3 / len(batches) for name in ways]
        counted = [operations(way) / len(batches) / 1e9 for way in ways.values()]
        rows.append(
            [
                width,
                *(f"{ms:.0f}" for ms in each),
                f"{ratio(seconds['computed'], seconds['remembered']):.2f}",
                f"{counted[0]:.1f} and {counted[1]:.1f}",
                f"{counted[0] / counted[1]:.2f}",
            ]
        )
    text = "\n".join(
        [
            "## DSNet's teacher",
            "",
            f"`python benchmarks/teacher.py` on a {machine()}, {options.rounds} rounds. A training step on one crop of "
            f"{SIZE}², {4 * SIZE}² inside, the critic's move included; a teacher of {BLOCKS} blocks.",
            "",
            table(
                ["width", "teacher computed, ms", "remembered, ms", "times as long", "10⁹ operations", "times as many"],
                rows,
            ),
        ]
    )
    print(text)
    if options.write:
        keep("teacher", text)


def operations(way: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        way()
    return counter.get_total_flops()


def epoch(step: Step, batches: list[dict]) -> None:
    for batch in batches:
        loss = step(batch)["loss"]
    loss.item()  # a GPU is waited for


def refuse_difference(teacher: Teacher, image: torch.Tensor) -> None:
    computed = teacher(image)
    teacher.cache = OutputCache()
    teacher(image)
    remembered = teacher(image)
    teacher.cache = None
    if not torch.equal(computed, remembered):
        raise SystemExit("the cached output differs from the computed one")


if __name__ == "__main__":
    main()
