"""Epochs that visit every case, slice or grid patch once, instead of drawing patches at random.

"The time needed to train all samples once" (µ-Net), "the images are divided into multiple cubic parts" (MSDS-UNet).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from dsnotes.data.case import Case
from dsnotes.data.foreground import class_counts, draw_below, require_label
from dsnotes.data.patches import Place, crop, draw_places, patch_on, tiles


class Unit(NamedTuple):
    """One sample of an epoch: the case's index and the start of its patch; axes that are not given are drawn."""

    case: int
    start: tuple[int, ...]


def units(cases: Sequence[Case], *, patch: tuple[int, ...], epoch: str, positive_only: bool = False) -> list[Unit]:
    """Every case ("every_case"), slice ("slices") or patch of the coarsest grid that covers the cases ("grid").

    `positive_only` leaves out slices and patches without foreground, as µ-Net does on the heart and the spleen.
    """
    found: list[Unit] = []
    for index, case in enumerate(cases):
        size = patch_on(case, patch)
        if epoch == "every_case":
            starts = [()] if not positive_only or require_label(case).any() else []
        elif epoch == "slices":
            starts = _slices(case, size, patch, positive_only)
        else:
            starts = [place.start for place in tiles(case, patch) if not positive_only or _marked(place, size)]
        found += [Unit(index, start) for start in starts]
    if not found:
        raise ValueError(
            f"positive_only leaves none of the {len(cases)} cases a patch with foreground. Check the labels (is the "
            f"foreground 0?), or pass positive_only=False."
        )
    return found


def place_of(
    cases: Sequence[Case], unit: Unit, *, patch: tuple[int, ...], forced: bool = False, generator: torch.Generator
) -> Place:
    """Position of the unit's patch; inside a larger case or slice it is drawn again in every epoch.

    `forced` centres the patch on the case's foreground.
    """
    case = cases[unit.case]
    if forced and not unit.start:
        return draw_places([case], patch=patch, batch=1, foreground=1, generator=generator)[0]
    size = patch_on(case, patch)
    within = [
        draw_below(n - p + 1, generator) if n > p else -((p - n) // 2)
        for n, p in zip(case.space[len(unit.start) :], size[len(unit.start) :], strict=True)
    ]
    return Place(case, (*unit.start, *within))


def shuffled(n: int, round_: int, generator: torch.Generator) -> list[int]:
    """The order of the n units in pass `round_` over them."""
    for _ in range(round_):
        torch.randperm(n, generator=generator)
    return torch.randperm(n, generator=generator).tolist()


def _slices(case: Case, size: tuple[int, ...], patch: tuple[int, ...], positive_only: bool) -> list[tuple[int, ...]]:
    if len(patch) != 2:
        raise ValueError(
            f"epoch='slices' needs a 2-D patch, but the patch {tuple(patch)} has {len(patch)} axes. Pass epoch='grid' "
            f"to visit every part of a volume once, or a patch of two numbers."
        )
    if len(size) == 2:
        return [()] if not positive_only or require_label(case).any() else []
    counts = class_counts(case)[:, 1:].any(1) if positive_only else [True] * case.space[0]
    return [(at,) for at, kept in enumerate(counts) if kept]


def _marked(place: Place, size: tuple[int, ...]) -> bool:
    return bool(crop(require_label(place.case), place.start, size, pad=0).any())
