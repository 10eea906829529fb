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

    def _repr_html_(self) -> str:
        head = "".join(f'<th style="text-align:right">{escape(column)}</th>' for column in self.columns)
        body = "".join(
            "<tr>" + "".join(f'<td style="text-align:right">{escape(cell)}</td>' for cell in row) + "</tr>"
            for row in self._cells()
        )
        caption = f'<caption style="text-align:left">{escape(self.caption)}</caption>' if self.caption else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _repr_markdown_(self) -> str:
        lines = [self.columns, ["--:"] * len(self.columns), *self._cells()]
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
