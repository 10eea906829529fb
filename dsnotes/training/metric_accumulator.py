"""The terms of an epoch, summed and checked for NaN without waiting for the device in every step."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
