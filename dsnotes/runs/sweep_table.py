"""The table of a sweep without a published table: `dsnotes table sweeps/mss-strategies.yml`.

Below it, every row against the first, or against the row that the sweep's `against` gives it: the difference paired by
case and seed, its interval over cases, seeds and trainings, the smallest difference that so many could have shown,
wins, draws and losses, and p with Holm's correction.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from dsnotes.metrics.effects import against
from dsnotes.runs.differences import labelled
from dsnotes.runs.notebook import finished, folder_of
from dsnotes.runs.plan import Plan
from dsnotes.runs.results_io import COSTS, RefusedError

Runs = dict[str, list[dict]]  # row -> its finished runs


def sweep_table(plan: Plan, out: str | os.PathLike = "runs") -> str:
    """Mean ± standard deviation over the cases, each averaged over its seeds; empty cells for rows without runs."""
    if not plan.columns:
        raise RefusedError(f"{plan.path} names no columns; add for instance columns: {{dice: dice}}")
    done: Runs = {}
    rows = labelled(plan)
    for name, row in rows.items():
        found = (finished(folder_of(plan.source, values, out)) for values in row.runs)
        done[name] = [run for run in found if run is not None]
    costs = {
        title: key for title, key in COSTS.items() if any(key in _cost(run) for runs in done.values() for run in runs)
    }
    lines = [["row", "runs", *plan.columns, *costs]]
    for name, row in rows.items():
        cells = [_cell([run["cases"] for run in done[name]], figure) for figure in plan.columns.values()]
        spent = [_mean_cost(done[name], key) for key in costs.values()]
        lines.append([name, f"{len(done[name])} of {len(row.runs)}", *cells, *spent])
    parts = [_aligned(lines)]
    for title, figure in plan.columns.items():
        if compared := _comparison_rows(done, figure, plan.against):
            parts.append(f"{title}, against {next(iter(done))!r}:\n{_aligned(compared)}")
    return "\n\n".join(parts)


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _comparison_rows(done: Runs, figure: str, bases: Mapping[str, str]) -> list[list[str]]:
    """Empty unless two rows that are compared have cases and seeds in common."""
    rows = {name: by_seed(runs, figure) for name, runs in done.items()}
    first = next(iter(rows))
    shared = {name: of for name, of in rows.items() if _cases(of, rows[bases.get(name, first)]) > 1}
    if len(shared) < 2 or first not in shared:
        return []
    held_out = {
        case: run.get("parameters", {}).get("fold") for runs in done.values() for run in runs for case in run["cases"]
    }
    head = ["row", "difference", "95 %", "could have shown", "win/draw/loss", "cases × seeds", "p (Holm)"]
    return [head] + [
        [
            f"{name} (against {bases[name]})" if name in bases else name,
            f"{one.mean:+.4f}",
            f"{one.low:+.4f} to {one.high:+.4f}",
            f"{one.smallest:.4f}",
            f"{one.wins}/{one.draws}/{one.losses}",
            f"{one.cases} × {len(one.by_seed)}",
            f"{one.p:.2g}",
        ]
        for name, one in against(first, shared, bases=bases, folds=held_out).items()
    ]


def _cases(of: dict, base: dict) -> int:
    seeds = [seed for seed in of if seed in base]
    return len(set.intersection(*(set(each[seed]) for each in (of, base) for seed in seeds))) if seeds else 0


def by_seed(runs: list[dict], figure: str) -> dict[object, dict[str, float]]:
    """seed -> case -> score, the cases of all folds together."""
    found: dict[object, dict[str, float]] = {}
    for run in runs:
        own = found.setdefault(run.get("parameters", {}).get("seed", 0), {})
        for case, row in run["cases"].items():
            if row.get(figure) is not None and np.isfinite(float(row[figure])):
                own[case] = float(row[figure])
    return found


def _cost(run: dict) -> dict:
    memory = {"peak MiB": run["peak_memory_mb"]} if run.get("peak_memory_mb") else {}
    return memory | ((run.get("about") or {}).get("run") or {})


def _mean_cost(runs: list[dict], key: str) -> str:
    values = [float(_cost(run)[key]) for run in runs if _cost(run).get(key) is not None]
    return f"{np.mean(values):.0f}" if values else ""


def _cell(runs: list[dict], figure: str) -> str:
    values: dict[str, list[float]] = {}
    for cases in runs:
        for case, row in cases.items():
            if row.get(figure) is not None and np.isfinite(row[figure]):
                values.setdefault(case, []).append(float(row[figure]))
    if not values:
        return ""
    means = [float(np.mean(of_case)) for of_case in values.values()]
    return f"{np.mean(means):.4g} ± {np.std(means, ddof=min(1, len(means) - 1)):.2g}"
