"""Progress bar with time left, shown in interactive sessions."""

from __future__ import annotations

from collections.abc import Iterable

from dsnotes.training.history import Record


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
