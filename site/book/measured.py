"""The committed measurements and their machines: the tables that the scripts in benchmarks/ have saved."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

SCORE = re.compile(r"mean|Dice")


@dataclass(frozen=True)
class Row:
    """A system with its options, and its cells in the table."""

    system: str
    options: dict[str, object]
    cells: dict[str, str]

    @property
    def score(self) -> str:
        """The value to compare with a published score: a mean over cases, else a Dice."""
        for column in sorted((c for c in self.cells if SCORE.search(c)), key=lambda c: not c.startswith("mean")):
            return self.cells[column]
        return ""


@dataclass(frozen=True)
class Measurement:
    """One file of benchmarks/results/."""

    path: Path
    title: str
    circumstances: str
    body: str
    rows: tuple[Row, ...]

    @property
    def machine(self) -> str:
        """The machine, as the file names it."""
        found = re.search(r"on (?:a|an|one|\d).*?(?=\.(?: [A-Z]|$|\n))", self.circumstances, flags=re.S)
        return found[0].removeprefix("on ").replace("\n", " ") if found else self.circumstances


def measurements(folder: Path) -> list[Measurement]:
    return [read(path) for path in sorted(folder.glob("*.md"))]


def read(path: Path) -> Measurement:
    text = path.read_text(encoding="utf-8")
    title = re.search(r"^#+ +(.+)$", text, flags=re.M)[1]
    body = text.split("\n", 1)[1].strip("\n") if text.startswith("#") else text
    circumstances = next((part for part in body.split("\n\n") if part.strip() and not part.startswith("|")), "")
    return Measurement(path, title, circumstances.strip(), body, tuple(rows(body)))


def rows(body: str) -> list[Row]:
    found = []
    for table in re.findall(r"(?:^\|.*\n?)+", body, flags=re.M):
        head, _, *lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.splitlines()]
        for line in lines:
            cells = dict(zip(head, line, strict=False))
            asked = re.fullmatch(r"`([\w+-]+)((?: \w+=\S+)*)`", cells.get("system", "") or cells.get("step", ""))
            if asked:
                options = dict(part.split("=", 1) for part in asked[2].split())
                found.append(Row(asked[1], {name: literal(value) for name, value in options.items()}, cells))
    return found


def literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def spoken(title: str) -> str:
    """ "hippocampus_mss_unet" -> "hippocampus mss unet", a file's name as a heading."""
    return title.replace("_", " ") if " " not in title else title
