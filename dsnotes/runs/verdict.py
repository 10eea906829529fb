"""What stored runs say about an idea: helps, hurts, no difference larger than x, or unknown and why.

`benchmarks/verdict.py` computes the runs of sweeps/verdict-*.yml; `benchmarks/verdict/` holds one small file per run.
The other rows of a sweep are compared with its first, or with the row that its `against` names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsnotes.metrics.effects import Effect, against
from dsnotes.runs.differences import labelled
from dsnotes.runs.plan import Plan, open_plan
from dsnotes.runs.results_io import COSTS, RefusedError, read_result
from dsnotes.safety.nearest import suggest

NOT_RUN = "not run yet"
OUTPUT_DICE = "output_dice"  # of the output alone, where a system answers with several maps


@dataclass(frozen=True)
class Question:
    """`scores[figure][row]` is seed -> case -> score; `cost[row]` holds the means of steps, seconds and MiB.

    `folds` is case -> the fold in which it was held out.
    """

    plan: Plan
    scores: dict[str, dict[str, dict]]
    cost: dict[str, dict[str, float]]
    runs: int
    planned: int
    folds: dict[str, int]

    @property
    def name(self) -> str:
        return self.plan.path.stem.removeprefix("verdict-")

    @property
    def text(self) -> str:
        """The first line of the sweep's file, which states the question."""
        return self.plan.path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")

    @property
    def first(self) -> str:
        return next(iter(labelled(self.plan)))

    def effects(self, figure: str = "dice") -> dict[str, Effect]:
        """Every row against its base; rows without runs under the seeds of their base are absent."""
        rows = self.scores.get(figure, {})
        base_of = {row: rows.get(self.base(row), {}) for row in rows}
        whole = {row: of for row, of in rows.items() if row == self.first or set(of) & set(base_of[row])}
        if self.first not in whole or len(whole) < 2:
            return {}
        return against(self.first, whole, bases={row: self.base(row) for row in whole}, folds=self.folds)

    def base(self, row: str) -> str:
        """The row that this one is compared with."""
        return self.plan.against.get(row, self.first)

    def titled_effects(self) -> dict[str, Effect]:
        """`effects` by title, for a figure."""
        return {self.title(row): effect for row, effect in self.effects().items()}

    def title(self, row: str) -> str:
        """The row's name, with its base if that is not the first row."""
        return f"{row} (against {self.base(row)})" if row in self.plan.against else row


def questions(stored: str | os.PathLike, sweeps: str | os.PathLike) -> list[Question]:
    """One for each sweeps/verdict-*.yml, sorted by name, with the runs stored so far."""
    paths = sorted(Path(sweeps).glob("verdict-*.yml"))
    return [question(Path(stored) / path.stem, open_plan(path)) for path in paths]


def stored(name: str, root: str | os.PathLike = "..") -> Question:
    """The question "multi-scale-cardiac", …, with its stored runs; `root` is the repository, as seen by a notebook."""
    path = Path(root, "sweeps", f"verdict-{name}.yml")
    known = [each.stem.removeprefix("verdict-") for each in sorted(Path(root, "sweeps").glob("verdict-*.yml"))]
    if name not in known:
        raise RefusedError(f"there is no sweep {path}; {suggest(name, known)}")
    return question(Path(root, "benchmarks", "verdict", path.stem), open_plan(path))


def question(folder: Path, plan: Plan) -> Question:
    rows = labelled(plan)
    found = [read_result(path) for path in sorted(folder.glob("*.json"))]
    figures = list(dict.fromkeys(["dice", *plan.columns.values(), OUTPUT_DICE]))
    scores: dict[str, dict] = {figure: {row: {} for row in rows} for figure in figures}
    costs: dict[str, list] = {row: [] for row in rows}
    folds: dict[str, int] = {}
    for run in found:
        row, seed = run["row"], run["parameters"]["seed"]
        costs[row].append(run["about"]["run"])
        folds |= dict.fromkeys(run["cases"], run["parameters"]["fold"])
        for figure in figures:
            if own := {case: float(of[figure]) for case, of in run["cases"].items() if figure in of}:
                scores[figure][row].setdefault(seed, {}).update(own)
    complete = {figure: {row: of for row, of in by_row.items() if of} for figure, by_row in scores.items()}
    known = {row: set.intersection(*map(set, of)) for row, of in costs.items() if of}
    cost = {row: {key: float(np.mean([run[key] for run in costs[row]])) for key in keys} for row, keys in known.items()}
    return Question(plan, complete, cost, len(found), len(plan.runs), folds)


def verdict_rows(one: Question, *, margin: float = 0.02) -> list[dict[str, Any]]:
    """A table's rows: the means, what a run cost, the effect with its interval, and the verdict in words."""
    effects, lines = one.effects(), []
    for row in labelled(one.plan):
        line: dict[str, Any] = {"row": one.title(row)}
        for title, figure in one.plan.columns.items():
            line[title] = _mean(one.scores.get(figure, {}).get(row, {}))
        if by_row := one.scores.get(OUTPUT_DICE):
            line["Dice, output alone"] = _mean(by_row.get(row, {}))
        run = one.cost.get(row, {})
        for title, key in COSTS.items():
            if any(key in each for each in one.cost.values()):
                line[title] = f"{run[key]:.0f}" if key in run else ""
        line |= _comparison(effects.get(row), margin) if row != one.first else dict.fromkeys(COMPARISON, "")
        if not run:
            line["verdict"] = NOT_RUN
        lines.append(line)
    return lines


BRIEF = ("Dice", "difference (95 %)", "of seeds", "could have shown", "verdict")
COMPARISON = ("difference (95 %)", "of seeds", "win/draw/loss", "could have shown", "p (Holm)", "verdict")


def brief_rows(one: Question) -> list[dict[str, Any]]:
    """The rows of `verdict_rows` with the columns that answer the question, for a notebook."""
    return [{key: line[key] for key in ("row", *BRIEF)} for line in verdict_rows(one)]


def _comparison(found: Effect | None, margin: float) -> dict[str, str]:
    if found is None:
        return dict.fromkeys(COMPARISON, "")
    values = (
        f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})",
        " ".join(f"{x:+.3f}" for x in found.by_seed),
        f"{found.wins}/{found.draws}/{found.losses}",
        f"{found.smallest:.3f}",
        f"{found.p:.2g}",
        found.verdict(margin=margin).partition(":")[0],
    )
    return dict(zip(COMPARISON, values, strict=True))


def _mean(by_seed: Mapping[Any, Mapping[str, float]]) -> str:
    """Mean over the cases that every seed has, then over seeds, ± the seeds' standard deviation."""
    shared = set.intersection(*(set(of) for of in by_seed.values())) if by_seed else set()
    means = [np.mean([of[c] for c in shared if np.isfinite(of[c])] or [np.nan]) for of in by_seed.values()]
    if not means:
        return ""
    return f"{np.mean(means):.3f}" + (f" ± {np.std(means, ddof=1):.3f}" if len(means) > 1 else "")


def markdown(one: Question) -> str:
    """The question, how it was run, and its table; without runs the rows that are planned."""
    data, command = one.plan.runs[0]["data"], f"python benchmarks/verdict.py sweeps/{one.plan.path.name}"
    if not one.runs:
        named = "; ".join(labelled(one.plan))
        return f"### {one.text}\n\n{NOT_RUN.capitalize()}: {one.planned} runs on `{data}` ({named}). `{command}`"
    rows = verdict_rows(one)
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(row[key] for key in head) + " |" for row in rows]
    return "\n".join([f"### {one.text}", "", f"`{data}`: {one.runs} of {one.planned} runs; `{command}`", "", *lines])


def summary(found: list[Question]) -> str:
    """For the README: each question with a line for each row that was run, and the questions that were not run."""
    parts = []
    for one in found:
        lines = []
        for row, effect in one.effects().items():
            before, after = (_mean(one.scores["dice"][each]).partition(" ")[0] for each in (one.base(row), row))
            lines.append(f"| {one.title(row)} | {before} → {after} | {effect.verdict()} |")
        if lines:
            head = ["| idea | Dice without → with it | verdict |", "| --- | --- | --- |"]
            parts += [f"**{one.text}**", "\n".join(head + lines)]
    if waiting := [one.text.partition("?")[0] + "?" for one in found if not one.runs]:
        parts.append(f"{NOT_RUN.capitalize()}: {' '.join(waiting)}")
    return "\n\n".join(parts)
