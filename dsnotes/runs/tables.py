"""A published table beside our results: means, spreads, tests against the starred row, and what is missing.

A case's score is its mean over the seeds; a row's mean is over the cases of all folds. `± cases` is the standard
deviation over the cases, `± seeds` that of the means per seed. The starred row is tested against each of the others on
the cases that both have, with a paired t-test and Wilcoxon's signed-rank test, each Holm-corrected for the number of
rows in the column.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dsnotes.metrics import Effect, effect, holm, paired_t_test, wilcoxon
from dsnotes.runs.collect import ACROSS, Result, differing, is_of, results
from dsnotes.runs.paper_tables import Column, Published, published
from dsnotes.runs.source import RefusedError


@dataclass
class Cell:
    """`p_t` and `p_w` are the Holm-corrected p-values of the difference to the starred row.

    `values`: case -> its mean over the seeds; none where the column is not made of cases.
    """

    mean: float
    over_cases: float | None = None
    over_seeds: float | None = None
    cases: int = 0
    seeds: int = 0
    p_t: float | None = None
    p_w: float | None = None
    difference: float | None = None
    values: dict[str, float] = field(default_factory=dict)
    effect: Effect | None = None  # the difference to the starred row, its interval over cases and seeds


@dataclass(frozen=True)
class Report:
    """`printed[row][column]` is the paper's value, `ours[row][column]` a `Cell`, absent where we have no result."""

    name: str
    caption: str
    columns: tuple[str, ...]
    printed: dict[str, dict[str, object]]
    ours: dict[str, dict[str, Cell]]
    starred: str | None
    dataset: str
    runs: int
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    slips: tuple[str, ...]


def compare(
    table: str,
    runs: str | os.PathLike,
    *,
    where: Mapping[str, str] | None = None,
    only: Collection[Path] | None = None,
) -> Report:
    """The table's rows as published, and as the runs in a folder fill them.

    `where` selects runs by their parameters, `only` by their folders. A row that was run under two recipes, the table's
    and its own paper's, becomes two: "vb-net", and below it "vb-net recipe=own".
    """
    paper = published(table)
    found = [one for one in results(runs, where) if only is None or one.folder.absolute() in only]
    rows = {
        row: [r for r in found if (r.system, r.options) == (filler.system, filler.options)]
        for row, filler in paper.fillers.items()
    }
    rows, base = by_recipe(rows)
    mine = [r for of_row in rows.values() for r in of_row]
    dataset = _one_dataset(mine)
    for row, of_row in rows.items():
        _refuse_mixture(row, [r for r in of_row if not r.lacking])
    columns = _columns(paper, dataset)
    done = {row: [r for r in of_row if not r.lacking and r.cases] for row, of_row in rows.items()}
    ours = {row: _cells(base[row], of_row, columns) for row, of_row in done.items() if of_row}
    starred = paper.table.starred
    if starred in ours:
        _test(done, starred, columns, ours, base)
    names = tuple(columns) or paper.table.columns
    order = [label for row in paper.table.rows for label in (row, *(x for x in base if x != row == base[x]))]
    return Report(
        name=table,
        caption=paper.table.caption,
        columns=names,
        printed={row: _as_printed(paper, base.get(row, row), names) for row in order},
        ours=ours,
        starred=starred,
        dataset=dataset,
        runs=sum(map(len, done.values())),
        missing=tuple(_missing(paper, rows, done, columns, base)),
        notes=tuple(_notes(paper, mine, columns, dataset, ours)),
        slips=paper.table.slips,
    )


def by_recipe(rows: dict[str, list[Result]]) -> tuple[dict[str, list[Result]], dict[str, str]]:
    """The rows with one entry per recipe, and the table's row that each belongs to.

    The recipe that most rows share keeps the row's name.
    """
    recipes = {row: sorted({_recipe(one) for one in of_row}) for row, of_row in rows.items()}
    count = Counter(recipe for of_row in recipes.values() for recipe in of_row)
    found, base = {}, {}
    for row, of_row in rows.items():
        first, *others = sorted(recipes[row], key=lambda recipe: (-count[recipe], recipe)) or [""]
        for label, recipe in {row: first, **{f"{row} recipe={recipe}": recipe for recipe in others}}.items():
            found[label], base[label] = [one for one in of_row if _recipe(one) == recipe], row
    return found, base


def _recipe(one: Result) -> str:
    return str(one.parameters.get("recipe", ""))


def _one_dataset(runs: list[Result]) -> str:
    names = sorted({r.dataset for r in runs})
    if len(names) > 1:
        values = sorted({str(r.parameters.get("data")) for r in runs})
        raise RefusedError(
            f"these runs are on {len(names)} datasets ({', '.join(names)}), but a row needs one; "
            f"choose it with --filter data={values[0]}"
        )
    return names[0] if names else ""


def _refuse_mixture(row: str, runs: list[Result]) -> None:
    if unequal := differing(runs):
        name, values = next(iter(unequal.items()))
        raise RefusedError(
            f"the runs of row {row!r} differ in more than fold and seed: {_listed(unequal)}; "
            f"choose with --filter {name}={values[0]}, or name the sweep's file for its runs alone"
        )


def _listed(unequal: dict[str, list[str]]) -> str:
    return "; ".join(f"{name} ({', '.join(values)})" for name, values in unequal.items())


def _columns(paper: Published, dataset: str) -> dict[str, Column]:
    """The columns of our dataset, or of the table's first if ours is not among them, and those without a dataset."""
    datasets = list(dict.fromkeys(c.dataset for c in paper.columns.values() if c.dataset))
    ours = [d for d in datasets if is_of(dataset, d)] or datasets[:1]
    return {name: column for name, column in paper.columns.items() if column.dataset in (None, *ours)}


def _values(runs: list[Result], key: str) -> dict[str, float]:
    """Case -> mean over the seeds; infinite if any seed's is, since the mean of the others would be too good."""
    gathered: dict[str, list[float]] = {}
    for one in runs:
        for case, row in one.cases.items():
            if key in row:
                gathered.setdefault(case, []).append(row[key])
    return {case: float(np.mean(values)) for case, values in gathered.items()}


def _statistic(values: dict[str, float], column: Column) -> float:
    x = np.array([v for v in values.values() if np.isfinite(v)])
    if not len(x):
        return float("nan")
    how = {"mean": np.mean, "median": np.median, "sum": np.sum, "std": lambda x: np.std(x, ddof=min(1, len(x) - 1))}
    return float(how[column.how](x))


def _figure(runs: list[Result], column: Column, key: str) -> float:
    """The column's statistic over these runs."""
    if column.how == "run":
        values = [float(r.about["run"][key]) for r in runs if r.about.get("run", {}).get(key) is not None]
        return float(np.mean(values)) if values else float("nan")
    if column.how == "pooled":
        of = key.removeprefix("f1")
        seeds = [_pooled([r for r in runs if r.across("seed") == s], of) for s in {r.across("seed") for r in runs}]
        return float(np.mean(seeds))
    return _statistic(_values(runs, key), column)


def _pooled(runs: list[Result], of: str) -> float:
    """2 ΣTP / (2 ΣTP + ΣFP + ΣFN) over all cases."""
    tp, fp, fn = (
        sum(row[f"{name}{of}"] for r in runs for row in r.cases.values() if f"{name}{of}" in row)
        for name in ("tp", "fp", "fn")
    )
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else float("nan")


def _cells(row: str, runs: list[Result], columns: dict[str, Column]) -> dict[str, Cell]:
    cells = {}
    seeds = sorted({r.across("seed") for r in runs}, key=str)
    for name, column in columns.items():
        key, scale = column.key.format(row=row), 100 if column.percent else 1
        mean = _figure(runs, column, key)
        if not np.isfinite(mean):
            continue
        cell = Cell(scale * mean, seeds=len(seeds))
        if len(seeds) > 1:
            of_seeds = [_figure([r for r in runs if r.across("seed") == s], column, key) for s in seeds]
            cell.over_seeds = scale * float(np.std(of_seeds, ddof=1))
        cell.values = {case: scale * v for case, v in _values(runs, key).items() if np.isfinite(v)}
        finite = [v / scale for v in cell.values.values()]
        cell.cases = len(finite)
        if column.how == "mean" and len(finite) > 1:
            cell.over_cases = scale * float(np.std(finite, ddof=1))
        cells[name] = cell
    return cells


def _test(
    done: dict[str, list[Result]], starred: str, columns: dict[str, Column], ours: dict, base: Mapping[str, str]
) -> None:
    """Fill `p_t` and `p_w` of every row but the starred one, in the columns that are means or medians over cases."""
    for name, column in columns.items():
        if column.how not in ("mean", "median"):
            continue
        tested: dict[str, tuple] = {}
        best = _values(done[starred], column.key.format(row=base[starred]))
        for row in ours:
            other = _values(done[row], column.key.format(row=base[row]))
            both = [c for c in best if c in other and np.isfinite(best[c]) and np.isfinite(other[c])]
            if row == starred or name not in ours[row] or len(both) < 2:
                continue
            pair = [best[c] for c in both], [other[c] for c in both]
            tested[row] = paired_t_test(*pair), wilcoxon(*pair)
        for row, p_t, p_w in zip(
            tested, holm([t.p for t, _ in tested.values()]), holm([w.p for _, w in tested.values()]), strict=True
        ):
            cell = ours[row][name]
            cell.effect = _effect(done, starred, row, column, base)
            cell.p_t, cell.p_w, cell.difference = p_t, p_w, -tested[row][0].difference * (100 if column.percent else 1)


def _effect(done: dict, starred: str, row: str, column: Column, base: Mapping[str, str]) -> Effect | None:
    """None without two cases and a seed that both have."""
    key = {each: column.key.format(row=base[each]) for each in (starred, row)}
    before, after = (by_seed(done[each], key[each], 100 if column.percent else 1) for each in (starred, row))
    try:
        return effect(before, after)
    except ValueError:  # no seed in common
        return None


def by_seed(runs: list[Result], key: str, scale: float = 1) -> dict[object, dict[str, float]]:
    """seed -> case -> score, the cases of all folds together."""
    found: dict[object, dict[str, float]] = {}
    for one in runs:
        own = found.setdefault(one.across("seed"), {})
        own |= {case: scale * row[key] for case, row in one.cases.items() if key in row}
    return found


def _as_printed(paper: Published, row: str, names: tuple[str, ...]) -> dict[str, object]:
    whole = dict(zip(paper.table.columns, paper.table.rows[row], strict=False))
    return {name: whole[name] for name in names if whole.get(name) is not None}


def _missing(
    paper: Published, rows: dict, done: dict, columns: dict[str, Column], base: Mapping[str, str]
) -> list[str]:
    """The rows, folds, seeds and cases that are missing from the comparison."""
    why = {row: f" ({reason})" for row, reason in paper.table.unfilled.items()}
    lines = [
        f"{row}: nothing here fills this row{why.get(row, '')}" for row in paper.table.rows if row not in paper.fillers
    ]
    if not paper.fillers:
        return [f"{paper.name}: no system of dsnotes fills this table"]
    wanted = {(r.across("fold"), r.across("seed")) for of_row in rows.values() for r in of_row}
    everybody = {case for of_row in done.values() for r in of_row for case in r.cases}
    for row, of_row in rows.items():
        lacking = [f"{row}: {r.lacking} ({r.folder})" for r in of_row if r.lacking]
        lines += lacking
        if not done[row]:
            lines += [f"{row}: no run"] if not lacking else []
            continue
        absent = sorted(wanted - {(r.across("fold"), r.across("seed")) for r in done[row]}, key=str)
        lines += [f"{row}: no run for {', '.join(f'fold {f} seed {s}' for f, s in absent)}"] if absent else []
        own = {case for r in done[row] for case in r.cases}
        lines += [f"{row}: {len(everybody - own)} of {len(everybody)} cases"] if everybody - own else []
        for name, column in columns.items():
            values = _values(done[row], column.key.format(row=base[row]))
            left_out = [case for case, x in values.items() if not np.isfinite(x)]
            if left_out and column.how != "run":
                lines.append(f"{row}, {name}: {len(left_out)} of {len(values)} cases have no finite value")
            if not values and column.how in ("mean", "median", "sum", "std"):
                lines.append(f"{row}, {name}: the runs recorded no {column.key.format(row=base[row])!r}")
    return lines


def _notes(paper: Published, runs: list[Result], columns: dict[str, Column], dataset: str, ours: dict) -> list[str]:
    notes = []
    if unequal := differing(runs):
        notes.append(f"rows differ in {_listed(unequal)}")
    others = {c.dataset for c in columns.values() if c.dataset and not is_of(dataset, c.dataset)}
    if dataset and others:
        notes.append(f"paper: {', '.join(sorted(others))}, ours: {dataset}; compare differences, not numbers")
    if runs and not any(r.across(name) for r in runs for name in ACROSS):
        notes.append("one fold and one seed: the spread over seeds is unknown")
    if paper.table.starred is None and paper.fillers:
        notes.append("the paper stars no row, so none is tested")
    elif runs and paper.fillers and paper.table.starred not in ours:
        notes.append(f"{paper.table.starred}, the row that the others are tested against, has no run")
    return notes
