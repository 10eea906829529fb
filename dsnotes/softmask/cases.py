"""Make soft masks for cases without one, as DSNet needs them: strategy 2 with several annotators, else strategy 1.

Wang et al., https://arxiv.org/abs/2007.14556: LIDC's masks come from its four annotators (strategy 2).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np

from dsnotes.data.case import Case
from dsnotes.softmask.matting import soft_masks
from dsnotes.softmask.trimap import LEAST_CORE, trimap_from_annotators, trimap_from_mask


def softened(
    cases: Sequence[Case],
    *,
    classes: int = 2,
    radius: int = 3,
    core: float = LEAST_CORE,
    eps: float = 1e-2,
    keep_small: bool = False,
    annotators: bool = True,
    window: Literal["slice", "volume"] = "slice",
    workers: int | None = None,
) -> list[Case]:
    """The cases with extras["soft"], on the image's own grid; existing soft masks are kept.

    With two classes and several masks in extras["annotators"] (or "readers"), strategy 2 is used: pixels marked by all
    or none of them are known. If no pixel is marked by all, or with `annotators=False`, strategy 1 is used: pixels up
    to `radius` from the label's border are unknown, each class against all others. Of a structure thinner than twice
    that, too few pixels would be core, and it would fade from the soft mask; so the radius is lowered, to 1 if need be,
    for a class that keeps less than `core` of its pixels in a case (`core=0`: never). `eps` suits CT with about 30 HU
    of noise; `noise_eps` gives the value for other noise.

    `window="volume"` softens volumes in 3-D, trimap and windows both, weighted by the case's spacing; of annotators'
    masks it always does, because slices that some did not mark have no core of their own.

    With two classes the result is the foreground's share (*space); with more it is (classes, *space), background first,
    divided by the sum, because each class is matted separately. A class that a case lacks is 0. A small lesion beside
    a larger one may still have no core; `keep_small=True` keeps the deepest pixels of every component.
    """
    if classes < 2:
        raise ValueError(f"classes={classes}, but the background counts as a class: pass classes=2 or more.")
    wanted = range(1, 2) if classes == 2 else range(classes)
    tasks, disagreeing = [], []
    for case in cases:
        if case.extras.get("soft") is not None:
            continue
        if case.label is None:
            raise ValueError(f"case {case.name} has no label to soften. Leave it out, or give it one.")
        if case.channels > 1:
            raise ValueError(
                f"case {case.name} has {case.channels} channels, but matting needs grey values. Choose one, "
                f"replace(case, image=case.image[0]), and add the resulting soft mask to the original case."
            )
        if case.label.max(initial=0) >= classes:
            raise ValueError(
                f"case {case.name} holds class {case.label.max()}, but classes={classes} came (0 to {classes - 1}). "
                f"Pass classes={case.label.max() + 1}, or merge classes in the label."
            )
        holds = len(case.space) == 3 and min(case.space) > 2  # a 3×3×3 window
        in_3d = holds and window == "volume"
        drawn = _annotators(case) if annotators and classes == 2 else None
        if drawn is not None and drawn.all(0).any():
            tasks.append((case, 1, trimap_from_annotators(drawn), holds))
            continue
        if drawn is not None:
            disagreeing.append(case.name)
        border = partial(
            trimap_from_mask, radius=radius, core=core, keep_small=keep_small, spacing=case.spacing if in_3d else None
        )
        tasks += [(case, value, border(case.label == value), in_3d) for value in wanted if (case.label == value).any()]
    if disagreeing:
        warnings.warn(
            f"in {len(disagreeing)} of {len(cases)} cases ({', '.join(disagreeing[:3])}) no pixel was marked by all "
            f"annotators: these are softened from their label (strategy 1). Leave them out if all need strategy 2.",
            stacklevel=2,
        )
    found = {}
    for each in ("slice", "volume"):
        own = [task for task in tasks if task[3] == (each == "volume")]
        images, trimaps = [case.image.reshape(case.space) for case, *_ in own], [trimap for *_, trimap, _ in own]
        spacing = [case.spacing for case, *_ in own] if each == "volume" and own else None
        made = soft_masks(images, trimaps, eps=eps, window=each, spacing=spacing, workers=workers)
        found |= {(id(case), value): mask for (case, value, *_), mask in zip(own, made, strict=True)}
    return [
        case
        if case.extras.get("soft") is not None
        else replace(case, extras={**case.extras, "soft": _shares(case, [found.get((id(case), v)) for v in wanted])})
        for case in cases
    ]


def noise_eps(image: np.ndarray, noise: float) -> float:
    """The ε of `soft_mask` for an image with noise of this standard deviation, in the image's own unit.

    ε / 9 is added to the variance of a window, so ε is nine times the variance of the noise, on the scale of
    `soft_mask`: an image outside [0, 1] is rescaled to it by its own minimum and maximum.
    """
    low, high = float(image.min()), float(image.max())
    if not noise > 0 or low == high:
        raise ValueError(
            f"noise={noise} came for an image from {low:g} to {high:g}. Pass a positive standard deviation in the "
            f"image's unit, such as noise=33 for CT in HU, and an image that is not constant."
        )
    return 9 * (noise / (1 if low >= 0 and high <= 1 else high - low)) ** 2


def _annotators(case: Case) -> np.ndarray | None:
    """(annotators, *space) of those who drew anything; None if fewer than two did."""
    drawn = case.extras.get("annotators", case.extras.get("readers"))
    if drawn is None:
        return None
    masks = np.stack([np.asarray(mask) > 0 for mask in drawn])
    masks = masks[masks.reshape(len(masks), -1).any(1)]
    return masks if len(masks) > 1 else None


def _shares(case: Case, masks: list[np.ndarray | None]) -> np.ndarray:
    """(*space) for one class, else (classes, *space) that sum to 1; where all shares are 0, the label decides."""
    shares = np.stack([np.zeros(case.space, np.float32) if mask is None else mask for mask in masks])
    if len(shares) == 1:
        return shares[0]
    total = shares.sum(0)
    nobody = total < 1e-6
    hard = case.label == np.arange(len(shares)).reshape(-1, *[1] * case.label.ndim)
    return np.where(nobody, hard, shares / np.where(nobody, 1, total)).astype(np.float32)
