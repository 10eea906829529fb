"""`dsnotes predict` of a whole CT: peak memory over the image, and time beside the network's own.

    python benchmarks/predict_scan.py --size 200 512 512 --spacing 2.5 0.8 0.8 [--write]

The network is small and has random weights, but for the background's bias: a twentieth of the voxels are foreground,
since a label that is noise everywhere takes seconds to compress, and an organ's does not. The scan is noise with the
grey values of CT, correlated over two voxels. `--to` resamples the scan and the prediction back.

The network's own time is that of bare passes over one window, `--passes` before the prediction and as many after, times
the number of windows; the rest is reading, preprocessing, cutting and stitching windows, resampling back and writing.
Time is the processor's, on one thread, so that other work on the machine weighs little.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    import SimpleITK as sitk
    import torch

    import dsnotes
    from dsnotes.data import open_case, save_label
    from dsnotes.data.preprocess import Preprocess
    from dsnotes.data.task import Task
    from dsnotes.inference.scan import predict_scan
    from dsnotes.inference.sliding_window import window_starts

    torch.manual_seed(0)
    torch.set_num_threads(1)
    system = dsnotes.build("unet-3d", classes=arguments.classes, width=arguments.width)
    steps = (Preprocess(spacing=tuple(arguments.to) if arguments.to else None),)
    steps += (Preprocess(clip=(-100.0, 300.0), normalise="window"),)
    names = {value: f"label {value}" for value in range(arguments.classes)}
    task = Task(names, preprocessing=steps, window={"patch": tuple(arguments.patch), "overlap": arguments.overlap})
    window = torch.rand(1, 1, *arguments.patch)
    to = arguments.to or arguments.spacing
    grid = [round(n * mm / new) for n, mm, new in zip(arguments.size, arguments.spacing, to, strict=True)]
    starts = (window_starts(n, p, arguments.overlap) for n, p in zip(grid, arguments.patch, strict=True))
    windows = math.prod(map(len, starts))

    def bare(passes: int) -> float:
        clock = time.process_time()
        with torch.no_grad():
            for _ in range(passes):
                system.probabilities(window)
        return time.process_time() - clock

    small = open_case(folder / "small.nii.gz")
    with torch.no_grad():
        logits = system.network.eval()(torch.from_numpy(steps[1](small).image)[None, None]).logits[0]
        ahead = logits[1:].amax(0) - logits[0]
        system.network.backbone.output.bias[0] += ahead.flatten().quantile(0.95)
    bare(1)  # what the network itself needs in memory is no part of the question
    predict_scan([(system, task)], small, progress=False)  # everything is imported now
    own = bare(arguments.passes)
    before = peak()
    clock = time.process_time()
    case = open_case(folder / "ct.nii.gz")
    label, _ = predict_scan([(system, task)], case, progress=False)
    save_label(folder / "label.nii.gz", label, case)
    total = time.process_time() - clock
    highest = peak()
    own = (own + bare(arguments.passes)) * windows / (2 * arguments.passes)
    image = case.image.nbytes / 2**30
    share = (label > 0).mean()
    row = {
        "voxels": "×".join(map(str, case.space)),
        "resampled to, mm": "×".join(map(str, arguments.to)) or "as it is",
        "width": arguments.width,
        "the image, GiB": f"{image:.2f}",
        "peak over the image, GiB": f"{highest - before - image:.2f}",
        "foreground": f"{share:.0%}",
        "CPU s": f"{total:.1f}",
        "windows": windows,
        "as many bare passes, CPU s": f"{own:.1f}",
        "times": f"{total / own:.3f}",
    }
    (folder / "row.json").write_text(json.dumps(row))
    assert sitk.ReadImage(str(folder / "label.nii.gz")).GetSize() == case.space[::-1]


def report(row: dict[str, object], arguments: argparse.Namespace) -> None:
    from timing import keep, machine, table

    text = "\n".join(
        [
            "## A whole CT",
            "",
            f"`dsnotes predict` of one scan on a {machine()}; the processor's time of one thread. A 3-D U-Net, "
            f"{arguments.classes} classes, windows of {'×'.join(map(str, arguments.patch))}, overlap "
            f"{arguments.overlap:g}; reading and writing .nii.gz included.",
            "",
            table(list(row), [list(row.values())]),
        ]
    )
    print(text)
    if arguments.write:
        keep("predict_scan", text)


def peak() -> float:
    """GiB that this process has had at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def write(path: Path, size: list[int], spacing: list[float]) -> None:
    import SimpleITK as sitk
    from scipy import ndimage

    rng = np.random.default_rng(0)
    grey = ndimage.gaussian_filter(rng.normal(size=size).astype("f4"), 1.0)
    grey *= 120 / grey.std()
    image = sitk.GetImageFromArray(np.clip(40 + grey, -1000, 1000).astype("int16"))
    image.SetSpacing(spacing[::-1])
    sitk.WriteImage(image, str(path))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=3, default=[200, 512, 512])
    parser.add_argument("--spacing", type=float, nargs=3, default=[2.5, 0.8, 0.8])
    parser.add_argument("--to", type=float, nargs=3, default=[], help="mm that the network wants (default: as it is)")
    parser.add_argument("--patch", type=int, nargs=3, default=[64, 128, 128])
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--passes", type=int, default=15, help="of the bare network, before and after")
    parser.add_argument("--write", action="store_true", help="keep the table in results/predict_scan.md")
    parser.add_argument("--within", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    given = parse()
    if given.within:
        measure(given, Path(given.within))
    else:
        with tempfile.TemporaryDirectory() as where:
            write(Path(where) / "ct.nii.gz", given.size, given.spacing)
            write(Path(where) / "small.nii.gz", given.patch, given.spacing)
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--within", where], check=True)
            report(json.loads((Path(where) / "row.json").read_text()), given)
