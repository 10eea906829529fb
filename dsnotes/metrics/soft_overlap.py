"""Overlap and error of soft masks, for soft targets too: best where prediction and target are equal.

The overlap is Σ min(p, t), which for masks is the count of true positives: Wang, Popordanoska et al. 2023,
https://arxiv.org/abs/2303.16296. With Σ p t, as in most losses, the best prediction for a target of ½ would be 1.
"""

from __future__ import annotations

import numpy as np

from dsnotes.data.conversion import Maps
from dsnotes.metrics.proper_scores import pooled


def soft_dice_score(p: Maps, t: Maps, *, where: Maps | None = None) -> float:
    r"""$\frac{2\sum \min(p, t)}{\sum p + \sum t}$: 1 only if p = t, and Dice for two masks; both empty: 1."""
    shared, p_size, t_size = _sizes(p, t, where)
    return 2 * shared / (p_size + t_size) if p_size + t_size else 1.0


def soft_iou_score(p: Maps, t: Maps, *, where: Maps | None = None) -> float:
    r"""$\frac{\sum \min(p, t)}{\sum \max(p, t)}$: 1 only if p = t, and for masks the IoU."""
    shared, p_size, t_size = _sizes(p, t, where)
    return shared / (p_size + t_size - shared) if p_size + t_size else 1.0


def share_error(p: Maps, t: Maps, *, where: Maps | None = None) -> float:
    r"""$\overline{|p - t|}$: the mean absolute error of the share."""
    flat, target, _ = pooled(p, t, where)
    return float(np.abs(flat - target).mean())


def area_error(p: Maps, t: Maps, *, where: Maps | None = None) -> float:
    r"""$\frac{\sum p - \sum t}{\sum t}$: the relative error of the area or volume that the soft mask holds."""
    _, p_size, t_size = _sizes(p, t, where)
    if not t_size:
        raise ValueError("the target is empty, so the relative error of its area is unknown. Leave this case out.")
    return (p_size - t_size) / t_size


def _sizes(p: Maps, t: Maps, where: Maps | None) -> tuple[float, float, float]:
    flat, target, _ = pooled(p, t, where)
    return float(np.minimum(flat, target).sum()), float(flat.sum()), float(target.sum())
