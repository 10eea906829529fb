"""Label maps at several thresholds, each with a morphological step: the rows of MSDS-UNet's table 12.

A higher threshold gives fewer false positives and more false negatives. The paper mentions a morphological step without
details; here it is `remove_small`, an opening followed by the removal of small components.
"""

from __future__ import annotations

from collections.abc import Sequence

from dsnotes.inference.components import remove_small
from dsnotes.inference.predict import to_label
from dsnotes.shapes import LabelMap, ProbabilityMap

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


def at_thresholds(
    p: ProbabilityMap,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    voxels: int = 0,
    opening: int = 0,
) -> dict[float, LabelMap]:
    """{threshold: label map} for a single channel of probabilities, after `remove_small(voxels, opening)`."""
    if len(p) != 1:
        raise ValueError(
            f"probabilities of {len(p)} channels came, but a threshold needs a single one. Pass one class, "
            f"p[2:3], or take the most probable class, dsnotes.to_label(p)."
        )
    wrong = [t for t in thresholds if not 0 <= t < 1]
    if wrong or not len(thresholds):
        raise ValueError(
            f"thresholds={tuple(thresholds)} must hold at least one number, all from 0 to below 1. "
            f"Pass for instance thresholds={THRESHOLDS}."
        )
    labels = {float(t): to_label(p, threshold=float(t)) for t in thresholds}
    if not voxels and not opening:
        return labels
    return {t: remove_small(label, voxels=voxels, opening=opening) for t, label in labels.items()}
