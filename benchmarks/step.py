"""Where a training step's time goes, operator by operator; and its speed against another commit in the same run.

    OMP_NUM_THREADS=1 python benchmarks/step.py [--against COMMIT] [--systems msds-unet …] [--write]

The five papers' systems at width 16 take bfloat16 steps as `fit` lays them out. The first table holds each kind of
operator's share of the processor time, measured around every operator that PyTorch dispatches, with its rate beside
that of a matrix product (GFLOP/s) or of a copy (GB/s) on the same thread. `--against` runs the same steps in a second
process on a worktree of that commit: both take turns, and the ratio is the median of the rounds' ratios of processor
time, which other programs on the machine hardly change.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import geometric_mean, median

import torch
from timing import keep, machine, ratio, table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from dsnotes.papers import build

SYSTEMS = {
    "msds-unet": (2, 1, 32, 48, 32),
    "dsmsc-unet": (4, 1, 128, 128),
    "mss-unet": (2, 1, 24, 64, 64),
    "mu-net-hyb": (4, 1, 128, 128),
    "dsnet": (4, 1, 64, 64),
}
ALSO = {"unet-2d": (8, 1, 128, 128), "unet-3d": (2, 1, 32, 48, 32), "msds-unet-gm": (2, 1, 32, 32, 32)}
KINDS = {  # a part of the operator's name -> the row it counts in; the first that fits
    "convolution_backward": "convolution, input gradient",
    "convolution": "convolution, forward",
    "norm_backward": "norm, backward",
    "norm": "norm, forward",
    "relu": "activation",
    "threshold": "activation",
    "cat": "concatenation",
    "fused": "optimiser",
    "foreach": "optimiser",
    "pool": "pooling and interpolation",
    "upsample": "pooling and interpolation",
    "copy": "copies and casts",
    "clone": "copies and casts",
}


class Clock(TorchDispatchMode):
    """Processor seconds, floating-point operations and bytes read or written, for every kind of operator."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds, self.flops, self.bytes = defaultdict(float), defaultdict(int), defaultdict(int)
        self.losses = False  # whether the terms are being computed

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        kind = next((kind for part, kind in KINDS.items() if part in name), "other")
        kind = "losses, forward" if self.losses else kind
        started = time.thread_time()
        out = func(*args, **(kwargs or {}))
        taken = time.thread_time() - started
        if name == "convolution_backward" and all(args[-1][:2]):
            taken -= self.weight_gradient(func, args)
            args = (*args[:-1], [True, False, False])
        elif name == "convolution_backward" and args[-1][1]:
            kind = "convolution, weight gradient"
        self.count(kind, max(taken, 1e-9), func, args, kwargs or {}, out)
        return out

    def count(self, kind: str, seconds: float, func, args, kwargs, out) -> None:
        self.seconds[kind] += seconds
        if func._overloadpacket in flop_registry:
            self.flops[kind] += flop_registry[func._overloadpacket](*args, **kwargs, out_val=out)
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
        self.bytes[kind] += sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def weight_gradient(self, func, args) -> float:
        """Time the weight gradient once more by itself; the rest of the operator is the input gradient."""
        mask = [False, True, args[-1][2]]
        started = time.thread_time()
        out = func(*args[:-1], mask)
        taken = time.thread_time() - started
        self.count("convolution, weight gradient", taken, func, (*args[:-1], mask), {}, out)
        return taken


def make_step(name: str, shape: tuple[int, ...]):
    """A step in bfloat16 and its batch, laid out as `fit` would."""
    torch.manual_seed(0)
    system = build(name, width=16)
    try:
        from dsnotes.training.forward_pass import to_channels_last

        to_channels_last(system.network, "auto", amp=torch.bfloat16)
    except ImportError:  # a commit from before that module held it
        from dsnotes.training.precision import to_channels_last

        to_channels_last(system.network, system.dims, "auto", amp=torch.bfloat16)
    label = (torch.rand(shape[0], *shape[2:]) > 0.9).long()
    batch = {"image": torch.rand(shape), "label": label, "soft": label[:, None].float()}
    return system.make_step(system, system.settings, amp=torch.bfloat16), batch


def profile(name: str, shape: tuple[int, ...], peak: float, memory: float, steps: int) -> list[list[str]]:
    """Rows: kind of operator, share of the step, GFLOP/s and its share of the peak, GB/s and its share."""
    step, batch = make_step(name, shape)
    clock, terms = Clock(), step.forward_pass.terms

    def timed(outputs, batch):
        clock.losses = True
        try:
            return terms(outputs, batch)
        finally:
            clock.losses = False

    step(batch), step(batch)
    started = time.thread_time()
    for _ in range(steps):
        step(batch)
    whole = (time.thread_time() - started) / steps
    step.forward_pass.terms = timed
    with clock:
        for _ in range(steps):
            step(batch)
    rows, first = [], f"`{name}`, {shape[0]} × {'×'.join(map(str, shape[2:]))}, {whole * 1e3:.0f} ms"
    everything = sum(clock.seconds.values())
    for kind, seconds in sorted(clock.seconds.items(), key=lambda pair: -pair[1]):
        flops, moved = clock.flops[kind] / seconds / 1e9, clock.bytes[kind] / seconds / 1e9
        work = f"{flops:.0f} ({flops / peak:.0%})" if kind.startswith("convolution") else ""
        rate = f"{moved:.1f} ({moved / memory:.0%})" if not work else ""
        rows.append([first, kind, f"{seconds / everything:.1%}", work, rate])
        first = ""
    total = sum(clock.flops.values()) / steps / whole / 1e9
    return [*rows, ["", "**the whole step**", "", f"{total:.0f} ({total / peak:.0%})", ""]]


def peaks() -> tuple[float, float]:
    """GFLOP/s of a bfloat16 matrix product and GB/s of a copy that leaves the caches."""
    a = torch.randn(1024, 1024).bfloat16()
    big, other = torch.zeros(2**26), torch.zeros(2**26)
    best = {"matmul": 0.0, "copy": 0.0}
    for _ in range(8):
        started = time.thread_time()
        a @ a
        best["matmul"] = max(best["matmul"], 2 * 1024**3 / (time.thread_time() - started) / 1e9)
        started = time.thread_time()
        other.copy_(big)
        best["copy"] = max(best["copy"], 2 * big.numel() * 4 / (time.thread_time() - started) / 1e9)
    return best["matmul"], best["copy"]


def worker() -> None:
    """Read "name steps" lines, take the steps, print the processor seconds of one."""
    made = {}
    for line in sys.stdin:
        name, steps = line.split()
        if name not in made:
            made.clear()  # one system in memory at a time
            made[name] = make_step(name, (SYSTEMS | ALSO)[name])
            made[name][0](made[name][1])
        step, batch = made[name]
        started = time.process_time()
        for _ in range(int(steps)):
            step(batch)
        print((time.process_time() - started) / int(steps), flush=True)


def against(commit: str, names: list[str], rounds: int) -> list[list[str]]:
    """Rows: milliseconds of processor time a step at the commit and here, and how many times more steps a second."""
    root = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "-C", root, "worktree", "add", "--detach", folder + "/tree", commit], check=True)
        try:
            trees = {"before": Path(folder) / "tree", "now": root}
            told = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            workers = {
                which: subprocess.Popen(
                    [sys.executable, __file__, "--worker"], env={**os.environ, "PYTHONPATH": str(tree)}, **told
                )
                for which, tree in trees.items()
            }
            rows = []
            for name in names:
                taken = {"before": [], "now": []}
                for turn in range(rounds + 1):
                    for which in list(workers)[:: 1 if turn % 2 else -1]:
                        print(name, 2, file=workers[which].stdin, flush=True)
                        taken[which].append(float(workers[which].stdout.readline()))
                before, now = taken["before"][1:], taken["now"][1:]
                rows.append(
                    [f"`{name}`", f"{median(before) * 1e3:.0f}", f"{median(now) * 1e3:.0f}", ratio(before, now)]
                )
                print(rows[-1], flush=True)
            for each in workers.values():
                each.stdin.close()
                each.wait()
        finally:
            subprocess.run(["git", "-C", root, "worktree", "remove", "--force", folder + "/tree"], check=True)
    mean = geometric_mean(row[-1] for row in rows if row[0].strip("`") in SYSTEMS)
    rows = [[*row[:-1], f"{row[-1]:.2f}"] for row in rows]
    return [*rows, ["**geometric mean of the papers' systems**", "", "", f"**{mean:.2f}**"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", metavar="COMMIT", help="compare with this commit")
    parser.add_argument("--systems", nargs="*", default=list(SYSTEMS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3, help="steps under the profiler")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.worker:
        worker()
        return
    lines = [f"`python benchmarks/step.py` on a {machine()}: width 16, bfloat16.", ""]
    if options.against:
        rows = against(options.against, options.systems, options.rounds)
        head = ["system", f"{options.against[:9]}, ms a step", "now, ms", "× steps a second"]
        lines += ["### Against the commit before", "", table(head, rows), ""]
    peak, memory = peaks()
    rows = [
        row for name in options.systems for row in profile(name, (SYSTEMS | ALSO)[name], peak, memory, options.steps)
    ]
    head = ["system", "operators", "share of the time", "GFLOP/s (of the product's)", "GB/s (of the copy's)"]
    told = f"A bfloat16 product of 1024² matrices runs at {peak:.0f} GFLOP/s here, a copy at {memory:.1f} GB/s."
    lines += ["### By operator", "", told, "", table(head, rows)]
    text = "\n".join(["## A training step", "", *lines])
    print(text)
    if options.write:
        keep("step", text)


if __name__ == "__main__":
    main()
