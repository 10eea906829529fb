"""Jaccard metric and Dice semimetric losses: for soft targets their minimum is at the target, for masks they are the
usual soft losses' values.

Wang and Blaschko 2023, https://arxiv.org/abs/2302.05666; Wang, Popordanoska et al. 2023,
https://arxiv.org/abs/2303.16296. With |p - t| = Σ|p - t|, the intersection is (|p| + |t| - |p - t|) / 2.
"""

from __future__ import annotations

from torch import Tensor

from dsnotes.losses.overlap import require_alike
from dsnotes.shapes import Probs, Scalar, SoftMask


def jaccard_metric(p: Probs, t: SoftMask, *, over_batch: bool = False, eps: float = 1e-5) -> Scalar:
    r"""$1 - \frac{\sum p + \sum t - \sum|p - t|}{\sum p + \sum t + \sum|p - t|}$, averaged over images and classes."""
    size, apart = _sums(p, t, over_batch)
    return (1 - (size - apart + eps) / (size + apart + eps)).mean()


def dice_semimetric(p: Probs, t: SoftMask, *, over_batch: bool = False, eps: float = 1e-5) -> Scalar:
    r"""$1 - \frac{\sum p + \sum t - \sum|p - t|}{\sum p + \sum t}$, averaged over images and classes."""
    size, apart = _sums(p, t, over_batch)
    return (1 - (size - apart + eps) / (size + eps)).mean()


def _sums(p: Probs, t: SoftMask, over_batch: bool) -> tuple[Tensor, Tensor]:
    """Σp + Σt and Σ|p - t| of every image and class, or of every class."""
    require_alike(p, t)
    summed = (0, *range(2, p.ndim)) if over_batch else tuple(range(2, p.ndim))
    return p.sum(summed) + t.sum(summed), (p - t).abs().sum(summed)
