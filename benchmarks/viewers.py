"""The time to open a large volume: the still picture, and the data sent to the browser for the 3-D viewer.

python benchmarks/viewers.py [--write]
"""

from __future__ import annotations

import argparse
import itertools
import time

import numpy as np
from timing import keep, machine, table

from dsnotes.data.case import Case
from dsnotes.viewers.scene import compose
from dsnotes.viewers.view import still
from dsnotes.viewers.volume import Canvas

SIZES = (64, 128, 256, 384)


def blobs(size: int) -> Case:
    """Two organs and their lesions in noise, as large as the volume asks."""
    z, y, x = np.ogrid[:size, :size, :size]
    label = np.zeros((size,) * 3, np.uint8)
    for value, radius in ((1, 0.18), (2, 0.07)):
        for centre in (0.33, 0.67):
            near = (z - size / 2) ** 2 + (y - size / 2) ** 2 + (x - centre * size) ** 2
            label[near < (radius * size) ** 2] = value
    image = np.random.default_rng(0).normal(40, 20, label.shape).astype(np.float32).round() + 60 * label
    return Case(f"{size}³", image, label, (1.0, 1.0, 1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep the table as results/viewers.md")
    options = parser.parse_args()
    still(compose(blobs(32)))  # imports and fonts
    rows = []
    for size in SIZES:
        case = blobs(size)
        clock = [time.process_time()]
        scene = compose(case, prediction=np.roll(case.label, 3, 2))
        clock.append(time.process_time())
        still(scene)
        clock.append(time.process_time())
        canvas = Canvas(scene, at=(size // 2,) * 3)
        clock.append(time.process_time())
        sent = sum(len(layer.data) for layer in canvas.widget.volumes) / 2**20
        rows.append(
            [
                f"{size}³",
                *(f"{b - a:.2f}" for a, b in itertools.pairwise(clock)),
                f"{sent:.0f}",
                f"{canvas.every}",
            ]
        )
        canvas.widget.close()
    columns = ["volume, two labels, a prediction", "checked, s", "still, s", "canvas, s", "sent, MiB", "every … voxel"]
    text = "\n".join(
        [
            "## Opening a volume",
            "",
            f"`python benchmarks/viewers.py` on a {machine()}; processor seconds. Full resolution is sent on request.",
            "",
            table(columns, rows),
        ]
    )
    print(text)
    if options.write:
        keep("viewers", text)


if __name__ == "__main__":
    main()
