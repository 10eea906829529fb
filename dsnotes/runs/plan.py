"""A sweep's file: which runs of which notebook.

notebook: ../notebooks/80_experiment.py  # relative to this file
table: mss-2                             # one run a row of it, where no `list` says otherwise
parameters: {data: data/kits19}          # the same in every run
list:                                    # one after the other
  - {system: mss-unet}
  - {system: mss-unet, options: {preset: official_code}}
grid: {fold: [0, 1, 2, 3, 4], seed: [0, 1, 2]}   # each of the list with every combination
timeout: 86400                           # seconds a run
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsnotes.runs.source import RefusedError, Source, open_source
from dsnotes.safety.nearest import nearest

KEYS = {"notebook": str, "table": str, "parameters": dict, "list": list, "grid": dict, "timeout": (int, float)}


@dataclass(frozen=True)
class Plan:
    """`runs` are complete parameter sets, each once, in the file's order."""

    path: Path
    source: Source
    table: str | None
    runs: tuple[dict[str, Any], ...]
    timeout: float | int | None


def open_plan(path: str | os.PathLike, given: Mapping[str, str] | None = None) -> Plan:
    """Read and check all of a sweep's file; `given` are further parameters for every run, as typed."""
    path = Path(path)
    content = _content(path)
    source = open_source(path.parent / content["notebook"])
    shared, typed = content.get("parameters", {}), source.read(given or {})
    rows = rows_of(content["table"], path) if "table" in content else [{}]
    entries, grid = content.get("list", rows), content.get("grid", {})
    runs: dict[str, dict] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            raise RefusedError(f"{path}: {entry!r} in 'list' is no set of parameters; write - {{system: mss-unet}}")
        if twice := [str(name) for name in entry if name in grid]:
            raise RefusedError(f"{path}: 'list' and 'grid' both give {', '.join(twice)}; leave it to one of them")
        for combination in itertools.product(*(grid[name] for name in grid)):
            mine = {**shared, **entry, **dict(zip(grid, combination, strict=True)), **typed}
            try:
                values = source.check({str(name): value for name, value in mine.items()})
            except RefusedError as error:
                raise RefusedError(f"{path}: {error}") from None
            runs.setdefault(source.identity(values), values)
    if not runs:
        raise RefusedError(f"{path} asks for no run; an empty 'list', or an empty list under 'grid', leaves none")
    return Plan(path, source, content.get("table"), tuple(runs.values()), content.get("timeout"))


def rows_of(table: str, path: Path) -> list[dict]:
    """One entry a row of a published table that some system of ours can fill."""
    from dsnotes.runs.paper_tables import published

    try:
        return [{"system": one.system, "options": dict(one.options)} for one in published(table).fillers.values()]
    except RefusedError as error:
        raise RefusedError(f"{path}: {error}") from None


def _content(path: Path) -> dict:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        beside = [p.name for p in path.parent.glob("*.yml")] if path.parent.is_dir() else []
        near = nearest(path.name, beside, 1)
        hint = f"did you mean {path.parent / near[0]}?" if near else "give the path of a .yml, such as sweeps/mss-2.yml"
        raise RefusedError(f"the sweep {path} cannot be read ({error.strerror}); {hint}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RefusedError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise RefusedError(f"{path} holds no keys; it needs at least notebook: … and parameters: … or list: …")
    for key, value in content.items():
        if key not in KEYS:
            near = nearest(key, KEYS, 1)
            hint = f"the nearest is {near[0]!r}" if near else f"there are {', '.join(KEYS)}"
            raise RefusedError(f"{path}: there is no key {key!r}; {hint}")
        if not isinstance(value, KEYS[key]) or isinstance(value, bool):
            kind = KEYS[key][-1] if isinstance(KEYS[key], tuple) else KEYS[key]
            raise RefusedError(f"{path}: {key}: {value!r} is {type(value).__name__}, but must be a {kind.__name__}")
    if not 0 < content.get("timeout", 1) < math.inf:
        raise RefusedError(f"{path}: timeout: {content['timeout']} leaves no time; give seconds, such as 3600")
    if "notebook" not in content:
        raise RefusedError(f"{path} names no notebook; add for instance notebook: ../notebooks/80_experiment.py")
    for name, values in content.get("grid", {}).items():
        if not isinstance(values, list):
            raise RefusedError(f"{path}: grid: {name}: {values!r} is no list; write {name}: [{values}]")
    return content
