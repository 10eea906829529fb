"""What the rows of a paper's tables share: one way to train and to score, read from `protocols/<stem>.toml`.

A comparison says something where rows differ in what they are called. Each value stands beside what the paper says of
it (`said`). "-" in the files is None, `like` takes over another protocol.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from dsnotes.supervision.pixelwise import Pixelwise
from dsnotes.supervision.plain import Plain
from dsnotes.supervision.regions import Regions
from dsnotes.supervision.two_pathway import TwoPathway
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

# Losses of the output alone, for rows that bring no supervision of their own.
LOSSES = {
    "ce+dice": Plain(),
    "dice": Plain(cross_entropy=0.0, squared=False, over_batch=False),
    "bce": Plain(dice=0.0),
    "bce/2+dice": Plain(cross_entropy=0.5, squared=False, over_batch=False),
    "msds-dice": TwoPathway(objective="none", sides="4"),  # MSDS-UNet's d, which learns from patches without tumour too
}
OWN = "own"  # a row's own paper's way


@dataclass(frozen=True)
class Protocol:
    """`split`: dataset -> (train, validation, test) of each fold, in patients (DSNet: nodules)."""

    settings: Settings
    loss: str
    eps: float | int = 0  # above and below each ratio of a score
    split: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)  # field -> where the paper says so, or that it does not


@cache
def protocols() -> dict[str, Protocol]:
    found: dict[str, Protocol] = {}
    for path in sorted((Path(__file__).parent / "protocols").glob("*.toml")):
        for name, parts in tomllib.loads(path.read_text(encoding="utf-8")).items():
            found[name] = _protocol(parts, found)
    return found


def protocol(name: str) -> Protocol:
    if name not in protocols():
        near = get_close_matches(name, protocols(), n=3, cutoff=0.3) or list(protocols())
        raise ValueError(f"recipe={name!r} is unknown. Choose one of {', '.join(near)}, or {OWN!r}.")
    return protocols()[name]


def under(system: System, name: str, loss: str = "") -> System:
    """The system trained as the protocol says: its settings, and its loss where the row has only a loss on the output.

    "own" leaves the system as its own paper has it. `loss` is a row's choice of another.
    """
    if name == OWN:
        return with_loss(system, loss) if loss else system
    chosen = protocol(name)
    return with_loss(replace(system, settings=chosen.settings), loss or chosen.loss)


def with_loss(system: System, loss: str) -> System:
    """The system on another loss of its output; one with supervision of its own keeps that."""
    if loss not in LOSSES:
        raise ValueError(f"loss={loss!r} is unknown. Choose one of {', '.join(map(repr, LOSSES))}.")
    if isinstance(goal := system.objective, Regions):
        binary = with_loss(replace(system, objective=goal.binary), loss).objective
        return replace(system, objective=replace(goal, binary=binary))
    return replace(system, objective=LOSSES[loss]) if on_output_alone(system) else system


def on_output_alone(system: System) -> bool:
    goal = system.objective
    return isinstance(goal, Plain | Pixelwise) or (isinstance(goal, TwoPathway) and not goal.parts)


def _protocol(parts: Mapping, found: Mapping[str, Protocol]) -> Protocol:
    base = found[parts["like"]] if "like" in parts else None
    given = {key: _plain(value) for key, value in parts.get("settings", {}).items()}
    settings = replace(base.settings, **given) if base else Settings(**given)
    split = {data: tuple(map(tuple, folds)) for data, folds in parts.get("split", {}).items()}
    if base is None:
        return Protocol(settings, parts["loss"], parts.get("eps", 0), split, dict(parts["said"]))
    changed = {key: parts[key] for key in ("loss", "eps") if key in parts}
    return replace(base, settings=settings, said=base.said | parts["said"], split=base.split | split, **changed)


def _plain(value: object) -> object:
    if isinstance(value, list):
        return tuple(value)
    return None if value == "-" else value
