"""Reads the results in a folder, and finds the parameters in which runs differ."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsnotes.runs.notebook import BEGUN, FAILURE, RESULT
from dsnotes.runs.results_io import read_json, read_result
from dsnotes.runs.source import RefusedError
from dsnotes.safety.nearest import suggest

ACROSS = ("fold", "seed")  # a table's row averages over these
DATASETS = {  # a table's word for a dataset -> what its folder may be called
    "brats": ("brats", "braintumour"),
    "cardiac": ("cardiac", "heart"),
    "lnsm": ("lnsm", "deeplesion"),
    "isbi": ("isbi", "membrane"),
    "promise": ("promise", "prostate"),
}


@dataclass(frozen=True)
class Result:
    """`cases`: name -> figure -> number; `about`: what else the notebook recorded."""

    folder: Path
    parameters: dict[str, Any]
    cases: dict[str, dict[str, float]]
    about: dict[str, Any]
    started: str
    lacking: str = ""  # why there is no result: the run failed or has not finished

    @property
    def system(self) -> str:
        return str(self.about.get("system") or self.parameters.get("system", ""))

    @property
    def options(self) -> tuple[tuple[str, Any], ...]:
        return tuple(sorted((self.parameters.get("options") or {}).items()))

    @property
    def dataset(self) -> str:
        return str(self.about.get("dataset") or self.parameters.get("data", ""))

    def across(self, name: str) -> Any:
        return self.parameters.get(name, 0)


def results(folder: str | os.PathLike, where: Mapping[str, str] | None = None) -> list[Result]:
    """Every run in `folder`, finished or not, whose parameters match `where`; the newest of equal runs."""
    folder = Path(folder)
    if not folder.is_dir():
        raise RefusedError(
            f"there is no folder {folder}; fill it with `dsnotes sweep … --out {folder}`, or name another with --runs"
        )
    found = [one for kept in sorted(folder.glob("*/")) if (one := _read(kept)) is not None]
    known = {name for one in found for name in one.parameters}
    for name in where or {}:
        if found and name not in known:
            raise RefusedError(f"no run in {folder} has a parameter {name!r}; {suggest(name, sorted(known))}")
    found = [one for one in found if all(_matches(one.parameters.get(k), text) for k, text in (where or {}).items())]
    newest: dict[str, Result] = {}
    for one in sorted(found, key=lambda one: (not one.lacking, one.started)):  # finished ones last
        newest[f"{one.folder.name.rpartition('-')[0]} {json.dumps(one.parameters, sort_keys=True)}"] = one
    return list(newest.values())


def differing(runs: Iterable[Result]) -> dict[str, list[str]]:
    """Parameters other than fold, seed, system and options in which these runs differ, with their values."""
    met: dict[str, set[str]] = {}
    for one in runs:
        for parameter, value in one.parameters.items():
            if parameter not in (*ACROSS, "system", "options"):
                met.setdefault(parameter, set()).add(json.dumps(value, sort_keys=True))
    return {parameter: sorted(values) for parameter, values in met.items() if len(values) > 1}


def is_of(dataset: str, word: str) -> bool:
    """Whether a folder such as data/Task02_Heart is the dataset that a table calls "cardiac"."""
    plain = "".join(letter for letter in dataset.lower() if letter.isalnum())
    return any(alias in plain for alias in DATASETS.get(word.lower(), (word.lower(),)))


def _read(folder: Path) -> Result | None:
    for name in (RESULT, FAILURE, BEGUN):
        try:
            content = (read_result if name == RESULT else read_json)(folder / name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            return _result(folder, name, content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RefusedError(
                f"{folder / name} was not written by a run ({type(error).__name__}: {error}); delete {folder} and type "
                f"the same `dsnotes run` again"
            ) from None
    return None


def _result(folder: Path, name: str, content: dict) -> Result:
    cases = {
        case: {key: float("nan") if x is None else float(x) for key, x in row.items()}
        for case, row in content.get("cases", {}).items()
    }
    started, parameters, about = content["started"], content["parameters"], content.get("about", {})
    if not (isinstance(started, str) and isinstance(parameters, dict) and isinstance(about, dict)):
        raise TypeError("'started' must be a string, 'parameters' and 'about' must be objects")
    lacking = {
        RESULT: "",
        FAILURE: f"failed, {content.get('error')}",
        BEGUN: f"started {started}, not finished; the same command resumes it",
    }
    return Result(folder, parameters, cases, about, started, lacking[name])


def _matches(value: Any, text: str) -> bool:
    return str(value) == text or json.dumps(value) == text or repr(value) == text
