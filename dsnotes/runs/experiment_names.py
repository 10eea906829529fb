"""Checks names that a notebook passes to the library before its first cell: systems, options, settings, data.

The notebook's own kernel does it (`refusal`), because the names are in modules that import torch, which takes seconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from dsnotes.runs.results_io import RefusedError, path
from dsnotes.runs.source import Source
from dsnotes.safety.nearest import suggest
from dsnotes.safety.quick_imports import quick_imports


def check_names(source: Source, values: Mapping[str, Any]) -> None:
    """Reject unknown names early, which the notebook would only find after minutes; checks only what its code uses."""
    _check(names_in(source, values))


def names_in(source: Source, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the notebook's code passes to the library as names."""
    code = "\n".join(cell["source"] for cell in source.notebook["cells"] if cell["cell_type"] == "code")
    found: dict[str, Any] = {}
    if re.search(r"\bbuild\(system\b", code) and isinstance(values.get("system"), str):
        found |= {"system": values["system"], "options": values.get("options") or {}}
    if re.search(r"\bsystem_of\(", code):
        found |= {"recipe": str(values.get("recipe") or ""), "loss": str(values.get("loss") or "")}
    if re.search(r"\bsettings_of\(\w+, settings\b|\bsystem_of\(", code) and isinstance(values.get("settings"), dict):
        found["settings"] = values["settings"]
    if re.search(r"\bcases_of\(data\b", code) and isinstance(values.get("data"), str):
        found["data"] = values["data"]
    return found


def refusal(names: str) -> str:
    """Why the names (JSON) are refused, or an empty text."""
    try:
        with quick_imports():
            _check(json.loads(names))
    except RefusedError as error:
        return str(error)
    return ""


def _check(names: Mapping[str, Any]) -> None:
    if "system" in names:
        _check_system(names["system"], names["options"])
    if "recipe" in names:
        _check_recipe(names["recipe"], names["loss"])
    if "settings" in names:
        _check_settings(names["settings"])
    if "data" in names:
        _check_data(names["data"])


def _check_system(name: str, options: Mapping[str, Any]) -> None:
    from dsnotes.papers import recipes, unknown_name

    if name not in recipes():
        raise RefusedError(f"system={name}: {unknown_name(name)}")
    known = ["dims", *recipes()[name].options]  # the axes are an argument of `build`
    for option in options:
        if option not in known:
            raise RefusedError(f"options={dict(options)}: {name} has no option {option!r}; {suggest(option, known)}")


def _check_settings(settings: Mapping[str, Any]) -> None:
    from dsnotes.training.settings import Settings

    known = [one.name for one in fields(Settings)]
    for name in settings:
        if name not in known:
            raise RefusedError(f"settings={dict(settings)}: there is no setting {name!r}; {suggest(name, known)}")
    try:
        replace(Settings(), **{name: tuple(x) if isinstance(x, list) else x for name, x in settings.items()})
    except (TypeError, ValueError) as error:
        raise RefusedError(f"settings={dict(settings)}: {error}") from None


def _check_recipe(recipe: str, loss: str) -> None:
    from dsnotes.papers.protocol import LOSSES, OWN, protocols

    for name, value, known in (("recipe", recipe, [OWN, *protocols()]), ("loss", loss, list(LOSSES))):
        if value and value not in known:
            raise RefusedError(f"{name}={value}: there is no such {name}; {suggest(value, known)}")


def _check_data(data: str) -> None:
    from dsnotes.runs.experiment import PHANTOMS

    if data not in PHANTOMS and not path(data).is_dir():
        raise RefusedError(
            f"data={data}: there is no such folder, and no phantoms are called so; {suggest(data, PHANTOMS)}. "
            f"`dsnotes adopt SCANS --output {data}` makes a folder of your own scans"
        )
