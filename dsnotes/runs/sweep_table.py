"""The table of a sweep without a published table: `dsnotes table sweeps/mss-strategies.yml`."""

from __future__ import annotations

import os

import numpy as np

from dsnotes.runs.differences import labelled
from dsnotes.runs.notebook import finished, folder_of
from dsnotes.runs.plan import Plan
from dsnotes.runs.results_io import RefusedError


def sweep_table(plan: Plan, out: str | os.PathLike = "runs") -> str:
    """Mean ± standard deviation over the cases, each averaged over its seeds; empty cells for rows without runs."""
    if not plan.columns:
        raise RefusedError(f"{plan.path} names no columns; add for instance columns: {{dice: dice}}")
    lines = [["row", "runs", *plan.columns]]
    for name, row in labelled(plan).items():
        done = [found for values in row.runs if (found := finished(folder_of(plan.source, values, out))) is not None]
        cells = [_cell([run["cases"] for run in done], figure) for figure in plan.columns.values()]
        lines.append([name, f"{len(done)} of {len(row.runs)}", *cells])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


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
