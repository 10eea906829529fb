"""Learning rates and stopping rules of the five papers, as functions of the epoch and the history.

They have no state, so a resumed run needs only its history.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from dsnotes.training.history import History
from dsnotes.training.settings import Settings


def rate(settings: Settings, epoch: int, losses: Sequence[float] = ()) -> float:
    r"""The learning rate of `epoch`, counted from 0, given the training `losses` of the epochs before it.

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


def moving_average(values: Sequence[float], *, keep: float = 0.93) -> list[float]:
    r"""$m_0 = v_0$, $m_e = .93\,m_{e-1} + .07\,v_e$: MSS U-Net uses it instead of the noisy loss itself."""
    return list(accumulate(values, lambda mean, value: keep * mean + (1 - keep) * value))


def plateau(values: Sequence[float], patience: int, threshold: float) -> int:
    """The number of cuts so far: one whenever more than `patience` epochs in a row made no progress.

    Progress means a value below the best one by more than `threshold` (absolute).
    """
    best, waited, cuts = float("inf"), 0, 0
    for value in values:
        best, waited = (value, 0) if value < best - threshold else (best, waited + 1)
        if waited > patience:
            cuts, waited = cuts + 1, 0
    return cuts


def finished(settings: Settings, history: History, lr: float) -> bool:
    """Whether the stopping rule ends the run after these epochs; `lr` is the rate of the next one.

    With `stop_dice` no rule stops before the validation Dice has reached it, and epochs below it cannot be the best.
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


def twice_best(scores: Sequence[float], dice: Sequence[float] | None = None, least: float = 0.0) -> bool:
    """µ-Net's rule: stop after 2 n epochs if epoch n (counted from 1) still has the best score.

    If the first epoch is the best, the run stops after the second. With `dice`, only epochs with at least `least` Dice
    can be the best: because ε = 1 is added to numerator and denominator of every metric, a network that marks nothing
    has a perfect PPV and loses score when it begins to mark something.
    """
    passed = [s for s, d in zip(scores, dice, strict=True) if d >= least] if dice is not None else list(scores)
    return bool(passed) and len(scores) >= 2 * (1 + list(scores).index(max(passed)))


def epochs_without_progress(values: Sequence[float], threshold: float) -> int:
    """Epochs since the last value that was below the best one before it by more than `threshold`."""
    best, waited = float("inf"), 0
    for value in values:
        best, waited = (value, 0) if value < best - threshold else (best, waited + 1)
    return waited
