"""The identity of a run: everything that determines its result, so that only the same run is resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from torch import Tensor, nn

from dsnotes.data.case import Case
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

HEX = 16  # hex digits of a digest: collisions are negligible


def describe_run(
    system: System,
    settings: Settings,
    train: Sequence[Case],
    val: Sequence[Case] | None,
    *,
    seed: int,
    processes: int,
) -> dict[str, Any]:
    """A JSON-like description of the run; `checkpoints.refuse_other_run` compares two of them field by field."""
    return {
        "system": system.name,
        "build": writable(system.arguments),
        "objective": {"is": type(system.objective).__qualname__, **fields_of(system.objective)},
        "network": layers(system.network),
        "step": plain(system.make_step),
        "settings": json.loads(json.dumps(asdict(settings))),
        "seed": seed,
        "processes": processes,
        "training data": data(train),
        "validation data": data(val or ()),
    }


def writable(arguments: Mapping[str, object] | None) -> dict | None:
    """The arguments a system was built with, as JSON; an object that JSON cannot hold becomes its type, "<System>"."""
    if arguments is None:
        return None
    return json.loads(json.dumps(dict(arguments), default=lambda x: str(x) if isinstance(x, Path) else _type_name(x)))


def is_unwritten(value: object) -> bool:
    return isinstance(value, str) and value.startswith("<") and value.endswith(">")


def _type_name(value: object) -> str:
    return f"<{type(value).__name__}>"


def fields_of(thing: object) -> dict[str, Any]:
    """The fields or attributes of an objective, except private ones and modules."""
    names = [one.name for one in fields(thing)] if is_dataclass(thing) else sorted(vars(thing))
    return {
        name: plain(value)
        for name in names
        if not name.startswith("_") and not isinstance(value := getattr(thing, name), nn.Module)
    }


def plain(value: Any) -> Any:
    """The value in JSON types, equal for equal values in every process."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor | np.ndarray):
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        return f"array {array.shape} {array.dtype} {digest(array)}"
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {"is": type(value).__qualname__, **fields_of(value)}
    if isinstance(value, partial):
        return [plain(value.func), plain(value.args), plain(value.keywords)]
    if isinstance(value, FunctionType | type) or callable(value):
        kind = value if hasattr(value, "__qualname__") else type(value)
        return f"{kind.__module__}.{kind.__qualname__}"
    return f"{type(value).__module__}.{type(value).__qualname__}"


def layers(network: nn.Module) -> dict[str, str]:
    """A digest of the structure of each part of the network, such as dropout rates, which no weight shows."""
    return {name: digest(repr(part).encode()) for name, part in network.named_children()}


def data(cases: Sequence[Case]) -> dict[str, Any]:
    """The number of cases, and digests of their names, shapes and labels.

    A dataset on disk provides its own digest (`identity()`); of other sequences that read cases on demand, only the
    first and the last case are used.
    """
    count = len(cases)
    if hasattr(cases, "identity"):
        return {"cases": count, **cases.identity()}
    looked = cases if isinstance(cases, list | tuple) else [cases[at] for at in sorted({0, count - 1}) if count]
    shapes = [(tuple(case.image.shape), case.spacing) for case in looked]
    return {
        "cases": count,
        "names": digest(json.dumps([case.name for case in looked]).encode()),
        "shapes": digest(
            json.dumps([(shape, case.spacing) for shape, case in zip(shapes, looked, strict=True)]).encode()
        ),
        "labels": digest(*(case.label for case in looked if case.label is not None)),
    }


def digest(*blocks: bytes | np.ndarray) -> str:
    found = hashlib.sha256()
    for block in blocks:
        found.update(block if isinstance(block, bytes) else np.ascontiguousarray(block).reshape(-1).view(np.uint8))
    return "sha256:" + found.hexdigest()[:HEX]
