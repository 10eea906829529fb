"""What µ-Net's supervision costs: a training step of each system of Table 5 against the plain U-Net's.

    python benchmarks/mu_net.py [--write]

All run the same batch through the same backbone: forward, backward and Adam. Beside our ratio are that of the forward
operations alone, as if only convolutions took time, and the paper's ratio of hours per epoch. With batch norm, image
and mask are run separately, because each has its own statistics; with `--norm instance` both are run as one batch.
"""

from __future__ import annotations

import argparse
from functools import partial
from statistics import median

import torch
from timing import keep, machine, ratio, table, take_turns
from torch.utils.flop_counter import FlopCounterMode

from dsnotes.papers import build, mu_net
from dsnotes.supervision import loss_terms

SYSTEMS = ("unet-2d", "unet-deep", "unet-auto", "mu-net-seg", "mu-net-rec", "mu-net-hyb")
HOURS = {name: row[0] for name, row in mu_net.TABLES[5].rows.items()}  # an epoch of BraTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--norm", default="batch", choices=("batch", "instance"))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    space = (options.batch, options.size, options.size)
    batch = {"image": torch.randn(options.batch, 1, *space[1:]), "label": (torch.rand(space) > 0.9).long()}
    ways, work = {}, {}
    for name in SYSTEMS:
        torch.manual_seed(0)
        system = build(name, width=options.width, norm=options.norm)
        ways[name] = partial(system.make_step(system, system.settings), batch)
        with FlopCounterMode(display=False) as counter:
            loss_terms(system.objective, system.network, batch)
        work[name] = counter.get_total_flops()
    seconds = take_turns(ways, options.rounds)
    plain = SYSTEMS[0]
    rows = [
        [
            f"`{name}`",
            f"{median(seconds[name]) * 1e3:.0f}",
            f"{ratio(seconds[name], seconds[plain]):.2f}",
            f"{work[name] / work[plain]:.2f}",
            f"{HOURS[name] / HOURS[plain]:.2f}",
        ]
        for name in SYSTEMS
    ]
    text = "\n".join(
        [
            "## µ-Net",
            "",
            f"`python benchmarks/mu_net.py` on a {machine()}: 2-D, width {options.width}, {options.norm} norm, "
            f"{options.batch} × {options.size}², {options.rounds} rounds.",
            "",
            table(["step", "ms", "×", "× in forward convolutions", "× in print (BraTS)"], rows),
        ]
    )
    print(text)
    if options.write:
        keep("mu_net", text)


if __name__ == "__main__":
    main()
