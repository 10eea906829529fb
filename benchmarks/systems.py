"""Every system on one image: parameters, multiply-adds, and the time and memory of a training step.

    python benchmarks/systems.py [--write]

All have the same small width and one image per number of axes, twice in a batch: forward, backward and the optimiser.
Parameters and multiply-adds (of one forward pass of one image, at test time) are exact. Memory is the peak of three
steps minus what the process held before them, which includes the built network: feature maps, gradients, the
optimiser's state and the allocator's reserve. Each system has its own process, which has first run a step of another
network, so that libraries loaded at first use do not count. Only Linux can reset a process's peak.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from functools import partial
from pathlib import Path

import torch
from timing import keep, machine, table
from torch.utils.flop_counter import FlopCounterMode

from dsnotes.papers import build, systems

SIZES = {2: (64, 64), 3: (32, 32, 32)}


def image_for(backbone: torch.nn.Module) -> tuple[int, ...]:
    """The fixed size, or the next that the network can halve as often as it wants to."""
    wanted = (backbone.size,) * 2 if hasattr(backbone, "size") else SIZES[backbone.dims]
    return tuple(-(-n // s) * s for n, s in zip(wanted, backbone.stride, strict=True))


def held(line: str) -> float:
    """MB: "VmRSS", what this process holds, or "VmHWM", the most that it has held."""
    status = dict(row.split(":", 1) for row in Path("/proc/self/status").read_text().splitlines())
    return int(status[line].split()[0]) / 1024


def measure(name: str, width: int) -> dict:
    torch.manual_seed(0)
    with torch.device("meta"):
        shadow = build(name, width=width).network.eval()
    space = image_for(shadow.backbone)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow(torch.empty(1, 1, *space, device="meta"))
    system = build(name, width=width)
    label = torch.zeros(2, *space, dtype=torch.long)
    label[..., space[-2] // 4 : space[-2] // 2, space[-1] // 4 : space[-1] // 2] = 1
    batch = {"image": torch.randn(2, 1, *space), "label": label, "soft": label[:, None].float()}
    step = system.make_step(system, system.settings)
    first_use(len(space))
    Path("/proc/self/clear_refs").write_text("5")
    before, seconds = held("VmRSS"), []
    for _ in range(3):
        started = time.process_time()
        step(batch)
        seconds.append(time.process_time() - started)
    return {
        "space": " × ".join(map(str, space)),
        "parameters": sum(p.numel() for p in system.network.parameters()),
        "multiply-adds": counter.get_total_flops() // 2,
        "seconds": min(seconds[1:]),
        "megabytes": held("VmHWM") - before,
    }


def first_use(dims: int) -> None:
    """Of convolutions, norms, their gradients and the optimiser."""
    net = build("unet-2d", width=2, dims=dims)
    step = net.make_step(net, net.settings)
    step({"image": torch.randn(2, 1, *[32] * dims), "label": torch.ones(2, *[32] * dims, dtype=torch.long)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--system", action="append", help="this one alone, or several of them")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows, names = [], options.system or list(systems())
    one_each = multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1)
    for name, found in zip(names, one_each.imap(partial(measure, width=options.width), names), strict=True):
        rows.append([
            f"`{name}`", found["space"], f"{found['parameters']:,}", f"{found['multiply-adds'] / 1e6:,.1f}",
            f"{found['seconds'] * 1e3:,.0f}", f"{found['megabytes']:,.0f}",
        ])  # fmt: skip
        print(*rows[-1], flush=True)
    columns = ["system", "image", "parameters", "M multiply-adds", "ms a step", "MB a step"]
    text = "\n".join(
        [
            "## Systems",
            "",
            f"`python benchmarks/systems.py` on a {machine()}: width {options.width}, a batch of two, "
            f"processor time of the faster of two steps after one more.",
            "",
            table(columns, rows),
        ]
    )
    print(text)
    if options.write:
        keep("systems", text)


if __name__ == "__main__":
    main()
