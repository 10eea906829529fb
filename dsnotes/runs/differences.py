"""In which resolved settings the rows of a sweep differ: `dsnotes sweep FILE --dry-run` prints it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from itertools import combinations
from typing import Any

from dsnotes.papers.protocol import LOSSES, on_output_alone
from dsnotes.runs.experiment import system_of
from dsnotes.runs.plan import Plan, Row
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

# Parameters that `resolved` shows in another form, as settings or as the built supervision.
SHOWN = ("system", "options", "recipe", "preset", "settings", "loss", "width", "augment", "batch", "epochs",
         "iterations", "lr", "patch", "fold", "seed", "device")  # fmt: skip

ALONE = "loss "  # prefix of a loss on the output alone, without the row's own supervision
SETTINGS = {each.name for each in fields(Settings)} | {"supervision"}


def resolved(values: Mapping[str, Any]) -> dict[str, str]:
    """Everything that determines a run except the network: settings, loss, and the notebook's other parameters."""
    if "system" not in values:
        return {name: str(value) for name, value in values.items() if name not in ("fold", "seed")}
    system = _built(json.dumps({k: v for k, v in values.items() if k not in ("fold", "seed")}, sort_keys=True))
    found = {name: str(value) for name, value in asdict(system.settings).items()}
    found |= {_outside(name): str(value) for name, value in values.items() if name not in SHOWN}
    return found | {"supervision": supervision(system)}


def _outside(name: str) -> str:
    """Tells a notebook parameter from a setting of the same name: `clip` is of grey values and of gradients."""
    return f"{name} of the notebook" if name in SETTINGS and name not in SHOWN else name


def supervision(system: System) -> str:
    """The loss's name if it is on the output alone, else the row's own supervision."""
    names = [name for name, loss in LOSSES.items() if loss == system.objective]
    if names or on_output_alone(system):
        return f"{ALONE}{names[0] if names else brief(system.objective)}"
    return brief(system.objective)


def brief(value: Any) -> str:
    """A supervision by the fields that differ from their defaults; a function by its name."""
    if not is_dataclass(value):
        return getattr(value, "__name__", repr(value))
    default = {each.name: each.default for each in fields(value)}
    own = {name: getattr(value, name) for name in default}
    changed = ", ".join(f"{name}={brief(own[name])}" for name in own if own[name] != default[name])
    return f"{type(value).__name__}({changed})"


def differences(plan: Plan) -> dict[str, dict[str, tuple[str, str]]]:
    """Row -> what differs -> (the first row's value, its own)."""
    rows = labelled(plan)
    first = resolved(next(iter(rows.values())).runs[0])
    found = {}
    for name, row in rows.items():
        own = resolved(row.runs[0])
        found[name] = {
            key: (first.get(key, ""), own.get(key, ""))
            for key in dict.fromkeys([*first, *own])
            if first.get(key, "") != own.get(key, "")
        }
    return found


def labelled(plan: Plan) -> dict[str, Row]:
    """Rows by name; rows with the same name also get what they change."""
    count = [row.name for row in plan.rows].count
    return {
        f"{row.name} {' '.join(f'{k}={v}' for k, v in row.changes.items() if v != row.name)}".strip()
        if count(row.name) > 1
        else row.name: row
        for row in plan.rows
    }


def unfair(plan: Plan) -> list[str]:
    """One line per pair of rows and difference between them that neither row declares.

    A row declares a parameter by setting it; `recipe` declares all settings and the loss. A row's own supervision
    needs no declaration: the row is named after it.
    """
    rows = [(name, resolved(row.runs[0]), _named(row)) for name, row in labelled(plan).items()]
    lines = []
    for (name, own, said), (other, theirs, also) in combinations(rows, 2):
        for what in dict.fromkeys([*own, *theirs]):
            named = what in said | also or ("recipe" in said | also and what in SETTINGS)
            of_their_own = what == "supervision" and not all(x[what].startswith(ALONE) for x in (own, theirs))
            same = own.get(what) == theirs.get(what) or (what == "patch" and _of_slices(own[what], theirs[what]))
            if not same and not named and not of_their_own:
                lines.append(f"{name} and {other} differ in {what}: {own.get(what)}, {theirs.get(what)}")
    return lines


def _of_slices(one: str, other: str) -> bool:
    """Whether one is the other's last axes: a 2-D network takes its slices from the same volumes."""
    short, long = sorted((one.strip("()"), other.strip("()")), key=len)
    return long.endswith(short)


def _named(row: Row) -> set[str]:
    chosen = "loss" in row.changes or "supervision" in row.changes.get("options", {})
    of_the_loss = {"supervision"} if chosen else set()
    return {_outside(name) for name in row.changes} | set(row.changes.get("settings", {})) | of_the_loss


@cache
def _built(values: str) -> System:
    import torch

    with torch.device("meta"):
        return system_of(json.loads(values))
