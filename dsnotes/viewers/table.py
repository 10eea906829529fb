"""A small table in the notebook: HTML for the reader, Markdown where HTML is not shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from numbers import Integral
from typing import Any


class Table:
    """Rows of named values. Columns come in the order in which they are first met; what a row lacks stays empty."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], *, caption: str = "") -> None:
        self.rows = [dict(row) for row in rows]
        self.columns = list(dict.fromkeys(column for row in self.rows for column in row))
        self.caption = caption

    def _cells(self) -> list[list[str]]:
        return [[_written(row.get(column)) for column in self.columns] for row in self.rows]

    def _sides(self) -> list[str]:
        """Words stand to the left, numbers to the right."""
        return ["left" if any(isinstance(row.get(c), str) for row in self.rows) else "right" for c in self.columns]

    def _repr_html_(self) -> str:
        lines = [("th", self.columns), *(("td", cells) for cells in self._cells())]
        rows = [
            "".join(
                f'<{tag} style="text-align:{side}">{escape(cell)}</{tag}>'
                for cell, side in zip(cells, self._sides(), strict=True)
            )
            for tag, cells in lines
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
    if isinstance(value, Integral) or not hasattr(value, "__float__"):
        return str(value)
    number = float(value)
    return f"{number:.3f}" if number == 0 or 1e-3 <= abs(number) < 1e3 else f"{number:.3g}"
