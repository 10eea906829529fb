"""One U-Net trained on binary, smoothed, blurred, averaged and matted labels of nodule phantoms: is it calibrated?

    python benchmarks/soft_targets.py --work WORK [--steps 600] [--only "matted, CE" …] [--norm batch] [--write]

Every network sees the same images in the same order; only the target or the loss differs. The mask is the consensus of
four simulated readers; `smoothed`, `blurred` and `matted` are made from it, `averaged` is the share of readers, and
`matted, readers` is the paper's second way, from their disagreement. Scores are of held-out nodules, in the band
within 2.1 mm of the true border: against the share `seen` that the image shows, and against the readers' mean.
Predictions are saved in WORK, and the same command resumes from there.

The networks have instance norm. With `--norm batch` seed 2 separates nodules well, but no probability reaches .5: all
weights of its head are negative and features after a ReLU are not, so none can pass that of the bias, which learns
slowly.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from timing import keep, machine, table

import dsnotes
from dsnotes.data import phantoms
from dsnotes.data.preprocess import hu_window
from dsnotes.inference import fit_temperature
from dsnotes.losses import cross_entropy, jaccard_metric, soft_dice
from dsnotes.metrics import (
    boundary_band,
    consensus,
    crps,
    dice,
    energy_distance,
    expected_calibration_error,
    expected_volume,
    log_score,
    share_error,
    threshold_masks,
    volume_bias,
    volume_samples,
)
from dsnotes.networks.unet import UNet
from dsnotes.softmask import averaged_labels, blurred_labels, hard_labels, smoothed_labels, softened
from dsnotes.supervision import Plain, SoftTargets

PARTS = {"train": (96, 1), "validation": (16, 2), "test": (64, 3)}  # nodules and seed of each
SIZE, BATCH = 48, 8
BAND = 2.1  # mm on each side of the true border: three pixels


def entropy_and_dice(logits, t):
    return cross_entropy(logits, t) + soft_dice(logits.sigmoid(), t, over_batch=True)


def entropy_and_jaccard(logits, t):
    return cross_entropy(logits, t) + jaccard_metric(logits.sigmoid(), t, over_batch=True)


TARGETS = {
    "binary": hard_labels,
    "smoothed": smoothed_labels,
    "blurred": blurred_labels,
    "averaged": averaged_labels,
    "matted": lambda cases: softened(cases, annotators=False),
    "matted, readers": softened,
}
FIRST = ("binary", "matted", "averaged", "blurred")
ROWS = {f"{target}, CE": (target, SoftTargets(loss=cross_entropy)) for target in FIRST}
ROWS |= {
    "binary, Dice": ("binary", Plain(cross_entropy=0.0, squared=False)),
    "matted, readers, CE": ("matted, readers", SoftTargets(loss=cross_entropy)),
    "smoothed, CE": ("smoothed", SoftTargets(loss=cross_entropy)),
    "matted, CE + Dice": ("matted", SoftTargets(loss=entropy_and_dice)),
    "matted, CE + Jaccard metric": ("matted", SoftTargets(loss=entropy_and_jaccard)),
}


def nodules(n: int, seed: int) -> list[dsnotes.Case]:
    """Cases whose label is the readers' consensus; the true label is in extras["truth"]."""
    window = hu_window(-1000, 400)
    cases = [window(case) for case in phantoms.nodules(n, seed=seed, size=SIZE)]
    return [replace(c, label=consensus(c.extras["readers"]), extras={**c.extras, "truth": c.label}) for c in cases]


def train(row: str, seed: int, steps: int, norm: str, parts: dict, file: Path) -> dict[str, np.ndarray]:
    """Probabilities of the validation and test cases, and processor seconds."""
    if file.is_file():
        with np.load(file) as kept:
            return dict(kept)
    target, objective = ROWS[row]
    torch.manual_seed(seed)
    system = dsnotes.system(row, UNet(width=8, depth=4, norm=norm), objective, lr=3e-3, schedule="poly", epochs=10)
    started = time.process_time()
    cases = TARGETS[target](parts["train"])
    how = {"patch": (SIZE, SIZE), "batch": BATCH, "iterations": steps // 10, "amp": False}
    dsnotes.fit(system, cases, seed=seed, progress=False, **how)
    found = {"seconds": np.array(time.process_time() - started)}
    for part in ("validation", "test"):
        found[part] = np.stack([dsnotes.predict(system, case) for case in parts[part]])
    np.savez_compressed(file, **found)
    print(row, seed, f"{found['seconds']:.0f} s", flush=True)
    return found


def scores(found: dict[str, np.ndarray], parts: dict) -> dict[str, float]:
    test, validation = parts["test"], parts["validation"]
    p, seen = list(found["test"]), [c.extras["seen"] for c in test]
    read = [c.extras["readers"].mean(0) for c in test]
    near = {"where": [boundary_band(c.extras["truth"], spacing=c.spacing, width=BAND) for c in test]}
    scaling = fit_temperature(list(found["validation"]), [c.label for c in validation])
    scaled = [scaling(x) for x in p]
    areas = [expected_volume(x, spacing=c.spacing) for x, c in zip(p, test, strict=True)]
    true = [expected_volume(x, spacing=c.spacing) for x, c in zip(seen, test, strict=True)]
    drawn = [[expected_volume(m, spacing=c.spacing) for m in c.extras["readers"]] for c in test]
    samples = [volume_samples(x, spacing=c.spacing) for x, c in zip(p, test, strict=True)]
    return {
        "Dice": float(np.mean([dice(x[0] >= 0.5, c.extras["truth"]) for x, c in zip(p, test, strict=True)])),
        "highest p": float(np.mean([x.max() for x in p])),
        "share error": share_error(p, seen, **near),
        "ECE, share": expected_calibration_error(p, seen, **near),
        "ECE, share, scaled": expected_calibration_error(scaled, seen, **near),
        "ECE, readers": expected_calibration_error(p, read, **near),
        "ECE, readers, scaled": expected_calibration_error(scaled, read, **near),
        "log score, readers": log_score(p, read, **near),
        "area bias": volume_bias(areas, true, relative=True).mean,
        "GED, readers": float(
            np.mean([energy_distance(threshold_masks(x[0]), c.extras["readers"]) for x, c in zip(p, test, strict=True)])
        ),
        "CRPS of area, mm²": float(np.mean([crps(x, d) for x, d in zip(samples, drawn, strict=True)])),
        "temperature": scaling.temperature,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for predictions of finished runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--only", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--norm", choices=("instance", "batch"), default="instance")
    parser.add_argument("--write", action="store_true", help="keep the table as results/soft_targets.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    parts = {name: nodules(*given) for name, given in PARTS.items()}
    trained: dict[str, list[dict]] = {row: [] for row in options.only}
    for seed, row in product(options.seeds, options.only):
        file = options.work / f"{row.replace(' ', '_').replace(',', '')}-{seed}-{options.steps}-{options.norm}.npz"
        trained[row].append(train(row, seed, options.steps, options.norm, parts, file))
    table_of = {row: [scores(found, parts) for found in runs] for row, runs in trained.items()}
    columns = list(next(iter(table_of.values()))[0])
    rows = [[f"`{row}`", *(written([one[c] for one in runs]) for c in columns)] for row, runs in table_of.items()]
    text = "\n".join(
        [
            "## soft_targets",
            "",
            f"`python benchmarks/soft_targets.py --work WORK --steps {options.steps} --norm {options.norm}`: a U-Net "
            f"of width 8 and depth 4, "
            f"{' / '.join(str(n) for n, _ in PARTS.values())} nodules to train, set a temperature and test; "
            f"{options.steps} steps of {BATCH}, Adam 0.003, poly, no augmentation; on a {machine()}. Scores are of the "
            f"band within {BAND} mm of the true border; mean over seeds, then each seed "
            f"({' '.join(map(str, options.seeds))}).",
            "",
            table(["target, loss", *columns], rows),
        ]
    )
    print(text)
    if options.write:
        keep("soft_targets", text)


def written(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ({' '.join(f'{v:.3f}' for v in values)})"


if __name__ == "__main__":
    main()
