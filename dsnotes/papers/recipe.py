"""What a paper's module declares for each of its systems: how to build it, and which tables it is a row of."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from dsnotes.training.system import System


@dataclass(frozen=True)
class Recipe:
    """`make(name, in_channels=, classes=, width=, dims=, **options)` -> System; width and dims are the paper's."""

    make: Callable[..., System]
    width: int
    dims: int
    tables: tuple[str, ...] = ()  # such as "mss-2": the paper's short name and the table's number
    options: dict[str, str] = field(default_factory=dict)  # keyword -> what it chooses, for `systems()` and errors
    papers: tuple[str, ...] = ()  # modules of the papers that have it; by default those of its tables

    def __post_init__(self) -> None:
        if not self.papers:
            named = (table.rpartition("-")[0] for table in self.tables)
            object.__setattr__(self, "papers", tuple(dict.fromkeys(stems().get(name, name) for name in named)))


@cache
def stems() -> dict[str, str]:
    """Short name -> module, such as "mss" (of "mss-2") -> "mss_unet"."""
    return {short(path.stem): path.stem for path in sorted(Path(__file__).parent.glob("*.py"))}


def short(stem: str) -> str:
    """ "mss_unet" -> "mss", "mu_net" -> "mu-net"."""
    return stem.removesuffix("_unet").replace("_", "-")


@dataclass(frozen=True)
class Table:
    """A published table: `rows[system][column]`, as printed. `slips` lists the paper's errors."""

    caption: str
    columns: tuple[str, ...]
    rows: dict[str, tuple]  # system or printed name -> one value per column; None where it is unreadable
    slips: tuple[str, ...] = ()
    starred: str | None = None  # the row that the others are tested against
    # How our runs fill it, where names alone do not tell (read by runs/paper_tables.py):
    runs: dict[str, dict] = field(default_factory=dict)  # row -> parameters, for a row that is not named after a system
    metrics: dict[str, str] = field(default_factory=dict)  # column -> our name for it, such as "dice_kidney"
    unfilled: dict[str, str] = field(default_factory=dict)  # row -> why none of our systems fills it


def tables_of(stem: str) -> dict[int, Table]:
    """A paper's tables by number, from `tables/<stem>.toml`, where lists become tuples and "-" None."""
    text = (Path(__file__).parent / "tables" / f"{stem}.toml").read_text(encoding="utf-8")
    return {int(number): Table(**_frozen(parts)) for number, parts in tomllib.loads(text).items()}


def _frozen(value: object) -> object:
    if isinstance(value, dict):
        return {key: _frozen(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    return None if value == "-" else value
