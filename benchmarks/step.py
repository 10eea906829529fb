"""Where a training step's time goes, operator by operator; and its speed against another commit in the same run.

    OMP_NUM_THREADS=1 python benchmarks/step.py [--against COMMIT] [--systems msds-unet …] [--write]

The five papers' systems at width 16 take bfloat16 steps as `fit` lays them out. A table holds each kind of operator's
share of the processor time, measured around every operator that PyTorch dispatches, with its rate beside that of a
matrix product (GFLOP/s) or of a copy (GB/s) on the same thread. `--against` runs the same steps in a second process on
that commit's sources instead: both take turns, and the ratio is the median of the rounds' ratios of processor time,
which other programs on the machine hardly change. `--write` keeps every round in results/step.json: a call
stopped half-way goes on where it was, and systems can be measured one by one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from statistics import geometric_mean, median, quantiles

import torch
from step_against import ALSO, SYSTEMS, against, make_step, memory_as_in_fit
from timing import RESULTS, keep, machine, ratio, table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

KEPT = RESULTS / "step.json"
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


def relative(name: str, rounds: list[tuple[float, float]]) -> list[str]:
    """A row: milliseconds of processor time a step before and now, and the rounds' median ratio with its quartiles."""
    before, now = (f"{median(seconds) * 1e3:.0f}" for seconds in zip(*rounds, strict=True))
    low, middle, high = quantiles((b / n for b, n in rounds), n=4)
    return [f"`{name}`", before, now, f"{middle:.2f} ({low:.2f}–{high:.2f}, {len(rounds)})"]


def written(kept: dict) -> str:
    """The page: systems in the papers' order, however many calls it took to measure them."""
    told = (
        f"`python benchmarks/step.py` on a {machine()}: bfloat16, width 16 unless a name ends in @ and another width."
    )
    lines = [told, ""]
    known = [name for name in SYSTEMS | ALSO if len(kept["against"].get(name, ())) > 1]
    if known:
        rows = [relative(name, kept["against"][name]) for name in known]
        if set(known) >= set(SYSTEMS):
            mean = geometric_mean(ratio(*zip(*kept["against"][name], strict=True)) for name in SYSTEMS)
            rows.append(["**the five papers' systems, geometric mean**", "", "", f"**{mean:.2f}**"])
        head = ["system", f"{kept['commit']}, ms a step", "now, ms", "× steps a second (quartiles, rounds)"]
        lines += ["### Against the commit before", "", table(head, rows), ""]
    known = [name for name in SYSTEMS | ALSO if name in kept["operators"]]
    if known:
        peaks = [kept["operators"][name]["peaks"] for name in known]
        products, copies = (f"{min(each):.0f}–{max(each):.0f}" for each in zip(*peaks, strict=True))
        told = f"A bfloat16 product of 1024² matrices runs at {products} GFLOP/s here, a copy at {copies} GB/s."
        head = ["system", "operators", "share of the time", "GFLOP/s (of the product's)", "GB/s (of the copy's)"]
        rows = [row for name in known for row in kept["operators"][name]["rows"]]
        lines += ["### By operator", "", told, "", table(head, rows)]
    return "\n".join(["## A training step", "", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", metavar="COMMIT", help="compare with this commit instead of profiling")
    parser.add_argument("--systems", nargs="*", default=list(SYSTEMS), choices=list(SYSTEMS | ALSO))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=3, help="steps under the profiler")
    parser.add_argument("--write", action="store_true", help="keep what is measured, and go on from what is kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = {"commit": options.against, "against": {}, "operators": {}}
    if options.write and KEPT.exists():
        stored = json.loads(KEPT.read_text())
        kept |= stored if options.against in (None, stored["commit"]) else {"operators": stored["operators"]}

    def tell() -> None:
        print(written(kept), flush=True)
        if options.write:
            KEPT.write_text(json.dumps(kept, indent=1) + "\n")
            keep("step", written(kept))

    for name in options.systems:
        if options.against:
            rounds = kept["against"].setdefault(name, [])
            for seconds in against(options.against, name, options.rounds - len(rounds)):
                rounds.append(seconds)
                tell()
        else:
            best = peaks()
            with memory_as_in_fit():
                rows = profile(name, (SYSTEMS | ALSO)[name], *best, options.steps)
            kept["operators"][name] = {"peaks": best, "rows": rows}
            tell()


if __name__ == "__main__":
    main()
