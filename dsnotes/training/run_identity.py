"""What makes a run: all that decides its result, so that the same command goes on and another one is refused."""

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

HEX = 16  # digits of a digest: enough that two never meet by chance


def describe_run(
    system: System,
    settings: Settings,
    train: Sequence[Case],
    val: Sequence[Case] | None,
    *,
    seed: int,
    processes: int,
) -> dict[str, Any]:
    """JSON-like; `checkpoints.refuse_other_run` compares two of them field by field."""
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
    """What a system was built with, as JSON gives it back; what is no value leaves its type, as "<System>"."""
    if arguments is None:
        return None
    return json.loads(json.dumps(dict(arguments), default=lambda x: str(x) if isinstance(x, Path) else _unwritten(x)))


def is_unwritten(value: object) -> bool:
    return isinstance(value, str) and value.startswith("<") and value.endswith(">")


def _unwritten(value: object) -> str:
    return f"<{type(value).__name__}>"


def fields_of(thing: object) -> dict[str, Any]:
    """The fields of an objective, or whatever it keeps that is no part of a network."""
    names = [one.name for one in fields(thing)] if is_dataclass(thing) else sorted(vars(thing))
    return {
        name: plain(value)
        for name in names
        if not name.startswith("_") and not isinstance(value := getattr(thing, name), nn.Module)
    }


def plain(value: Any) -> Any:
    """The value as JSON has it; equal for equal values in every process."""
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
    """A digest of how each part of the network is built: rates of dropout and the like, which no tensor shows."""
    return {name: digest(repr(part).encode()) for name, part in network.named_children()}


def data(cases: Sequence[Case]) -> dict[str, Any]:
    """How many cases, their names, shapes and labels.

    A dataset on disk that is read case by case tells its own digest (`identity()`); of another such sequence the first
    and the last case stand for all.
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
