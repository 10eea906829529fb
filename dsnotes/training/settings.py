"""How a system is trained: a frozen value, so that a variation is one line in a diff.

quick = replace(mss_unet.SETTINGS, epochs=2)
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Defaults are ours; each paper's own stand in `papers/<stem>.py`."""

    patch: tuple[int, ...] | None = None
    batch: int = 2
    accumulate: int = 1  # batches whose gradients are summed before one step of the optimiser
    epochs: int = 100
    iterations: int | None = None  # steps an epoch; None: one pass over the cases
    validation_iterations: int | None = None  # None: the whole of the validation cases
    optimiser: str = "adam"  # adam, adamw, sgd
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9  # of sgd
    weight_decay: float = 0.0
    amsgrad: bool = False
    schedule: str = "constant"  # constant, step, exponential, poly, plateau
    step_every: int = 50  # epochs between two cuts of "step" and "exponential"
    factor: float = 0.1  # what a cut multiplies the rate with
    power: float = 0.9  # of "poly"
    patience: int = 30  # epochs without progress before "plateau" cuts
    min_lr: float = 0.0
    stop: str = "never"  # never, twice_best, moving_average
    stop_patience: int = 50  # epochs without progress of the moving average
    clip: float | None = 12.0  # the gradient's largest norm
    foreground: float = 1 / 3  # share of patches forced to hold foreground
    augment: bool | str = False  # True: the default augmentation
