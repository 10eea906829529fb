"""The history of a run: one dict per epoch, as a table, as columns and as JSON lines; also what fills and shows it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dsnotes.safety.markup import escape

Record = dict[str, float | None]


class History(Sequence):
    """A sequence of records, oldest first; `stopped` says why the run ended, `notes` holds the messages of `fit`."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.records: list[Record] = [dict(record) for record in records]
        self.stopped = ""
        self.steps_per_epoch = 0
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
    def steps(self) -> int:
        """Updates of the weights so far."""
        return len(self) * self.steps_per_epoch

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


class MetricAccumulator:
    """Collects the terms of every step; checks for NaN and infinity every `look_every` steps.

    On a GPU the values are copied in the background and read one block later. A NaN is therefore noticed late, but the
    error names the step and the term where it first appeared.
    """

    def __init__(self, epoch: int, *, look_every: int) -> None:
        self.epoch, self.look_every = epoch, look_every
        self.steps = 0
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self._pending: list[dict[str, Tensor]] = []
        self._travelling: tuple | None = None

    def add(self, terms: dict[str, Tensor]) -> None:
        self._pending.append(terms)
        self.steps += 1
        if len(self._pending) == self.look_every:
            self._send()

    def means(self) -> dict[str, float]:
        """The mean of every term over the steps that had it; waits for the device."""
        self._send()
        self._read()
        return {name: total / self.counts[name] for name, total in self.sums.items()}

    def _send(self) -> None:
        self._read()
        if not self._pending:
            return
        values = torch.stack([value.float() for terms in self._pending for value in terms.values()])
        arrived = None
        if values.is_cuda:
            values = values.to("cpu", non_blocking=True)  # into pinned memory
            arrived = torch.cuda.Event()
            arrived.record()
        first = self.steps - len(self._pending)
        self._travelling = (first, [list(terms) for terms in self._pending], values, arrived)
        self._pending = []
        if arrived is None:
            self._read()

    def _read(self) -> None:
        if self._travelling is None:
            return
        first, names, values, arrived = self._travelling
        self._travelling = None
        if arrived is not None:
            arrived.synchronize()
        numbers = iter(values.tolist())
        for step, step_names in enumerate(names, start=first + 1):
            terms = {name: next(numbers) for name in step_names}
            refuse_not_finite(terms, epoch=self.epoch, step=step)
            for name, value in terms.items():
                self.sums[name] = self.sums.get(name, 0.0) + value
                self.counts[name] = self.counts.get(name, 0) + 1


def refuse_not_finite(terms: dict[str, float], *, epoch: int, step: int) -> None:
    """Raise with the epoch, the step and the terms that are NaN or infinite."""
    broken = [name for name, value in terms.items() if not math.isfinite(value)]
    if not broken:
        return
    guilty = [name for name in broken if name not in ("loss", "grad_norm")] or broken
    sound = ", ".join(f"{name}={value:.4g}" for name, value in terms.items() if name not in broken) or "none"
    came = (
        "the norm of the gradient (grad_norm)"
        if guilty == ["grad_norm"]
        else "the term" + "s" * (len(guilty) > 1) + " " + ", ".join(map(repr, guilty))
    )
    raise FloatingPointError(
        f"epoch {epoch}, step {step}: {came} became {terms[guilty[0]]} (still finite: {sound}). "
        f"Look for NaN voxels in the images first; then try a tenth of the lr, settings with clip=1.0, or amp=False."
    )


class Progress:
    """A bar that advances with every step and shows the epoch's metrics; plain lines if tqdm is missing."""

    def __init__(self, epochs: int, iterations: int, *, started: int, shown: bool) -> None:
        self.shown, self.bar = shown, None
        if shown:
            try:
                from tqdm.auto import tqdm
            except ModuleNotFoundError:
                return
            self.bar = tqdm(total=epochs * iterations, initial=started * iterations, unit="step", dynamic_ncols=True)
            self.bar.set_description(f"epoch {started + 1}/{epochs}")
        self.epochs = epochs

    def say(self, lines: Iterable[str]) -> None:
        for line in lines if self.shown else ():
            print(line) if self.bar is None else self.bar.write(line)

    def step(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def epoch(self, record: Record) -> None:
        told = {name: f"{record[name]:.4g}" for name in ("loss", "val_dice") if record.get(name) is not None}
        if self.bar is not None:
            self.bar.set_description(f"epoch {min(record['epoch'] + 1, self.epochs)}/{self.epochs}", refresh=False)
            self.bar.set_postfix(told)
        elif self.shown:
            print(f"epoch {record['epoch']}:", ", ".join(f"{name} {value}" for name, value in told.items()))

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
