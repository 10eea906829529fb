"""What a notebook calls to hand over its figures; outside of a run these show and keep nothing.

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


class RefusedError(ValueError):
    """What was asked for cannot be; the message is one line and holds the remedy."""


def folder() -> Path | None:
    """The folder of the run that executes this notebook: what is kept there is found again after a kill.

    None where nobody runs it head-less, so `dsnotes.fit(…, out=runs.folder())` keeps nothing then.
    """
    return Path(os.environ[RUN]) if os.environ.get(RUN) else None


def path(text: str) -> Path:
    """A path as it was meant where `dsnotes run` was typed; a notebook itself works in its own folder."""
    return Path(os.environ.get(STARTED_FROM, ""), text)


def rank() -> int:
    """Which of torchrun's processes this is: all compute, the first alone keeps. (training.distributed loads torch.)"""
    return int(os.environ.get("RANK", 0))


def record(cases: Mapping[str, Mapping[str, Any]] | None = None, **about: Any) -> Recorded:
    """The figures of every case, and what else is to be known about the run; shows both as tables.

    `cases` is name -> figure -> number. Several calls add up. In a run all of it becomes `result.json`.
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
    """Rows that become a table when they are looked at: the viewers need torch, handing over does not."""

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
    """In one move, so that a kill leaves the old file or the new one. JSON knows no infinity: "inf" is text there."""
    write_text(path, json.dumps(_spelt(content), indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict:
    """What a run wrote there; `RefusedError` where it cannot be that, FileNotFoundError where there is nothing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise RefusedError(f"{path} cannot be read ({error}); {_remedy(path)}") from None
    if not isinstance(found, dict):
        raise RefusedError(f"{path} holds a {type(found).__name__}, not what a run writes; {_remedy(path)}")
    return found


def write_result(path: Path, content: Mapping[str, Any]) -> None:
    """As JSON, with the sha256 of all that it says."""
    write_json(path, checksums.stamped(_spelt(content)))


def read_result(path: Path) -> dict:
    """What `write_result` wrote, refused where a letter of it has changed."""
    try:
        return checksums.require_stamped(read_json(path), path)
    except checksums.DamagedError as error:
        raise RefusedError(f"{error} {_remedy(path).capitalize()}") from None


def _remedy(path: Path) -> str:
    return f"delete {path} and type the same `dsnotes run` again"


def _number(key: str, value: Any) -> float | int | None:
    if value is None or isinstance(value, (bool, int)):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"runs.record wants a number a case for {key!r}, and {value!r} came. What is no number belongs behind "
            f"the cases, such as runs.record(cases, {key}=…)."
        ) from None


def _plain(value: Any) -> Any:
    """NumPy's and torch's numbers and arrays, and paths."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} is none of them")


def _spelt(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _spelt(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spelt(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
