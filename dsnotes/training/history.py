"""The history of a run: one dict per epoch, as a table, as columns, and as JSON lines on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dsnotes.safety.markup import escape

Record = dict[str, float | None]


class History(Sequence):
    """A sequence of records, oldest first; `stopped` says why the run ended, `notes` holds the messages of `fit`."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.records: list[Record] = [dict(record) for record in records]
        self.stopped = ""
        self.notes: list[str] = []

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index):
        """A record by its index, or a column by its name."""
        return self.column(index) if isinstance(index, str) else self.records[index]

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def append(self, record: Record) -> None:
        self.records.append(record)

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(name for record in self.records for name in record))

    def column(self, name: str) -> list[float | None]:
        """One value per epoch; None if an epoch did not record it."""
        if self.records and name not in self.columns:
            raise KeyError(f"the history has no column {name!r}. Choose one of {', '.join(self.columns)}.")
        return [record.get(name) for record in self.records]

    @property
    def best(self) -> Record | None:
        """The record with the highest validation score, or with the lowest loss if nothing was validated."""
        scored = [record for record in self.records if record.get("val_score") is not None]
        if scored:
            return max(scored, key=lambda record: record["val_score"])
        return min(self.records, key=lambda record: record["loss"], default=None)

    @property
    def best_epoch(self) -> int | None:
        return self.best and self.best["epoch"]

    @property
    def total_seconds(self) -> float:
        """Total training time, "Tot.T" in the papers' efficiency tables."""
        return float(sum(record["seconds"] for record in self.records))

    @property
    def seconds_per_epoch(self) -> float:
        """Mean time per epoch, "Avg.T" in the papers' efficiency tables."""
        return self.total_seconds / max(len(self), 1)

    def _rows(self, last: int | None) -> list[list[str]]:
        chosen = self.records if last is None else self.records[-last:]
        best = self.best
        return [
            [_short(record.get(name)) + (" *" if record is best and name == "epoch" else "") for name in self.columns]
            for record in chosen
        ]

    def _summary(self) -> str:
        if not self.records:
            return "no epoch has finished yet"
        text = f"{len(self)} epochs, {self.seconds_per_epoch:.3g} s each, {self.total_seconds:.4g} s in all"
        return f"{text}; * best epoch {self.best_epoch}" + (f"; ended: {self.stopped}" if self.stopped else "")

    def table(self, last: int | None = None) -> str:
        """The records as aligned text, all or the `last` few; a star marks the best epoch."""
        rows = [self.columns, *self._rows(last)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([*(lines if self.records else []), self._summary()])

    def __repr__(self) -> str:
        return self.table(last=10)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self._rows(10))
        caption = escape(self._summary())
        return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def write(self, path: str | Path) -> None:
        """Write one JSON object per line."""
        Path(path).write_text("".join(to_line(record) for record in self.records), encoding="utf-8")

    @classmethod
    def read(cls, path: str | Path) -> History:
        """Read a file that `write` or a run wrote; an incomplete last line is left out."""
        lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
        return cls(json.loads(line) for line in lines if line.endswith("\n"))


def to_line(record: Record) -> str:
    return json.dumps(record) + "\n"


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.4g}"
