"""The training and scoring protocol that all rows of a paper's tables share, read from `protocols/<stem>.toml`.

A comparison is fair if rows differ only in what their names say. `said` quotes or cites the paper for each value.
"-" in the files is None; `like` copies another protocol.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from dsnotes.safety.nearest import nearest
from dsnotes.supervision.pixelwise import Pixelwise
from dsnotes.supervision.plain import Plain
from dsnotes.supervision.regions import Regions
from dsnotes.supervision.two_pathway import TwoPathway
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

# Losses of the output alone, for rows without their own supervision.
LOSSES = {
    "ce+dice": Plain(),
    "dice": Plain(cross_entropy=0.0, squared=False, over_batch=False),
    "bce": Plain(dice=0.0),
    "bce/2+dice": Plain(cross_entropy=0.5, squared=False, over_batch=False),
    "msds-dice": TwoPathway(objective="none", sides="4"),  # MSDS-UNet's d, also trained on patches without tumour
}
OWN = "own"  # train as the row's own paper does


@dataclass(frozen=True)
class Protocol:
    """`split`: dataset -> (train, validation, test) of each fold, in patients (DSNet: nodules)."""

    settings: Settings
    loss: str
    eps: float = 0  # added to numerator and denominator of each score
    split: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)  # field -> where the paper gives the value, or "Not printed."


@cache
def protocols() -> dict[str, Protocol]:
    found: dict[str, Protocol] = {}
    for path in sorted((Path(__file__).parent / "protocols").glob("*.toml")):
        for name, parts in tomllib.loads(path.read_text(encoding="utf-8")).items():
            found[name] = _protocol(parts, found)
    return found


def protocol(name: str) -> Protocol:
    if name not in protocols():
        near = nearest(name, protocols(), cutoff=0.3) or list(protocols())
        raise ValueError(f"recipe={name!r} is unknown. Choose one of {', '.join(near)}, or {OWN!r}.")
    return protocols()[name]


def under(system: System, name: str, loss: str = "") -> System:
    """The system with the protocol's settings, and with its loss if the row has only a loss on the output.

    "own" keeps the settings and loss of the system's own paper. `loss` overrides the protocol's.
    """
    if name == OWN:
        return with_loss(system, loss) if loss else system
    chosen = protocol(name)
    return with_loss(replace(system, settings=chosen.settings), loss or chosen.loss)


def with_loss(system: System, loss: str) -> System:
    """The system with another loss on its output; a system with its own supervision keeps it."""
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
