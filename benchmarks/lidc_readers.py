"""How far four radiologists' outlines of the same nodule spread: the ceiling for a network that predicts readers.

    python benchmarks/lidc_readers.py FOLDER [--write]

FOLDER holds the archive of the LIDC-IDRI nodules with four outlines (`dsnotes.data.annotators.open_reader_archive`).
One reader against the other three stands for a network that gives a single mask: Dice, energy distance, and the CRPS of
the volume, which for one mask is the absolute error. Two readers against the other two, and three readers' volumes as a
forecast of the fourth's (fair for three samples), stand for a network that samples the readers' own distribution. A
nodule's value is the mean over its four readers, a patient's over their nodules; intervals are bootstrapped over
patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from timing import keep, machine, table

from dsnotes.data import Case
from dsnotes.data.annotators import open_reader_archive
from dsnotes.metrics import consensus, crps, dice, energy_distance, expected_volume

COLUMNS = (
    "one reader: mean Dice with the other three",
    "one reader: energy distance to the other three",
    "two readers: energy distance to the other two",
    "the consensus of all four: energy distance to the four",
    "one reader: volume error against the other three, share of the mean volume",
    "three readers: CRPS of the fourth's volume, share of the mean volume",
    "SD of the four volumes over their mean",
)


def spread(case: Case) -> list[float]:
    """The values of COLUMNS for one nodule."""
    readers = case.extras["readers"].astype(bool)
    volumes = np.array([expected_volume(mask, spacing=case.spacing) for mask in readers])
    alone = []
    for i, one in enumerate(readers):
        others, of_others = np.delete(readers, i, 0), np.delete(volumes, i)
        error, sampled = crps(volumes[i : i + 1], of_others), crps(of_others, volumes[i], fair=True)
        alone.append([np.mean([dice(one, x) for x in others]), energy_distance([one], others), error, sampled])
    overlap, distance, error, sampled = np.mean(alone, axis=0)
    pairs = [(readers[[0, i]], np.delete(readers, [0, i], 0)) for i in (1, 2, 3)]
    halves = np.mean([energy_distance(a, b) for a, b in pairs])  # fair, it is 0: the splits cancel
    agreed = energy_distance([consensus(readers)], readers)
    mean = volumes.mean()
    return [overlap, distance, halves, agreed, error / mean, sampled / mean, volumes.std(ddof=1) / mean]


def by_patient(values: np.ndarray, patients: Sequence[str]) -> np.ndarray:
    names, at = np.unique(patients, return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, at, values)
    return sums / np.bincount(at)[:, None]


def interval(values: np.ndarray, draws: int = 2000) -> np.ndarray:
    """95 % of the means of patients drawn with replacement: (2, columns)."""
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), draws) / len(values)
    return np.quantile(weights @ values, [0.025, 0.975], axis=0)


def written(mean: float, low: float, high: float) -> str:
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true", help="keep the table as results/lidc_readers.md")
    options = parser.parse_args()
    cases = open_reader_archive(options.folder)
    values = np.array([spread(case) for case in cases])
    patients = [case.extras["patient"] for case in cases]
    volume = np.array([np.mean([expected_volume(m, spacing=c.spacing) for m in c.extras["readers"]]) for c in cases])
    third = np.quantile(volume, [0, 1 / 3, 2 / 3, 1])
    groups = {"all nodules": np.ones(len(cases), bool)}
    for name, (low, high) in zip(("smallest", "middle", "largest"), pairwise(third), strict=True):
        groups[f"{name} third, {low:.0f} to {high:.0f} mm³"] = (volume >= low) & (volume <= high)
    found = {name: by_patient(values[keep_], np.array(patients)[keep_]) for name, keep_ in groups.items()}
    ends = {name: interval(of) for name, of in found.items()}
    rows = [
        [
            column,
            *(
                f"{of[:, i].mean():.3f} ({ends[name][0, i]:.3f} to {ends[name][1, i]:.3f})"
                for name, of in found.items()
            ),
        ]
        for i, column in enumerate(COLUMNS)
    ]
    heads = [f"{name} ({kept.sum()} nodules, {len(found[name])} patients)" for name, kept in groups.items()]
    text = "\n".join(
        [
            "## lidc_readers",
            "",
            f"`python benchmarks/lidc_readers.py FOLDER` on a {machine()}: the nodules of LIDC-IDRI outlined by four "
            "radiologists; mean over patients, 95 % bootstrap interval over patients. The energy distance takes all "
            "pairs, in 3-D.",
            "",
            table(["", *heads], rows),
        ]
    )
    print(text)
    if options.write:
        keep("lidc_readers", text)


if __name__ == "__main__":
    main()
