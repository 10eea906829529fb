"""How a system is trained: a frozen value, so that a variation is one line in a diff.

quick = replace(mss_unet.SETTINGS, epochs=2)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real

from dsnotes.data.augment import Augmentation

Number = float | int
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


@dataclass(frozen=True)
class Settings:
    """Defaults are ours; each paper's own stand in `papers/<stem>.py`."""

    patch: tuple[int, ...] | None = None
    batch: int = 2
    accumulate: int = 1  # batches whose gradients are summed before one step of the optimiser
    epochs: int = 100
    # What one pass is: as many patches as there are "cases", of any of them; a patch of "every_case"; all "slices" or
    # all patches of a "grid", each once.
    epoch: str = "cases"
    positive_only: bool = False  # "slices" and "grid" leave out those without foreground
    iterations: int | None = None  # steps an epoch; None: one pass
    validation_iterations: int | None = None  # None: the whole of the validation cases
    optimiser: str = "adam"  # adam, adamw, sgd
    lr: Number = 1e-3
    betas: tuple[Number, Number] = (0.9, 0.999)
    momentum: Number = 0.9  # of sgd
    weight_decay: Number = 0.0
    amsgrad: bool = False
    schedule: str = "constant"  # constant, step, exponential, poly, plateau
    step_every: int = 50  # epochs between two cuts of "step" and "exponential"
    factor: Number = 0.1  # what a cut multiplies the rate with
    power: Number = 0.9  # of "poly"
    patience: int = 30  # epochs without progress before "plateau" cuts
    threshold: Number = 1e-3  # what "plateau" calls progress of the moving average
    min_lr: Number = 0.0
    stop: str = "never"  # never, twice_best, moving_average
    stop_patience: int = 50  # epochs without progress of the moving average
    stop_threshold: Number = 5e-4  # what "moving_average" calls progress
    stop_lr: Number | None = None  # "moving_average" stops only below this rate; None: at any
    stop_dice: Number = 0.0  # no rule ends a run before the validation Dice has reached this; 0: as the papers say
    clip: Number | None = 12.0  # the gradient's largest norm; None: as it is
    foreground: Number = 1 / 3  # share of a batch's patches forced to hold foreground, rounded up: at batch 1, each
    augment: bool | Augmentation = False  # True: the default augmentation
    reestimate: int = 0  # batches over which an epoch ends by counting batch norm's statistics anew; 0: as they ran

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is unknown. Choose one of {', '.join(map(repr, known))}."
                )
        if isinstance(self.patch, Real):
            raise ValueError(
                f"patch={self.patch} is one number, a patch has one for each axis. Pass patch={(self.patch,) * 2}, or "
                f"patch={(self.patch,) * 3} in 3-D."
            )
        if self.patch is not None and not all(isinstance(n, Real) and n == n // 1 for n in self.patch):
            raise ValueError(
                f"patch={self.patch!r} holds what is no whole number. Pass as many as there are axes, for instance "
                f"patch=(64, 64)."
            )
        for name in NUMBERS:
            value = getattr(self, name)
            if not (isinstance(value, Real) or (value is None and name == "clip")) or value != value:
                raise ValueError(f"{name}={value!r} is no number. Pass one, for instance {name}={DEFAULTS[name]:.3g}.")
        for name in AT_LEAST_ONE:
            if name != "step_every" and not isinstance(getattr(self, name), Integral | None):
                raise ValueError(f"{name}={getattr(self, name)!r} is no whole number. Pass one, such as {name}=2.")
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} leaves nothing to do. Pass {name}=1 or more.")
        if not isinstance(self.augment, bool | Augmentation):
            raise TypeError(
                f"augment={self.augment!r} is of type {type(self.augment).__name__}. Pass True for the default "
                f"augmentation, False for none, or one of your own: dsnotes.data.augment.Augmentation(p_scale=0)."
            )
        if self.lr <= 0:
            raise ValueError(f"lr={self.lr} moves no weight. Pass a positive rate, for instance lr=1e-3.")
        if math.isinf(self.lr):
            raise ValueError(f"lr={self.lr} throws every weight away. Pass a finite rate, for instance lr=1e-3.")
        if self.reestimate < 0:
            raise ValueError(
                f"reestimate={self.reestimate!r} is a number of batches. Pass 0 to keep the statistics that ran along "
                f"in training, or for instance reestimate=20 to count them anew."
            )
        if not 0 <= self.foreground <= 1:
            raise ValueError(f"foreground={self.foreground} is a share of the patches. Pass a number from 0 to 1.")


DEFAULTS = {each.name: each.default for each in fields(Settings)}
