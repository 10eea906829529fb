"""Sliding windows over a volume: time and memory against MONAI's sliding_window_inference, on the same network.

    python benchmarks/sliding_window.py [--write]

Half overlap, Gaussian weights, with and without mirroring over eight views; the results must agree to 1e-5. Time is
processor time of one core, so that other work on the machine matters little; the two alternate, and the ratio is the
median of the rounds' ratios. A network that costs nothing shows the stitching alone. Memory is the process's growth at
its peak, each run in its own process, for one volume cut into more and more windows.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import psutil
import torch

from dsnotes.inference import mirror, sliding_window
from dsnotes.networks.unet import UNet
from dsnotes.shapes import Image, Probs

SPACE, PATCH = (32, 64, 64), (16, 32, 32)
LARGE, SMALL_PATCH = (96, 256, 256), (32, 64, 64)
RESULTS = Path(__file__).parent / "results" / "sliding_window.md"
VIEWS = [view for n in range(4) for view in combinations((2, 3, 4), n)]


def network(classes: int):
    torch.manual_seed(0)
    net = UNet(dims=3, width=8, depth=3, classes=classes).eval()
    return lambda x: net(x).logits.softmax(1)


def monai(predictor, image: Image, *, patch: tuple[int, ...], overlap: float = 0.5, batch: int = 1) -> Probs:
    from monai.inferers import sliding_window_inference

    with torch.inference_mode():
        return sliding_window_inference(image, patch, batch, predictor, overlap=overlap, mode="gaussian")


def mirrored_for_monai(predictor):
    """As nnU-Net writes it: a running sum over the views."""

    def run(x):
        total = predictor(x)
        for view in VIEWS[1:]:
            total += predictor(x.flip(view)).flip(view)
        return total / len(VIEWS)

    return run


def compare_time(rounds: int) -> list[str]:
    net = network(3)
    answer = torch.zeros(1, 3, *PATCH)

    def nothing(x):
        return answer.clone()

    lines = []
    for title, predictor, space, mirrored, rounds_of in (
        ("plain", net, SPACE, False, rounds),
        ("eight views", net, (16, *SPACE[1:]), True, rounds),
        ("plain, a network that costs nothing", nothing, SPACE, False, 4 * rounds),
        ("eight views, a network that costs nothing", nothing, (16, *SPACE[1:]), True, 4 * rounds),
    ):
        image = torch.randn(1, 1, *space, generator=torch.Generator().manual_seed(1))
        own, peer = (mirror(predictor), mirrored_for_monai(predictor)) if mirrored else (predictor, predictor)
        a, b = sliding_window(own, image, patch=PATCH), monai(peer, image, patch=PATCH)
        difference = (a - b).abs().max().item()
        if difference > 1e-5:
            raise RuntimeError(f"the results differ by {difference}")
        ours, theirs = [], []
        for turn in range(rounds_of):
            # The second one finds warmer caches, so alternate the order too.
            for which in (ours, theirs) if turn % 2 else (theirs, ours):
                start = time.process_time()
                if which is ours:
                    sliding_window(own, image, patch=PATCH)
                else:
                    monai(peer, image, patch=PATCH)
                which.append(1e3 * (time.process_time() - start))
        ratio = statistics.median(x / y for x, y in zip(ours, theirs, strict=True))
        lines.append(
            f"| {title} | {'×'.join(map(str, space))} | {rounds_of} | {statistics.median(ours):.1f} "
            f"| {statistics.median(theirs):.1f} | {ratio:.3f} | {difference:.0e} |"
        )
    return lines


def grown_by(who: str, classes: int, overlap: float, batch: int) -> dict:
    """Run once in this process and watch its memory; the network is next to nothing so that stitching shows."""
    windows = 0
    channels = 1 if classes == 2 else classes

    def predictor(x):
        nonlocal windows
        windows += len(x)
        return x.sigmoid().expand(-1, channels, *x.shape[2:]).contiguous()

    def run(image):
        if who == "dsnotes":
            return sliding_window(predictor, image, patch=SMALL_PATCH, overlap=overlap, batch=batch)
        return monai(predictor, image, patch=SMALL_PATCH, overlap=overlap, batch=batch)

    run(torch.zeros(1, 1, *SMALL_PATCH))  # what is imported on the first call does not count
    windows = 0
    image = torch.randn(1, 1, *LARGE)
    process = psutil.Process()
    before = peak = process.memory_info().rss
    done = threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    result = run(image)
    done.set()
    watcher.join()
    peak = max(peak, process.memory_info().rss)
    return {"windows": windows, "grown": (peak - before) / 2**20, "result": result.numel() * 4 / 2**20}


def compare_memory() -> list[str]:
    lines = []
    for classes, overlap, batch in ((2, 0.25, 1), (2, 0.5, 1), (2, 0.75, 1), (3, 0.5, 1), (3, 0.5, 8)):
        measured = {}
        for who in ("dsnotes", "monai"):
            arguments = json.dumps([who, classes, overlap, batch])
            command = [sys.executable, __file__, "--measure", arguments]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            measured[who] = json.loads(answer.splitlines()[-1])
        own, peer = measured["dsnotes"], measured["monai"]
        lines.append(
            f"| {1 if classes == 2 else classes} | {own['windows']} | {batch} | {own['result']:.0f} "
            f"| {own['grown']:.0f} | {peer['grown']:.0f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--write", action="store_true", help=f"keep the table in {RESULTS.name}")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        print(json.dumps(grown_by(*json.loads(options.measure))))
        return
    lines = []
    for part in report(options.rounds):
        print(*part, sep="\n", flush=True)
        lines += part
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("\n".join(lines) + "\n")


def report(rounds: int) -> Iterator[list[str]]:
    window = "×".join(map(str, PATCH))
    yield [
        "## Sliding windows",
        "",
        f"`python benchmarks/sliding_window.py` on a {platform.machine()} CPU, one thread, "
        f"torch {torch.__version__}, MONAI {version('monai')}. A 3-D U-Net (width 8, three classes) in windows "
        f"of {window}, half overlap, Gaussian weights.",
        "",
        "| | voxels | rounds | dsnotes, CPU ms | MONAI, CPU ms | dsnotes / MONAI | largest difference |",
        "|---|---|---|---|---|---|---|",
    ]
    yield compare_time(rounds)
    yield [
        "",
        f"What a process grows by at its peak over {'×'.join(map(str, LARGE))} voxels in windows of "
        f"{'×'.join(map(str, SMALL_PATCH))}, with a predictor that needs no memory of its own; the result included.",
        "",
        "| channels | windows | at once | result, MiB | dsnotes, MiB | MONAI, MiB |",
        "|---|---|---|---|---|---|",
    ]
    yield compare_memory()


if __name__ == "__main__":
    main()
