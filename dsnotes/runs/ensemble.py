"""How much the average of several runs gains over each run alone, on cases that none of them was trained on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsnotes.data.case import Case
from dsnotes.inference.scan import predict_scan, to_label_map
from dsnotes.metrics import paired_t_test, score
from dsnotes.runs.experiment import cleaned
from dsnotes.runs.plan import Plan
from dsnotes.runs.source import RefusedError


@dataclass(frozen=True)
class Gain:
    """Dice per case: `alone[run]` of each single run, `together` of their averaged probabilities."""

    cases: tuple[str, ...]
    alone: dict[str, tuple[float, ...]]
    together: tuple[float, ...]

    @property
    def differences(self) -> np.ndarray:
        """Per case: Dice together minus the mean Dice of the single runs."""
        return np.array(self.together) - np.mean(list(self.alone.values()), 0)

    def rows(self) -> list[dict]:
        """For a table: each run, all together, and the difference with its standard deviation and p-value."""
        rows = [{"run": name, "Dice": float(np.mean(values)), "SD": _sd(values)} for name, values in self.alone.items()]
        rows.append({"run": "together", "Dice": float(np.mean(self.together)), "SD": _sd(self.together)})
        if len(self.cases) < 2:
            return rows
        mean = np.mean(list(self.alone.values()), 0)
        p = paired_t_test(self.together, mean.tolist()).p
        rows.append({"run": "together − alone", "Dice": float(self.differences.mean()), "SD": _sd(self.differences)})
        return [*rows[:-1], rows[-1] | {"p, paired t-test": p}]

    def __str__(self) -> str:
        worst, best = (f([np.mean(values) for values in self.alone.values()]) for f in (min, max))
        return (
            f"Dice on {len(self.cases)} cases: {len(self.alone)} runs alone {worst:.3f} to {best:.3f}, together "
            f"{np.mean(self.together):.3f}: {self.differences.mean():+.3f} ± "
            f"{_sd(self.differences) / np.sqrt(len(self.cases)):.3f} (standard error) over the mean of one"
        )


def gain(models: Sequence, names: Sequence[str], cases: Sequence[Case], *, device: str = "auto") -> Gain:
    """Predict every labelled case with each model and with their average; needs two models or more."""
    if len(models) < 2:
        raise ValueError(f"an ensemble needs two runs or more, such as its folds; got {len(models)}.")
    alone: dict[str, list[float]] = {name: [] for name in names}
    together, seen = [], []
    for case in cases:
        if case.label is None:
            raise ValueError(
                f"case {case.name} has no label to compare with. Pass labelled cases that no run was trained on."
            )
        total = None
        for name, model in zip(names, models, strict=True):
            _, p = predict_scan([model], case, probabilities=True, device=device, progress=False)
            alone[name].append(_dice(p, model[1], case))
            total = p if total is None else total + p
        together.append(_dice(total / len(models), models[0][1], case))
        seen.append(case.name)
    return Gain(tuple(seen), {name: tuple(values) for name, values in alone.items()}, tuple(together))


def gains(table: str, runs: str | os.PathLike, data: str, *, where: Mapping[str, str] | None = None) -> dict[str, Gain]:
    """For each row of a published table with two or more finished runs: the gain of averaging them, on `data`.

    `data` is a folder or phantoms (not those that `80_experiment` trains on); no run may have been trained on any of
    its cases.
    """
    from dsnotes.runs.collect import results
    from dsnotes.runs.paper_tables import published
    from dsnotes.runs.tables import by_recipe

    found = [one for one in results(runs, where) if not one.lacking and one.cases]
    _require_unseen(data, {one.dataset for one in found})
    rows, _ = by_recipe({
        row: [one for one in found if (one.system, one.options) == (filler.system, filler.options)]
        for row, filler in published(table).fillers.items()
    })  # fmt: skip
    folders = {
        row: {f"fold {one.across('fold')}, seed {one.across('seed')}": one.folder for one in of_row}
        for row, of_row in rows.items()
    }
    return _gains(folders, data)


def gains_of_sweep(plan: Plan, runs: str | os.PathLike, data: str) -> dict[str, Gain]:
    """The same for each row of a sweep's file, such as the folds of one system on your own data."""
    from dsnotes.runs.differences import labelled
    from dsnotes.runs.notebook import finished, folder_of

    _require_unseen(data, {str(values.get("data")) for values in plan.runs})
    rows = {
        name: {
            f"fold {values.get('fold')}, seed {values.get('seed')}": folder
            for values in row.runs
            if finished(folder := folder_of(plan.source, values, runs)) is not None
        }
        for name, row in labelled(plan).items()
    }
    if few := [name for name, folders in rows.items() if len(folders) < 2]:
        raise RefusedError(
            f"{few[0] or plan.path} has fewer than two finished runs; compute them with: dsnotes sweep {plan.path}"
        )
    return _gains(rows, data)


def _require_unseen(data: str, trained: set[str]) -> None:
    if data in trained or any(Path(one).absolute() == Path(data).absolute() for one in trained):
        raise RefusedError(
            f"these runs were trained on {data}, so some of them have seen its cases. Give cases that none of them "
            f"has seen, such as a folder of held-out scans"
        )


def _gains(rows: Mapping[str, Mapping[str, Path]], data: str) -> dict[str, Gain]:
    from dsnotes.runs.experiment import cases_of
    from dsnotes.runs.predict_command import load_models

    cases, _ = cases_of(data)
    gained = {}
    for row, folders in rows.items():
        if len(folders) > 1:
            models, _ = load_models([str(folder) for folder in folders.values()])
            gained[row] = gain(models, list(folders), cases)
    return gained


def _dice(p: np.ndarray, task, case: Case) -> float:
    """The mean over the labels or regions, after the run's own post-processing, on the scan's grid."""
    label = cleaned(to_label_map(p, task.order), task.postprocess)
    of = {"regions": task.regions} if task.regions else {"labels": task.labels}
    valid = case.extras.get("valid")
    return float(score(label, case.label, spacing=case.spacing, valid=valid, **of)["dice"])


def _sd(values) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
