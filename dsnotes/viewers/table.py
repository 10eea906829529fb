"""A small table in the notebook: HTML for the reader, Markdown where HTML is not shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any, NamedTuple

from dsnotes.safety.markup import escape

# A veil that a light and a dark page both show, and a sign that says the same without colour.
VERDICTS = {
    "higher": ("▲", "rgba(0, 114, 178, 0.25)"),
    "lower": ("▼", "rgba(213, 94, 0, 0.25)"),
    "even": ("≈", "transparent"),
}


class Marked(NamedTuple):
    """A cell with a verdict on it: "higher" or "lower" than what it is compared with, or "even"."""

    value: Any
    verdict: str


class Table:
    """Rows of named values. Columns come in the order in which they are first met; what a row lacks stays empty."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], *, caption: str = "") -> None:
        self.rows = [dict(row) for row in rows]
        self.columns = list(dict.fromkeys(column for row in self.rows for column in row))
        self.caption = caption

    def _cells(self) -> list[list[str]]:
        return [[_written(row.get(column)) for column in self.columns] for row in self.rows]

    def _veils(self) -> list[list[str]]:
        """The colour behind every cell, the head's first."""
        found = [[row.get(column) for column in self.columns] for row in self.rows]
        coloured = [
            [f";background-color:{VERDICTS[cell.verdict][1]}" if isinstance(cell, Marked) else "" for cell in cells]
            for cells in found
        ]
        return [[""] * len(self.columns), *coloured]

    def _sides(self) -> list[str]:
        """Words stand to the left, numbers to the right."""
        return ["left" if any(isinstance(row.get(c), str) for row in self.rows) else "right" for c in self.columns]

    def _repr_html_(self) -> str:
        lines = [("th", self.columns), *(("td", cells) for cells in self._cells())]
        rows = [
            "".join(
                f'<{tag} style="text-align:{side}{veil}">{escape(cell)}</{tag}>'
                for cell, side, veil in zip(cells, self._sides(), veils, strict=True)
            )
            for (tag, cells), veils in zip(lines, self._veils(), strict=True)
        ]
        caption = f'<caption style="text-align:left">{escape(self.caption)}</caption>' if self.caption else ""
        return f"<table>{caption}{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"

    def _repr_markdown_(self) -> str:
        rule = [":--" if side == "left" else "--:" for side in self._sides()]
        lines = [self.columns, rule, *self._cells()]
        table = "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
        return table + (f"\n\n{self.caption}" if self.caption else "")

    def __repr__(self) -> str:
        return self._repr_markdown_()


def _written(value: Any) -> str:
    """Three decimals are what a segmentation's score is read to; a small number keeps three digits."""
    if value is None:
        return ""
    if isinstance(value, Marked):
        return f"{VERDICTS[value.verdict][0]} {_written(value.value)}"
    if isinstance(value, Integral | str) or not hasattr(value, "__float__"):  # numpy's strings have __float__
        return str(value)
    number = float(value)
    return f"{number:.3f}" if number == 0 or 1e-3 <= abs(number) < 1e3 else f"{number:.3g}"
