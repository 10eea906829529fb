"""Cases whose labels are all there is get the soft masks that DSNet's supervision asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dsnotes.data.case import Case
from dsnotes.softmask.matting import soft_masks
from dsnotes.softmask.trimap import trimap_from_mask


def softened(
    cases: Sequence[Case],
    *,
    classes: int = 2,
    radius: int = 3,
    eps: float | int = 1e-7,
    keep_small: bool = False,
    workers: int | None = None,
) -> list[Case]:
    """The cases with extras["soft"]: strategy 1 of each class against all others, on the image's own grid.

    Of two classes it is the foreground's share (*space); of more it is (classes, *space), background first, divided by
    the sum, for each class is matted alone. A class that a case lacks has the share 0. A structure thinner than twice
    `radius` has no core but its deepest pixels and fades away: 1 for membranes, 2 or 3 for lesions. `keep_small=True`
    leaves every piece its deepest pixels.
    """
    if classes < 2:
        raise ValueError(f"classes={classes}, but the background is a class too: pass classes=2 or more.")
    wanted = range(1, 2) if classes == 2 else range(classes)
    tasks = []
    for case in cases:
        if case.label is None:
            raise ValueError(f"case {case.name} has no label to soften. Leave it out, or give it one.")
        if case.channels > 1:
            raise ValueError(
                f"case {case.name} has {case.channels} channels, but matting looks at grey values: choose one, "
                f"replace(case, image=case.image[0]), and put the soft mask it gets beside the whole image."
            )
        if case.label.max(initial=0) >= classes:
            raise ValueError(
                f"case {case.name} holds class {case.label.max()}, but classes={classes} came (0 to {classes - 1}). "
                f"Pass classes={case.label.max() + 1}, or merge classes in the label."
            )
        tasks += [(case, value) for value in wanted if (case.label == value).any()]
    made = soft_masks(
        [case.image.reshape(case.space) for case, _ in tasks],
        [trimap_from_mask(case.label == value, radius, keep_small=keep_small) for case, value in tasks],
        eps=eps,
        workers=workers,
    )
    found = {(id(case), value): mask for (case, value), mask in zip(tasks, made, strict=True)}
    return [
        replace(case, extras={**case.extras, "soft": _shares(case, [found.get((id(case), v)) for v in wanted])})
        for case in cases
    ]


def _shares(case: Case, masks: list[np.ndarray | None]) -> np.ndarray:
    """(*space) of one class, else (classes, *space) that sum to 1; where no class wants a pixel its label has it."""
    shares = np.stack([np.zeros(case.space, np.float32) if mask is None else mask for mask in masks])
    if len(shares) == 1:
        return shares[0]
    total = shares.sum(0)
    nobody = total < 1e-6
    hard = case.label == np.arange(len(shares)).reshape(-1, *[1] * case.label.ndim)
    return np.where(nobody, hard, shares / np.where(nobody, 1, total)).astype(np.float32)
