"""A person's decisions on cases, in a CSV file written atomically: name, decision, time."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dsnotes.data.dataset import Dataset
from dsnotes.safety.atomic import atomic

HEADER = ["name", "decision", "time"]
WORDS = ("accept", "reject")
Cases = Sequence  # of Case; not Sequence[Case], since a runtime type check would open every case


def accepted(cases: Cases, decisions: str | os.PathLike = "decisions.csv") -> Cases:
    """The cases accepted in the file, in their own order: a dataset from a dataset, else a list."""
    path = Path(decisions)
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: decide first, with contact_sheet(cases, {str(decisions)!r}).")
    names = named(cases)
    decided = read_decisions(path)
    require_same_set(names, decided, path)
    chosen = [at for at, name in enumerate(names) if decided.get(name) == "accept"]
    return cases.subset(chosen) if isinstance(cases, Dataset) else [cases[at] for at in chosen]


def read_decisions(path: str | os.PathLike) -> dict[str, str]:
    """{name: "accept" or "reject"} from the file; the last row for a case counts."""
    return {name: word for name, word, _ in rows(Path(path))}


def named(cases: Cases) -> list[str]:
    names = list(cases.names) if isinstance(cases, Dataset) else [case.name for case in cases]
    if not names:
        raise ValueError("no case came. Pass a list of cases or a dataset with at least one.")
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"several cases are called {twice[0]!r}, but a decision is kept by name: give each its own.")
    return names


def require_same_set(names: list[str], decided: dict[str, str], path: Path) -> None:
    if decided and not set(names) & set(decided):
        raise ValueError(
            f"{path} decides on {len(decided)} other cases, such as {next(iter(decided))!r}, and on none of these "
            f"{len(names)}, such as {names[0]!r}. Pass another file as decisions=; for a part of a set pass all of it "
            f"and page=."
        )


def rows(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            header, *found = [row for row in csv.reader(stream) if row] or [[]]
    except OSError as error:
        raise OSError(
            f"{path} cannot be read ({error.strerror}). Pass a file that is yours to read and write."
        ) from error
    if header != HEADER:
        raise ValueError(
            f"{path} begins with {','.join(header)!r}, decisions with {','.join(HEADER)!r}. Pass another file as "
            f"decisions=; if a spreadsheet changed this one, save it with commas between its three columns."
        )
    for line, row in enumerate(found, start=2):
        if len(row) != len(HEADER) or row[1] not in WORDS:
            raise ValueError(
                f"{path}, line {line}: {','.join(row)!r} is no decision. Needed are a name, "
                f"{' or '.join(map(repr, WORDS))}, and a time; correct or delete the line."
            )
    return found


def write(path: Path, kept: list[list[str]]) -> None:
    """Write the whole file atomically, so that a crash leaves the old or the new one."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEADER, *kept])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path, "w", newline="", encoding="utf-8") as stream:
            stream.write(text.getvalue())
    except OSError as error:
        raise OSError(
            f"{path} cannot be written ({error.strerror}), so decisions would be lost. Pass decisions= in a folder "
            f"that is yours to write to and has space left."
        ) from error
