"""The training settings of a system, a frozen dataclass, and the learning rates and stopping rules that they name.

quick = replace(mss_unet.SETTINGS, epochs=2)

Rates and rules are functions of the epoch and the history. They have no state, so a resumed run needs only its history.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from numbers import Integral, Real

from dsnotes.data.augment import Augmentation
from dsnotes.data.augmentations import check_name
from dsnotes.safety.nearest import nearest
from dsnotes.training.history import History

CHOICES = {
    "optimiser": ("adam", "adamw", "sgd"),
    "schedule": ("constant", "step", "exponential", "poly", "plateau"),
    "stop": ("never", "twice_best", "moving_average"),
    "epoch": ("cases", "every_case", "slices", "grid"),
}
AT_LEAST_ONE = ("batch", "accumulate", "epochs", "iterations", "validation_iterations", "step_every")
NUMBERS = (
    "lr",
    "weight_decay",
    "momentum",
    "factor",
    "power",
    "threshold",
    "min_lr",
    "clip",
    "foreground",
    "stop_dice",
)
MAY_BE_NONE = ("clip", "foreground")


@dataclass(frozen=True)
class Settings:
    """The defaults are ours; each paper's settings are in `papers/<stem>.py`."""

    patch: tuple[int, ...] | None = None
    batch: int = 2
    accumulate: int = 1  # batches whose gradients are summed before one step of the optimiser
    epochs: int = 100
    # One pass is: "cases", as many patches as there are cases, from random cases; "every_case", one patch per case;
    # "slices" or "grid", every slice or every patch of a grid once.
    epoch: str = "cases"
    positive_only: bool = False  # "slices" and "grid" leave out those without foreground
    iterations: int | None = None  # steps per epoch; None: one pass
    validation_iterations: int | None = None  # None: the whole validation cases
    optimiser: str = "adam"  # adam, adamw, sgd
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9  # of sgd
    nesterov: bool = False  # of sgd
    weight_decay: float = 0.0
    amsgrad: bool = False
    schedule: str = "constant"  # constant, step, exponential, poly, plateau
    step_every: int = 50  # epochs between two cuts of "step" and "exponential"
    factor: float = 0.1  # each cut multiplies the rate by this
    power: float = 0.9  # of "poly"
    patience: int = 30  # epochs without progress before "plateau" cuts
    threshold: float = 1e-3  # smallest fall of the moving average that "plateau" counts as progress
    min_lr: float = 0.0
    stop: str = "never"  # never, twice_best, moving_average
    stop_patience: int = 50  # epochs without progress of the moving average
    stop_threshold: float = 5e-4  # smallest fall that "moving_average" counts as progress
    stop_lr: float | None = None  # "moving_average" stops only below this rate; None: at any
    stop_dice: float = 0.0  # no rule stops a run before the validation Dice has reached this; 0: as in the papers
    clip: float | None = 12.0  # maximum norm of the gradient; None: no clipping
    # Share of patches forced to hold foreground, rounded up: with batch=1, every patch. None: a third if fewer than a
    # quarter of random patches hold any, otherwise none, since forced patches teach that foreground is common.
    foreground: float | None = None
    augment: bool | str | Augmentation = False  # True: "default"; by name: "mss", "nnu-net" as published
    reestimate: int = 0  # batches for re-estimating batch norm statistics after each epoch; 0: keep the running ones

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is unknown. Choose one of {', '.join(map(repr, known))}."
                )
        if isinstance(self.patch, Real):
            raise ValueError(
                f"patch={self.patch} is a single number, but a patch has one per axis. Pass "
                f"patch={(self.patch,) * 2}, or patch={(self.patch,) * 3} in 3-D."
            )
        if self.patch is not None and not all(isinstance(n, Real) and n == n // 1 for n in self.patch):
            raise ValueError(
                f"patch={self.patch!r} must hold whole numbers, one per axis, for instance patch=(64, 64)."
            )
        for name in NUMBERS:
            value = getattr(self, name)
            if not (isinstance(value, Real) or (value is None and name in MAY_BE_NONE)) or value != value:
                example = 0.33 if DEFAULTS[name] is None else DEFAULTS[name]
                raise ValueError(f"{name} must be a number, got {value!r}. For instance {name}={example:.3g}.")
        for name in AT_LEAST_ONE:
            if name != "step_every" and not isinstance(getattr(self, name), Integral | None):
                raise ValueError(f"{name} must be a whole number, got {getattr(self, name)!r}. For instance {name}=2.")
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}. Pass {name}=1 or more.")
        if isinstance(self.augment, str):
            check_name(self.augment)
        elif not isinstance(self.augment, bool | Augmentation):
            raise TypeError(
                f"augment={self.augment!r} has type {type(self.augment).__name__}. Pass True for the default "
                f"augmentation, False for none, or your own, such as dsnotes.data.augment.Augmentation(p_scale=0)."
            )
        if self.lr <= 0:
            raise ValueError(f"lr must be positive, got {self.lr}. For instance lr=1e-3.")
        if math.isinf(self.lr):
            raise ValueError(f"lr must be finite, got {self.lr}. For instance lr=1e-3.")
        if self.reestimate < 0:
            raise ValueError(
                f"reestimate must be a number of batches, got {self.reestimate!r}. Pass 0 to keep the running "
                f"statistics of training, or for instance reestimate=20 to re-estimate them."
            )
        if self.foreground is not None and not 0 <= self.foreground <= 1:
            raise ValueError(f"foreground must be from 0 to 1, got {self.foreground}. For instance foreground=0.33.")


DEFAULTS = {each.name: each.default for each in fields(Settings)}


def settings_with(settings: Settings, overrides: dict) -> Settings:
    """The settings with some fields changed; None keeps a field."""
    if unknown := [name for name in overrides if name not in DEFAULTS]:
        near = nearest(unknown[0], DEFAULTS, cutoff=0.5)
        meant = f"Did you mean {' or '.join(near)}?" if near else f"Settings are {', '.join(DEFAULTS)}."
        raise TypeError(f"fit has no option {unknown[0]!r}. {meant}")
    given = {name: value for name, value in overrides.items() if value is not None}
    if isinstance(given.get("patch"), Sequence):
        given["patch"] = tuple(given["patch"])
    return replace(settings, **given)


def learning_rate(settings: Settings, epoch: int, losses: Sequence[float] = ()) -> float:
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


def must_stop(settings: Settings, history: History, lr: float) -> bool:
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
