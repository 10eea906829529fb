"""Whether `fit` was handed a system and cases, before anything looks into them."""

from __future__ import annotations

from pathlib import Path

from dsnotes.data.case import Case
from dsnotes.training.system import System


def refuse_no_system(system: object) -> None:
    if isinstance(system, str):
        raise TypeError(f"{system!r} is a name, fit trains what was built. Pass dsnotes.build({system!r}).")
    if not isinstance(system, System):
        raise TypeError(
            f"fit trains a System, and a {type(system).__name__} came. Pass one that was built, such as "
            f"dsnotes.build('unet-2d'), or dsnotes.training.system.System(name, network, objective)."
        )


def refuse_no_cases(name: str, cases: object) -> None:
    """Epochs come back to the cases, so they have a length and a place each."""
    if isinstance(cases, Case):
        raise TypeError(f"{name} is a single case, {cases.name!r}. Pass a list: {name}=[case].")
    if isinstance(cases, str | Path):
        raise TypeError(f"{name}={str(cases)!r} is a path. Pass what is there: dsnotes.open_dataset({str(cases)!r}).")
    if isinstance(cases, dict) or not (hasattr(cases, "__len__") and hasattr(cases, "__getitem__")):
        raise TypeError(
            f"{name} is a {type(cases).__name__}, but every epoch comes back to the cases. Pass them as a list: "
            f"{name}=list(cases{'.values()' if isinstance(cases, dict) else ''})."
        )
    for place, case in enumerate(cases if isinstance(cases, list | tuple) else ()):
        if not isinstance(case, Case):
            raise TypeError(
                f"{name}[{place}] is a {type(case).__name__}, not a case. Make each of them one: "
                f"dsnotes.data.case.Case(name, image, label, spacing), or read them by dsnotes.open_case."
            )
