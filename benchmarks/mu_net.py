"""What µ-Net's supervision costs: a training step of each system of Table 5 against the plain U-Net's.

    python benchmarks/mu_net.py [--passes] [--write]

All run the same batch through the same backbone: forward, backward and Adam. Beside our ratio are that of the forward
operations alone, as if only convolutions took time, and the paper's ratio of hours per epoch. Small
images and their masks are run as one batch, in which batch norm gives each its own statistics. `--passes` measures what
that saves against one pass after the other, in processor time of whole µ-Net-Hyb steps.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from statistics import median, quantiles
from unittest.mock import patch

import torch
from timing import keep, machine, ratio, table, take_turns
from torch.utils.flop_counter import FlopCounterMode

from dsnotes.papers import build, mu_net
from dsnotes.supervision import loss_terms, pseudo_labels
from dsnotes.supervision import two_passes as passes_module
from dsnotes.supervision.two_passes import learning_norms, statistics_not_kept, two_passes
from dsnotes.training.forward_pass import to_channels_last

SYSTEMS = ("unet-2d", "unet-deep", "unet-auto", "mu-net-seg", "mu-net-rec", "mu-net-hyb")
HOURS = {name: row[0] for name, row in mu_net.TABLES[5].rows.items()}  # an epoch of BraTS


PASSES = (((2, 32), None), ((2, 64), None), ((4, 128), None), ((4, 128), torch.bfloat16))


def one_after_the_other(network, image, mask):
    on_image = network(image)
    with statistics_not_kept(learning_norms(network)):
        return on_image, network(mask)


def passes(rounds: int) -> str:
    """What one batch of images and masks saves; both steps begin with the same weights and must agree in the loss."""
    rows = []
    for (n, side), amp in PASSES:
        label = (torch.rand(n, side, side) > 0.9).long()
        batch, ways = {"image": torch.rand(n, 1, side, side), "label": label}, {}
        times = max(256 // side, 2) // 2
        for name, function in {"one after the other": one_after_the_other, "one batch": two_passes}.items():
            torch.manual_seed(0)
            system = build("mu-net-hyb", width=16)
            to_channels_last(system.network, "auto", amp=amp)
            step = system.make_step(system, system.settings, amp=amp)

            def steps(step=step, batch=batch, function=function, times=times):
                with patch.object(pseudo_labels, "two_passes", function), patch.object(passes_module, "SMALL", 2**30):
                    return [step(batch)["loss"] for _ in range(times)]

            ways[name] = steps
        torch.testing.assert_close(*(way()[0] for way in ways.values()), rtol=0.01, atol=0)
        seconds = take_turns(ways, rounds, clock=time.process_time)
        before, now = seconds.values()
        low, middle, high = quantiles((a / b for a, b in zip(before, now, strict=True)), n=4)
        rows.append(
            [f"{n} × {side}²", "float32" if amp is None else "bfloat16"]
            + [f"{median(each) / times * 1e3:.0f}" for each in (before, now)]
            + [f"{middle:.2f} ({low:.2f}–{high:.2f})"]
        )
    told = f"`python benchmarks/mu_net.py --passes` on a {machine()}: µ-Net-Hyb, width 16, {rounds} rounds."
    head = ["batch", "", "one pass after the other, ms", "one batch, ms", "× steps a second (quartiles)"]
    rule = f"Batches of up to {passes_module.SMALL} voxels go as one."
    return "\n\n".join(["## µ-Net's image and mask as one batch", f"{told} {rule}", table(head, rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--norm", default="batch", choices=("batch", "instance"))
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--passes", action="store_true", help="image and mask as one batch, or one after the other")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.passes:
        print(text := passes(options.rounds))
        if options.write:
            keep("mu_net_passes", text)
        return
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
