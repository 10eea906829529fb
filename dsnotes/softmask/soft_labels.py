"""Soft labels without matting: label smoothing, a blurred mask, the mean of annotators.

Label smoothing: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567. Each function returns the cases with a new
extras["soft"], the foreground's share (*space) with two classes, else (classes, *space), as `SoftTargets` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.foreground import require_label


def hard_labels(cases: Sequence[Case], *, classes: int = 2) -> list[Case]:
    """The label itself as shares of 0 and 1: the control in a comparison of targets."""
    return _with_soft(cases, classes, lambda shares, case: shares)


def smoothed_labels(cases: Sequence[Case], *, smoothing: float = 0.1, classes: int = 2) -> list[Case]:
    """(1 - smoothing) · label + smoothing / classes: equally soft at the border and far from it."""
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing={smoothing} came. Pass a share from 0 to 1, for instance smoothing=0.1.")
    return _with_soft(cases, classes, lambda shares, case: (1 - smoothing) * shares + smoothing / classes)


def blurred_labels(cases: Sequence[Case], *, sigma: float = 1.0, classes: int = 2) -> list[Case]:
    """The label blurred by a Gaussian with a standard deviation of `sigma` mm."""
    from scipy.ndimage import gaussian_filter

    if not sigma > 0:
        raise ValueError(f"sigma={sigma} must be positive, in mm. For instance sigma=1.0.")

    def blurred(shares: np.ndarray, case: Case) -> np.ndarray:
        return gaussian_filter(shares, [0, *(sigma / mm for mm in case.spacing)], mode="nearest")

    return _with_soft(cases, classes, blurred)


def averaged_labels(cases: Sequence[Case]) -> list[Case]:
    """The share of annotators who marked each voxel, from extras["annotators"] or extras["readers"]; two classes."""
    made = []
    for case in cases:
        drawn = case.extras.get("annotators", case.extras.get("readers"))
        if drawn is None or not len(drawn):
            raise ValueError(
                f"case {case.name} has no annotators' masks. Put them in extras['annotators'] as (annotators, *space), "
                f"or blur its label: blurred_labels(cases)."
            )
        soft = np.mean([np.asarray(mask) > 0 for mask in drawn], axis=0, dtype=np.float32)
        made.append(replace(case, extras={**case.extras, "soft": soft}))
    return made


def _with_soft(cases: Sequence[Case], classes: int, change: Callable[[np.ndarray, Case], np.ndarray]) -> list[Case]:
    made = []
    for case in cases:
        label = require_label(case)
        if label.max(initial=0) >= classes:
            raise ValueError(
                f"case {case.name} holds class {label.max()}, but classes={classes} came (0 to {classes - 1}). Pass "
                f"classes={label.max() + 1}, or merge classes in the label."
            )
        hard = (label == np.arange(classes).reshape(-1, *[1] * label.ndim)).astype(np.float32)
        soft = change(hard, case).astype(np.float32)
        made.append(replace(case, extras={**case.extras, "soft": soft[1] if classes == 2 else soft}))
    return made
