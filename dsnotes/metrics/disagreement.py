"""How close sampled predictions are to annotators who disagree: energy distance of masks, CRPS of a volume.

Generalised energy distance: Kohl et al. 2018, https://arxiv.org/abs/1806.05034, eq. 4; continuous ranked probability
score: Gneiting and Raftery 2007, https://doi.org/10.1198/016214506000001437; its fair estimate: Ferro 2014,
https://doi.org/10.1002/qj.2270.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np

from dsnotes.data.conversion import Array, as_array
from dsnotes.metrics.proper_scores import as_probabilities

Masks = Sequence[Array] | Array  # one per annotator or per sample of the prediction


def energy_distance(samples: Masks, annotators: Masks, *, fair: bool = False) -> float:
    r"""$2\,\overline{d(s, y)} - \overline{d(s, s')} - \overline{d(y, y')}$ with $d = 1 - \mathrm{IoU}$; 0 is best.

    A mask or soft mask may be a sample: IoU is $\sum\min / \sum\max$, and two empty masks agree. The means are over all
    pairs, as in the paper, also of a mask with itself. This penalises small sets: one reader against three others of
    the same distribution scores above 0 on average. `fair=True` leaves out pairs of a mask with itself: then two sets
    from one distribution score 0 on average, and a value may be negative.
    """
    samples, annotators = _stacked(samples, "sample", fair=fair), _stacked(annotators, "annotator", fair=fair)
    if samples.shape[1:] != annotators.shape[1:]:
        raise ValueError(
            f"the samples have shape {samples.shape[1:]}, the annotators' masks {annotators.shape[1:]}. Both must lie "
            f"on the same grid: crop or resample both together."
        )
    either = (samples > 0).any(0) | (annotators > 0).any(0)
    s, y = (x[:, either].astype(float) for x in (samples, annotators))
    across = np.mean([_distance(a, b) for a, b in product(s, y)])
    return float(2 * across - _mean_distance(s, fair=fair) - _mean_distance(y, fair=fair))


def crps(samples: Sequence[float] | np.ndarray, observed: object, *, fair: bool = False) -> float:
    r"""$\overline{|x_i - y|} - \frac12 \overline{|x_i - x_j|}$ of sampled values x, in their unit; 0 is best.

    For a single sample it is the absolute error. `observed` is one number or several, such as the volumes that four
    annotators drew, over which the mean is taken. `fair=True` divides the second sum by m (m - 1) instead of m²: the
    score that infinitely many such samples would get.
    """
    x, y = np.sort(np.asarray(samples, float)), np.atleast_1d(np.asarray(observed, float))
    m = x.shape[0] if x.ndim == 1 else 0
    if m < 1 + fair or not y.size or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(
            f"samples of shape {x.shape} and observations of shape {y.shape} came; needed are {1 + fair} finite "
            f"numbers or more, and one observation or more. For instance crps(volume_samples(p, spacing=…), volume)."
        )
    rank = 2 * np.arange(1, m + 1) - m - 1
    pairs = 2 * (rank * x).sum() / (m * (m - 1 if fair else m))  # the mean of |xi - xj|
    return float(np.abs(x[:, None] - y.ravel()).mean() - pairs / 2)


def _stacked(masks: Masks, what: str, *, fair: bool) -> np.ndarray:
    masks = masks if isinstance(masks, list | tuple) else as_array(masks, f"the {what}s", example="(n, *space) masks")
    given = [as_probabilities(mask, f"a mask of the {what}s") for mask in masks]
    if len(given) < 1 + fair:
        raise ValueError(
            f"{len(given)} {what} masks came, needed are {1 + fair} or more. Pass (n, *space), such as "
            f"case.extras['readers'], or threshold_masks(p) for one map of probabilities."
        )
    if len({mask.shape for mask in given}) > 1:
        raise ValueError(f"the {what}s' masks have shapes {sorted({m.shape for m in given})}. Pass one grid for all.")
    return np.stack(given)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    shared = np.minimum(a, b).sum()
    union = a.sum() + b.sum() - shared
    return 1 - shared / union if union else 0.0


def _mean_distance(masks: np.ndarray, *, fair: bool) -> float:
    n = len(masks)
    return 2 * sum(_distance(a, b) for a, b in combinations(masks, 2)) / (n * (n - 1 if fair else n))
