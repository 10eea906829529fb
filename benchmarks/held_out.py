"""One trial on a folder of real images: train a system on some patients, score others; kept as one line of JSON."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from timing import peak_mib, reset_peak

import dsnotes
from dsnotes.data.preprocess import Preprocess
from dsnotes.data.splits import split
from dsnotes.metrics import dice, ppv
from dsnotes.safety.atomic import write_text

RESULTS = Path(__file__).parent / "results"


def patients(
    folder: Path,
    *,
    normalise: str | None = "image",
    size: tuple[int, int] | None = None,
    test: float = 1 / 3,
    train: int | None = None,
):
    """(training cases, test cases, label values): split by patient, the same for every seed and recipe."""
    data = dsnotes.open_dataset(folder)
    prepared = Preprocess(normalise=normalise, size=size)
    seen, unseen = split(data, (1 - test, test), seed=0)
    seen = list(seen)[:train]
    return [prepared(case) for case in seen], [prepared(case) for case in unseen], range(1, data.classes)


def trial(system, train, test, values, *, settings, seed: int, window: tuple[int, ...] | None = None) -> dict:
    """Per case: the Dice and the precision of each label value, and what the training cost."""
    reset_peak()
    started = time.process_time()
    history = dsnotes.fit(system, train, settings=settings, seed=seed, progress=False)
    seconds, peak = time.process_time() - started, peak_mib()
    cases = {}
    for case in test:
        label = dsnotes.to_label(dsnotes.predict(system, case, **({"patch": window} if window else {})))
        pairs = [(label == value, case.label == value) for value in values]
        precision = [ppv(*pair) for pair in pairs]
        cases[case.name] = {"dice": [dice(*pair) for pair in pairs], "precision": precision}
    return {
        "steps": history.steps,
        "seconds": round(seconds, 1),
        "peak_mib": peak,
        "parameters": sum(p.numel() for p in system.network.parameters()),
        "loss": history[-1]["loss"],
        "cases": cases,
    }


class Kept:
    """Finished trials in `results/NAME.jsonl`, one a line; a trial is named by its fields and never run twice."""

    def __init__(self, name: str) -> None:
        self.path = RESULTS / f"{name}.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.rows = [json.loads(line) for line in lines]

    def has(self, **name) -> bool:
        return any(all(row.get(key) == value for key, value in name.items()) for row in self.rows)

    def add(self, found: dict, **name) -> None:
        """Store a trial and tell it."""
        self.rows = [*Kept(self.path.stem).rows, name | rounded(found)]  # another process may have added some
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))
        mean = np.mean([np.mean(case["dice"]) for case in found["cases"].values()])
        told = ", ".join(map(str, name.values()))
        print(f"{told}: Dice {mean:.3f} after {found['steps']} steps, {found['seconds']} s", flush=True)

    def scores(self, metric: str = "dice", **name) -> dict[int, dict[str, float]]:
        """seed -> case -> mean over label values."""
        rows = [row for row in self.rows if all(row.get(key) == value for key, value in name.items())]
        return {row["seed"]: {c: float(np.mean(m[metric])) for c, m in row["cases"].items()} for row in rows}


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value


def start(seed: int) -> None:
    """One thread, as many processes as you like: seconds then mean the same in each."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    torch.manual_seed(seed)
