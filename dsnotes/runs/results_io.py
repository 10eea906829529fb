"""How a notebook records its metrics; outside a run they are shown but not saved.

from dsnotes import runs
runs.record({case.name: dsnotes.score(label, case.label, spacing=case.spacing) for …}, system="mss-unet", seed=0)
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dsnotes.safety import checksums
from dsnotes.safety.atomic import write_text

RUN, STARTED_FROM = "DSNOTES_RUN", "DSNOTES_STARTED_FROM"
METRICS = "metrics.json"
COSTS = {"steps": "steps", "seconds": "training seconds", "peak MiB": "peak MiB"}  # column -> key of about["run"]


class RefusedError(ValueError):
    """The request cannot be fulfilled; the message is one line and says what to type instead."""


def folder() -> Path | None:
    """The folder of the run that executes this notebook; files saved there are found again after a kill.

    None outside `dsnotes run`, so `dsnotes.fit(…, out=runs.folder())` saves nothing then.
    """
    return Path(os.environ[RUN]) if os.environ.get(RUN) else None


def path(text: str) -> Path:
    """A path relative to where `dsnotes run` was typed; the notebook itself runs in its own folder."""
    return Path(os.environ.get(STARTED_FROM, ""), text)


def rank() -> int:
    """This process's torchrun rank: all compute, only rank 0 saves. (training.devices would import torch.)"""
    return int(os.environ.get("RANK", 0))


def record(cases: Mapping[str, Mapping[str, Any]] | None = None, **about: Any) -> Recorded:
    """Record the metrics of every case, and anything else about the run; returns them as a table.

    `cases` is name -> metric -> number. Several calls add up. In a run they are saved in `result.json`.
    """
    rows = {str(name): {key: _number(key, x) for key, x in row.items()} for name, row in (cases or {}).items()}
    try:
        told = json.loads(json.dumps(about, default=_plain))
    except TypeError as error:
        raise TypeError(
            f"runs.record keeps numbers, text, lists and dicts, but {error}. Pass for instance float(x) or str(x)."
        ) from error
    where = folder()
    if where is not None and rank() == 0:
        known = read_metrics(where)
        write_json(where / METRICS, {"cases": {**known["cases"], **rows}, "about": {**known["about"], **told}})
    return Recorded([{"case": name, **row} for name, row in rows.items()] or [told])


class Recorded:
    """Rows shown as a table; the viewers need torch and are imported only when the table is shown."""

    def __init__(self, rows: list[dict]) -> None:
        self.rows = rows

    def _table(self) -> Any:
        from dsnotes.viewers import Table

        return Table(self.rows)

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()

    def __repr__(self) -> str:
        return repr(self._table())


def read_metrics(where: Path) -> dict:
    try:
        return read_json(where / METRICS)
    except FileNotFoundError:
        return {"cases": {}, "about": {}}


def write_json(path: Path, content: Any) -> None:
    """Write atomically: a kill leaves the old file or the new one. JSON has no infinity, so "inf" becomes a string."""
    write_text(path, json.dumps(_spelt(content), indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict:
    """Read a run's JSON file; `RefusedError` if its content is not a run's, FileNotFoundError if it does not exist."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise RefusedError(f"cannot read {path} ({error}); {_remedy(path)}") from None
    if not isinstance(found, dict):
        raise RefusedError(f"{path} contains a {type(found).__name__}, but a run writes an object; {_remedy(path)}")
    return found


def write_result(path: Path, content: Mapping[str, Any]) -> None:
    """Write as JSON, with the sha256 of its content."""
    write_json(path, checksums.stamped(_spelt(content)))


def read_result(path: Path) -> dict:
    """Read what `write_result` wrote; `RefusedError` if its sha256 does not match."""
    try:
        return checksums.require_stamped(read_json(path), path)
    except checksums.DamagedError as error:
        raise RefusedError(f"{error} {_remedy(path).capitalize()}") from None


def _remedy(path: Path) -> str:
    return f"delete {path} and type the same `dsnotes run` again"


def _number(key: str, value: Any) -> float | None:
    if value is None or isinstance(value, (bool, int)):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"runs.record needs a number per case for {key!r}, got {value!r}. Pass other values as keywords, such as "
            f"runs.record(cases, {key}=…)."
        ) from None


def _plain(value: Any) -> Any:
    """Paths and NumPy or torch values as plain Python ones."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"got {value!r}")


def _spelt(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _spelt(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spelt(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
