"""What the rules of `dsnotes/training/forward_pass.py` rest on: a step in float32, in bfloat16, and channels-last.

    OMP_NUM_THREADS=1 python benchmarks/precision.py [--write]

The systems take turns within one run, on one batch each, at a small and a larger size: forward, backward and Adam.
`rule` is what `fit` would choose by itself; `×` is float32's time divided by that of the way in the column's head.
"""

from __future__ import annotations

import argparse
from functools import partial
from statistics import median

import torch
from timing import keep, machine, ratio, table, take_turns

from dsnotes.papers import build
from dsnotes.training import forward_pass

SYSTEMS = {  # a small batch, and a larger one
    "unet-2d": ((2, 1, 32, 32), (8, 1, 128, 128)),
    "mu-net-hyb": ((2, 1, 32, 32), (4, 1, 128, 128)),
    "unet-3d": ((1, 1, 16, 32, 16), (2, 1, 32, 48, 32)),
    "msds-unet": ((1, 1, 16, 32, 16), (2, 1, 32, 32, 32)),
    "mss-unet": ((1, 1, 16, 64, 32), (2, 1, 40, 64, 64)),
}


def ways(name: str, shape: tuple[int, ...]) -> dict[str, partial]:
    """One step of the system in each way, from the same weights on the same batch."""
    batch = {"image": torch.randn(shape), "label": (torch.rand(shape[0], *shape[2:]) > 0.9).long()}
    found = {}
    for way, dtype, last in (
        ("float32", None, False),
        ("float32, channels-last", None, True),
        ("bfloat16", torch.bfloat16, False),
        ("bfloat16, channels-last", torch.bfloat16, True),
    ):
        torch.manual_seed(0)
        system = build(name, width=16)
        forward_pass.to_channels_last(system.network, last, amp=dtype)
        found[way] = partial(system.make_step(system, system.settings, amp=dtype), batch)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    columns, rows = [], []
    for name, shapes in SYSTEMS.items():
        for shape in shapes:
            seconds = take_turns(ways(name, shape), options.rounds)
            columns = list(seconds)[1:]
            network = build(name, width=16).network
            work = forward_pass.flops(network, shape)
            dtype, _ = forward_pass.choose_dtype("auto", network, device=torch.device("cpu"), shape=shape)
            rows.append(
                [
                    f"`{name}`",
                    f"{shape[0]} × {'×'.join(map(str, shape[2:]))}",
                    f"{work / 1e9:.1f}",
                    f"{median(seconds['float32']) * 1e3:.0f}",
                    *(f"{ratio(seconds['float32'], seconds[way]):.2f}" for way in columns),
                    "float32" if dtype is None else "bfloat16, channels-last",
                ]
            )
    text = "\n".join(
        [
            "## Precision and memory format",
            "",
            f"`python benchmarks/precision.py` on a {machine()}: width 16, {options.rounds} rounds.",
            "",
            table(["system", "batch", "GFLOP forward", "float32, ms", *(f"× {way}" for way in columns), "rule"], rows),
        ]
    )
    print(text)
    if options.write:
        keep("precision", text)


if __name__ == "__main__":
    main()
