"""Learning rates and stopping rules of the five papers, as functions of the epoch and of what was recorded so far.

None of them keeps a state: what a run was before it was stopped is in its history, and the rate of the next epoch
follows from that, so a resumed run needs nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from dsnotes.training.history import History
from dsnotes.training.settings import Number, Settings


def rate(settings: Settings, epoch: int, losses: Sequence[Number] = ()) -> float:
    r"""The learning rate of `epoch`, counted from 0, after epochs that ended with the training `losses`.

    step, exponential: $\eta f^{\lfloor e / n \rfloor}$ (MSDS: f = .1, n = 50; µ-Net: f = .9, n = 3);
    poly: $\eta (1 - e / E)^{p}$ (DSNet); plateau: see `plateau` (MSS).
    """
    if settings.schedule in ("step", "exponential"):
        lr = settings.lr * settings.factor ** (epoch // settings.step_every)
    elif settings.schedule == "poly":
        lr = settings.lr * (1 - min(epoch, settings.epochs) / settings.epochs) ** settings.power
    elif settings.schedule == "plateau":
        lr = settings.lr * settings.factor ** plateau(moving_average(losses), settings.patience, settings.threshold)
    else:
        lr = settings.lr
    return float(max(lr, settings.min_lr))


def moving_average(values: Sequence[Number], *, keep: Number = 0.93) -> list[Number]:
    r"""$m_0 = v_0$, $m_e = .93\,m_{e-1} + .07\,v_e$: what MSS-UNet watches instead of the noisy loss itself."""
    return list(accumulate(values, lambda mean, value: keep * mean + (1 - keep) * value))


def plateau(values: Sequence[Number], patience: int, threshold: Number) -> int:
    """How often the rate was cut: once each time more than `patience` epochs in a row brought no progress.

    Progress is falling below the best value by more than `threshold`, in absolute terms.
    """
    best, waited, cuts = float("inf"), 0, 0
    for value in values:
        best, waited = (value, 0) if value < best - threshold else (best, waited + 1)
        if waited > patience:
            cuts, waited = cuts + 1, 0
    return cuts


def finished(settings: Settings, history: History, lr: Number) -> bool:
    """Whether the stopping rule ends the run after these epochs, the next one's rate being `lr`.

    With `stop_dice` no rule does so before the validation Dice has reached it, and an epoch below it is not the best.
    """
    if settings.stop == "never":
        return False
    if settings.stop == "twice_best":
        scores = history.column("val_score")
        return twice_best(scores, history.column("val_dice") if settings.stop_dice else None, settings.stop_dice)
    stalled = epochs_without_progress(moving_average(history.column("loss")), settings.stop_threshold)
    slow = settings.stop_lr is None or lr < settings.stop_lr
    return stalled > settings.stop_patience and slow and _segments(settings, history)


def _segments(settings: Settings, history: History) -> bool:
    dice = history.column("val_dice") if settings.stop_dice and "val_dice" in history.columns else []
    return not dice or max(dice) >= settings.stop_dice


def twice_best(scores: Sequence[Number], dice: Sequence[Number] | None = None, least: Number = 0.0) -> bool:
    """µ-Net: the run has lasted twice as long as its best epoch (from 1) took, and no better score has come.

    A best first epoch would end the run after the second; that is what the rule says. With `dice`, only epochs with at
    least so much of it can be the best: with 1 above and below every ratio, a network that marks nothing has a
    perfect PPV, and loses score when it begins to mark something.
    """
    passed = [s for s, d in zip(scores, dice, strict=True) if d >= least] if dice is not None else list(scores)
    return bool(passed) and len(scores) >= 2 * (1 + list(scores).index(max(passed)))


def epochs_without_progress(values: Sequence[Number], threshold: Number) -> int:
    """Epochs since the last value that fell below the best one before it by more than `threshold`."""
    best, waited = float("inf"), 0
    for value in values:
        best, waited = (value, 0) if value < best - threshold else (best, waited + 1)
    return waited
