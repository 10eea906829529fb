"""Transposed convolutions with kernel = stride in bfloat16: gradients as matrix products against PyTorch's own.

    python benchmarks/up_conv.py [--write]

The layers are those of a U-Net of width 16, channels last, on one thread; forward is PyTorch's in both. The two take
turns, and the ratio is the median of the rounds' ratios of processor time.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from statistics import median

import torch
from timing import keep, machine, ratio, table, take_turns
from torch import Tensor, nn

from dsnotes.networks.blocks import UP_CONV
from dsnotes.training.forward_pass import MEMORY_FORMAT, set_memory_format

PLAIN = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
LAYERS = (  # input, channels of the output, stride
    ((4, 32, 64, 64), 16, (2, 2)),
    ((4, 128, 16, 16), 64, (2, 2)),
    ((2, 32, 16, 24, 16), 16, (2, 2, 2)),
    ((2, 64, 8, 12, 8), 32, (2, 2, 2)),
    ((2, 256, 2, 3, 2), 128, (2, 2, 2)),
    ((2, 32, 24, 32, 32), 16, (1, 2, 2)),
)


def backward(module: nn.Module, x: Tensor) -> object:
    """A function that runs the backward pass; it can be called again and again."""
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x)
    gradient = torch.randn_like(y)
    return partial(torch.autograd.grad, y, [x, *module.parameters()], gradient, retain_graph=True)


def row(shape: tuple[int, ...], out: int, stride: tuple[int, ...], rounds: int) -> list[object]:
    dims = len(stride)
    x = torch.randn(shape).contiguous(memory_format=MEMORY_FORMAT[len(shape)]).requires_grad_()
    ways = {}
    for name, kinds in {"PyTorch": PLAIN, "ours": UP_CONV}.items():
        module = kinds[dims](shape[1], out, stride, stride=stride)
        set_memory_format(module, channels_last=True)
        ways[name] = backward(module, x)
    taken = take_turns(ways, rounds, clock=time.process_time)
    ms = [f"{median(taken[name]) * 1e3:.2f}" for name in ways]
    return ["×".join(map(str, shape)), out, "×".join(map(str, stride)), *ms, f"{ratio(*taken.values()):.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    columns = ["input", "channels out", "stride", "PyTorch, ms backward", "ours, ms", "times faster"]
    rows = [row(*layer, options.rounds) for layer in LAYERS]
    text = "\n".join(
        ["## Up-convolutions", "", f"`python benchmarks/up_conv.py` on a {machine()}.", "", table(columns, rows)]
    )
    print(text)
    if options.write:
        keep("up_conv", text)


if __name__ == "__main__":
    main()
