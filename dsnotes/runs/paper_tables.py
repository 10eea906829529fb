"""The papers' tables by short name ("mss-2"), with our system for each row and our metric for each column.

A row named after a system is filled by that system; `Table.runs` maps the others. A column is filled by the metric of
the same name; `Table.metrics` maps the others, as

    "dice_kidney"              the mean over the cases
    "median dice@{row}"        another statistic: mean, median, std, sum, pooled (F1 of all voxels), run (one per run)
    "dice in LIDC"             for runs on that dataset only

A column called "brats dice" or "dice ISBI" names its own dataset.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from dsnotes import papers
from dsnotes.papers import recipes
from dsnotes.papers.recipe import Table, short
from dsnotes.runs.source import RefusedError
from dsnotes.safety.nearest import suggest

HOW = ("mean", "median", "std", "sum", "pooled", "run")
NAMES = {
    **{name: name for name in ("dice", "iou", "ppv", "sensitivity", "accuracy", "hausdorff")},
    **{"jaccard": "iou", "precision": "ppv", "recall": "sensitivity", "sen": "sensitivity", "dsc": "dice"},
    **{"f1": "pooled f1", "hausdorff_mm": "hausdorff", "mean dice": "dice", "median dice": "median dice"},
    **{"false positives": "sum false_positives", "false negatives": "sum false_negatives"},
    **{"layers": "run layers", "parameters (M)": "run parameters (M)", "seconds": "run seconds a case"},
    **{name: f"run {name}" for name in ("hours an epoch", "epochs", "hours")},
}
RATIOS = ("dice", "iou", "ppv", "sensitivity", "accuracy", "f1")


@dataclass(frozen=True)
class Column:
    """`percent`: the paper gives a ratio times 100."""

    name: str
    how: str
    key: str  # may hold {row}
    dataset: str | None = None
    percent: bool = False


@dataclass(frozen=True)
class Filler:
    system: str
    options: tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class Published:
    name: str
    paper: str  # the module's stem
    table: Table
    fillers: dict[str, Filler]  # row -> what fills it; rows without a system of ours are absent
    columns: dict[str, Column]  # column -> what fills it, likewise


@cache
def tables() -> dict[str, tuple[str, Table]]:
    """Short name -> the paper's stem and the table, in the papers' order."""
    found = {}
    for module in iter_modules(papers.__path__):
        for number, table in getattr(import_module(f"{papers.__name__}.{module.name}"), "TABLES", {}).items():
            found[f"{short(module.name)}-{number}"] = (module.name, table)
    return found


def published(name: str) -> Published:
    if name not in tables():
        raise RefusedError(f"there is no table {name!r}; {suggest(name, tables())}")
    paper, table = tables()[name]
    fillers = {row: filler for row in table.rows if (filler := _filler(row, table)) is not None}
    columns = {c: column for c in table.columns if (column := _column(c, table)) is not None} if fillers else {}
    return Published(name, paper, table, fillers, columns)


def _filler(row: str, table: Table) -> Filler | None:
    given = table.runs.get(row, {"system": row})
    if given["system"] not in recipes():
        return None
    return Filler(given["system"], tuple(sorted(given.get("options", {}).items())))


def _column(name: str, table: Table) -> Column | None:
    bare = name.removeprefix("± ")
    first, _, later = bare.partition(" ")
    earlier, _, last = bare.rpartition(" ")
    if bare in (known := table.metrics | {c: spec for c, spec in NAMES.items() if c not in table.metrics}):
        spec, dataset = known[bare], None
    elif later in NAMES and len(first) > 1:  # "brats dice", but not "p dice", which is a p-value
        spec, dataset = NAMES[later], first
    elif earlier in NAMES:  # "dice ISBI"
        spec, dataset = NAMES[earlier], last
    else:
        return None
    if " in " in spec:
        spec, _, dataset = spec.partition(" in ")
    how, _, key = spec.partition(" ")
    if how not in HOW:
        how, key = "mean", spec
    if name.startswith("± "):
        how = "std"
    place = table.columns.index(bare)
    printed = [row[place] for row in table.rows.values() if len(row) > place and isinstance(row[place], (int, float))]
    ratio = how not in ("sum", "run") and key.split("_")[0].split("@")[0] in RATIOS
    return Column(name, how, key, dataset, percent=ratio and max(printed, default=0) > 1)
