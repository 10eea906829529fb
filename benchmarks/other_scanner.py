"""Networks trained with and without augmentation on simulated abdomens of one scanner, scored on scans of others.

    python benchmarks/other_scanner.py [--steps 400] [--seeds 0 1 2] [--write]

The other scanners see the same test patients through a bias field, as of an MR surface coil, that falls linearly from
1 + f to 1 - f across the image, f = 0, .2, .4, .6. Training sees none; the default augmentation changes brightness,
contrast and gamma of whole patches, never as a function of position.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import torch
from timing import keep, machine, table

import dsnotes
from dsnotes.data import phantoms
from dsnotes.data.preprocess import Preprocess
from dsnotes.metrics import dice

FALLS, SIZE, WINDOW = (0.0, 0.2, 0.4, 0.6), (16, 64, 64), (-150, 250)
ROWS = {"no augmentation": False, "augment=True": True}


def scanned(case: dsnotes.Case, fall: float) -> dsnotes.Case:
    """The case with grey values in arbitrary units, as of an MR scanner whose signal falls off by `fall`."""
    low, high = WINDOW
    field = np.linspace(1 + fall, 1 - fall, case.space[-1])
    image = np.clip((case.image - low) / (high - low), 0, 1) * field
    return Preprocess(normalise="image")(replace(case, image=image.astype(np.float32)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--write", action="store_true", help="keep the table as results/other_scanner.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train = [scanned(case, 0) for case in phantoms.abdomen(30, seed=1, size=SIZE)]
    test = {fall: [scanned(case, fall) for case in phantoms.abdomen(8, seed=2, size=SIZE)] for fall in FALLS}
    rows, started = [], time.process_time()
    for row, augment in ROWS.items():
        found = []
        for seed in options.seeds:
            torch.manual_seed(seed)
            system = dsnotes.build("unet-2d", width=8)
            how = {"epochs": 8, "iterations": options.steps // 8, "patch": SIZE[1:], "batch": 8, "lr": 3e-3}
            dsnotes.fit(system, train, **how, schedule="poly", augment=augment, seed=seed, progress=False)
            predicted = {fall: [dsnotes.to_label(dsnotes.predict(system, c)) for c in test[fall]] for fall in FALLS}
            found.append(
                [np.mean([dice(p, c.label) for p, c in zip(predicted[f], test[f], strict=True)]) for f in FALLS]
            )
            print(row, seed, np.round(found[-1], 3), flush=True)
        rows.append([row, *(f"{np.mean(v):.3f} ({' '.join(f'{x:.3f}' for x in v)})" for v in np.transpose(found))])
    text = "\n".join(
        [
            "## other_scanner",
            "",
            f"`python benchmarks/other_scanner.py`: U-Net of width 8, 30 abdomens of {'×'.join(map(str, SIZE))} to "
            f"train, {options.steps} steps of 8 slices, 8 other patients to test; on a {machine()}, "
            f"{time.process_time() - started:.0f} processor seconds. Dice, mean over seeds, then each seed "
            f"({' '.join(map(str, options.seeds))}), by the fall-off of the test scanner's signal.",
            "",
            table(["trained with", *(f"{fall:.0%}" for fall in FALLS)], rows),
        ]
    )
    print(text)
    if options.write:
        keep("other_scanner", text)


if __name__ == "__main__":
    main()
