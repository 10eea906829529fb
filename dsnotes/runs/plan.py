"""A sweep's file: which runs of which notebook.

notebook: ../notebooks/80_experiment.py  # relative to this file
table: mss-2                             # one run per row, unless `list` is given
parameters: {data: data/kits19}          # the same in every run
rows:                                    # what a row of the table changes; a list gives several runs
  mss-unet: {postprocess: kidneys}
  pspnet-2d: [{recipe: mss}, {recipe: own}]
list:                                    # replaces the table's rows; with `rows`, added to them
  - {system: mss-unet, options: {preset: official_code}}
grid: {fold: [0, 1, 2, 3, 4], seed: [0, 1, 2]}   # every row with every combination
timeout: 86400                           # seconds per run
columns: {tumour: dice_tumour}           # for `dsnotes table FILE`, if the sweep has no published table
against: {mss-unet: pspnet-2d}           # a row that is compared with another than the first
needs: {data/kits19: python data_scripts/kits19.py --out data/kits19}   # folder -> the command that makes it
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsnotes.runs.source import RefusedError, Source, open_source
from dsnotes.safety.nearest import nearest

KEYS = {
    "notebook": str,
    "table": str,
    "parameters": dict,
    "rows": dict,
    "list": list,
    "grid": dict,
    "timeout": (int, float),
    "needs": dict,
    "columns": dict,
    "against": dict,
}


@dataclass(frozen=True)
class Row:
    """A row's name, the parameters that it changes, and its runs."""

    name: str
    changes: dict[str, Any]
    runs: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Plan:
    """`runs` are complete parameter sets without duplicates, in the file's order."""

    path: Path
    source: Source
    table: str | None
    runs: tuple[dict[str, Any], ...]
    timeout: float | None
    rows: tuple[Row, ...] = ()
    needs: dict[str, str] = field(default_factory=dict)  # folder -> command
    columns: dict[str, str] = field(
        default_factory=dict
    )  # what `dsnotes table FILE` shows, such as {tumour: dice_tumour}
    against: dict[str, str] = field(default_factory=dict)  # row -> the row that it is compared with

    def missing(self) -> list[str]:
        """A line for each folder that the runs read and that does not exist."""
        return [
            f"{self.path} reads {folder}, which does not exist yet; make it with: {command}"
            for folder, command in self.needs.items()
            if not Path(folder).is_dir() and any(values.get("data") == folder for values in self.runs)
        ]


def open_plan(path: str | os.PathLike, given: Mapping[str, str] | None = None) -> Plan:
    """Read and check a sweep's file; `given` are further parameters for every run, as typed."""
    path = Path(path)
    content = _content(path)
    source = open_source(path.parent / content["notebook"])
    shared, typed = content.get("parameters", {}), source.read(given or {})
    grid = content.get("grid", {})
    runs: dict[str, dict] = {}
    rows: list[Row] = []
    for name, changes, entry in _entries(content, path):
        if twice := [str(key) for key in entry if key in grid]:
            raise RefusedError(f"{path}: 'list' and 'grid' both give {', '.join(twice)}; keep it in one of them")
        own = []
        for combination in itertools.product(*(grid[key] for key in grid)):
            mine = {**_merge_parameters(shared, entry), **dict(zip(grid, combination, strict=True)), **typed}
            try:
                values = source.check({str(key): value for key, value in mine.items()})
            except RefusedError as error:
                raise RefusedError(f"{path}: {error}") from None
            own.append(runs.setdefault(source.identity(values), values))
        rows.append(Row(name, changes, tuple(own)))
    there = [row.name for row in rows]
    if unknown := [str(row) for pair in content.get("against", {}).items() for row in pair if str(row) not in there]:
        raise RefusedError(
            f"{path}: against names {unknown[0]!r}, which is no row; write against: {{row: base}} with two of "
            f"{', '.join(there)}"
        )
    if not runs:
        raise RefusedError(f"{path} has no runs; fill 'list', and give every parameter under 'grid' at least one value")
    return Plan(
        path,
        source,
        content.get("table"),
        tuple(runs.values()),
        content.get("timeout"),
        tuple(rows),
        {str(folder): str(command) for folder, command in content.get("needs", {}).items()},
        {str(name): str(figure) for name, figure in content.get("columns", {}).items()},
        {str(row): str(base) for row, base in content.get("against", {}).items()},
    )


def _merge_parameters(shared: Mapping, entry: Mapping) -> dict:
    """The shared parameters updated by the entry's; settings and options are merged, the entry's values win."""
    both = {key for key in entry if isinstance(entry[key], dict) and isinstance(shared.get(key), dict)}
    return {**shared, **entry, **{key: {**shared[key], **entry[key]} for key in both}}


def _entries(content: dict, path: Path) -> Iterator[tuple[str, dict, dict]]:
    """(row, what it changes, its parameters): first the table's rows, then the list's, or the list's alone."""
    listed, changes = content.get("list", []), content.get("rows", {})
    for entry in listed:
        if not isinstance(entry, dict):
            raise RefusedError(f"{path}: {entry!r} in 'list' must be a mapping; write - {{system: mss-unet}}")
    rows: dict[str, dict] = {name: {} for name in changes} or {"": {}}
    if "table" in content:
        rows = rows_of(content["table"], path)
    if unknown := [row for row in changes if row not in rows]:
        near = nearest(str(unknown[0]), rows, 1)
        hint = f"the nearest is {near[0]!r}" if near else f"there are {', '.join(rows)}"
        raise RefusedError(f"{path}: rows names {unknown[0]!r}, but no system fills such a row; {hint}")
    if "list" not in content or "rows" in content:
        for row, filler in rows.items():
            for change in changes[row] if isinstance(changes.get(row), list) else [changes.get(row) or {}]:
                if not isinstance(change, dict):
                    raise RefusedError(f"{path}: rows: {row}: {change!r} must be a mapping; write {{mirror: true}}")
                yield row, change, _merge_parameters(filler, change)
    for entry in listed:
        yield str(entry.get("system", "")), entry, entry


def rows_of(table: str, path: Path) -> dict[str, dict]:
    """Row -> its parameters, for each row of a published table that one of our systems fills."""
    from dsnotes.runs.paper_tables import published

    try:
        fillers = published(table).fillers
    except RefusedError as error:
        raise RefusedError(f"{path}: {error}") from None
    return {row: {"system": one.system, "options": dict(one.options)} for row, one in fillers.items()}


def _content(path: Path) -> dict:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        beside = [p.name for p in path.parent.glob("*.yml")] if path.parent.is_dir() else []
        near = nearest(path.name, beside, 1)
        hint = f"did you mean {path.parent / near[0]}?" if near else "give the path of a .yml, such as sweeps/mss-2.yml"
        raise RefusedError(f"the sweep {path} cannot be read ({error.strerror}); {hint}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise RefusedError(f"{path} has no keys; it needs at least notebook: … and parameters: … or list: …")
    for key, value in content.items():
        if key not in KEYS:
            near = nearest(key, KEYS, 1)
            hint = f"the nearest is {near[0]!r}" if near else f"there are {', '.join(KEYS)}"
            raise RefusedError(f"{path}: there is no key {key!r}; {hint}")
        if not isinstance(value, KEYS[key]) or isinstance(value, bool):
            kind = KEYS[key][-1] if isinstance(KEYS[key], tuple) else KEYS[key]
            raise RefusedError(f"{path}: {key}: {value!r} is {type(value).__name__}, but must be a {kind.__name__}")
    if not 0 < content.get("timeout", 1) < math.inf:
        raise RefusedError(f"{path}: timeout: {content['timeout']} must be positive; give seconds, such as 3600")
    if "notebook" not in content:
        raise RefusedError(f"{path} names no notebook; add for instance notebook: ../notebooks/80_experiment.py")
    for name, values in content.get("grid", {}).items():
        if not isinstance(values, list):
            raise RefusedError(f"{path}: grid: {name}: {values!r} is not a list; write {name}: [{values}]")
    return content
