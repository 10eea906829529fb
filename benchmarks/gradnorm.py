"""What GradNorm costs: a step of MSDS-UNet-GM against the same step with fixed weights.

    python benchmarks/gradnorm.py [--write]

Both do the same forward and backward pass; GradNorm adds one backward pass per side, from its loss to the shared layer.
"""

from __future__ import annotations

import argparse
from functools import partial
from statistics import median

import torch
from timing import keep, machine, ratio, table, take_turns

from dsnotes.papers import build

SETTINGS = (("2-D, width 16, 4 × 128²", 2, 16, (4, 128, 128)), ("3-D, width 8, 1 × 48³", 3, 8, (1, 48, 48, 48)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows = []
    for title, dims, width, (n, *space) in SETTINGS:
        batch = {"image": torch.randn(n, 1, *space), "label": (torch.rand(n, *space) > 0.9).long()}
        ways = {}
        for name in ("msds-unet", "msds-unet-gm"):
            torch.manual_seed(0)
            system = build(name, width=width, dims=dims)
            step = system.make_step(system, system.settings)
            ways[name] = partial(step, batch)
        seconds = take_turns(ways, options.rounds)
        plain, balanced = (median(seconds[name]) * 1e3 for name in ways)
        rows.append(
            [title, f"{plain:.0f}", f"{balanced:.0f}", f"{ratio(seconds['msds-unet-gm'], seconds['msds-unet']):.2f}"]
        )
    text = "\n".join(
        [
            "## GradNorm",
            "",
            f"`python benchmarks/gradnorm.py` on a {machine()}, {options.rounds} rounds.",
            "",
            table(["step", "fixed weights, ms", "GradNorm, ms", "×"], rows),
        ]
    )
    print(text)
    if options.write:
        keep("gradnorm", text)


if __name__ == "__main__":
    main()
