"""Proper scores, which are best on average if the probabilities are the true ones: Brier and log score.

Gneiting and Raftery 2007, https://doi.org/10.1198/016214506000001437. Everywhere `p` and `t` are one map each, or one
list each with a map per case; `t` is a mask or a share in [0, 1] on the same grid, or a label map for (classes, *space)
probabilities. `where` keeps the voxels where it is not 0.
"""

from __future__ import annotations

import numpy as np

from dsnotes.data.conversion import SMALLEST, Array, Maps, as_array, as_list


def brier(p: Maps, t: Maps, *, where: Maps | None = None) -> float:
    r"""$\overline{(p - t)^2}$ over all voxels; with several classes $\overline{\sum_c (p_c - [t = c])^2}$, from 0 to 2.

    For a soft target it is the squared error of the share. Drawing each voxel's label from its share instead would add
    the constant $\overline{t (1 - t)}$.
    """
    return sum_over_classes(lambda p, t: (p - t) ** 2, p, t, where)


def log_score(p: Maps, t: Maps, *, where: Maps | None = None) -> float:
    r"""$-\overline{t \ln p + (1 - t) \ln(1 - p)}$, with several classes $-\overline{\ln p_t}$; lower is better.

    Also called negative log-likelihood. p is clipped to [1e-7, 1 - 1e-7], so one voxel costs at most 16.1.
    """
    if several_classes(p, t):
        return sum_over_classes(lambda p, t: -t * np.log(clipped(p)), p, t, where)
    return sum_over_classes(lambda p, t: -(t * np.log(clipped(p)) + (1 - t) * np.log1p(-clipped(p))), p, t, where)


def clipped(p: np.ndarray) -> np.ndarray:
    return np.clip(p, SMALLEST, 1 - SMALLEST)


def sum_over_classes(cost, p: Maps, t: Maps, where: Maps | None) -> float:
    """The mean over voxels of `cost(p, t)`, summed over the classes if there are several."""
    if not several_classes(p, t):
        flat, target, _ = pooled(p, t, where)
        return float(cost(flat, target).mean())
    total = 0.0
    for value in range(len(as_list(p)[0])):
        ps, ts = one_class(p, t, value)
        flat, target, _ = pooled(ps, ts, where)
        total += float(cost(flat, target).mean())
    return total


def pooled(p: Maps, t: Maps, where: Maps | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probability, target and case number of every voxel that is scored, each (n,)."""
    ps, ts = as_list(p), as_list(t)
    wheres = [None] * len(ps) if where is None else as_list(where)
    if not len(ps) or len({len(ps), len(ts), len(wheres)}) > 1:
        raise ValueError(
            f"{len(ps)} maps of probabilities came with {len(ts)} targets and {len(wheres)} regions. Pass one of each "
            f"per case, in the same order."
        )
    parts = [_pair(*one) for one in zip(ps, ts, wheres, strict=True)]
    if not sum(len(part[0]) for part in parts):
        raise ValueError("no voxel is left to score. Pass a region that holds some: where=boundary_band(label, …).")
    case = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]), case


def several_classes(p: Maps, t: Maps) -> bool:
    """Whether p is (classes, *space) with two classes or more, and t a label map."""
    p, t = as_list(p), as_list(t)
    return bool(len(p) and len(t)) and np.ndim(p[0]) == np.ndim(t[0]) + 1 and len(p[0]) > 1


def one_class(p: Maps, label: Maps, value: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The probabilities of one class of (classes, *space) and the mask of it, per case."""
    ps = [as_array(x, "p", example="probabilities (classes, *space)") for x in as_list(p)]
    labels = [as_array(x, "the label", example="case.label") for x in as_list(label)]
    for x in labels:
        if x.dtype.kind == "f" or x.max(initial=0) >= max(len(ps[0]), 2):
            raise ValueError(
                f"the label holds {x.max(initial=0)} ({x.dtype}), but p has {len(ps[0])} classes. Pass a label map of "
                f"those classes, or one class and its share: p[1], share."
            )
    return [x[0 if len(x) == 1 else value] for x in ps], [x == value for x in labels]


def as_probabilities(p: Array, name: str = "p") -> np.ndarray:
    """An array of finite numbers in [0, 1], or an error that says what to type."""
    p = as_array(p, name, example="probabilities, such as dsnotes.predict(system, case)")
    if p.dtype == bool or not p.size:
        return p
    low, high = float(p.min()), float(p.max())
    if np.isnan(low) or np.isnan(high):
        raise ValueError(f"{name} holds NaN in {int(np.isnan(p).sum())} of {p.size} voxels. Correct their source.")
    if low < 0 or high > 1:
        raise ValueError(
            f"{name} holds values from {low:.4g} to {high:.4g}, but probabilities are from 0 to 1. For logits pass "
            f"logits.sigmoid() (one channel) or logits.softmax(0); for a label map one class, label == 1."
        )
    return p


def _pair(p: Array, t: Array, where: Array | None) -> tuple[np.ndarray, np.ndarray]:
    p, t = as_probabilities(p), as_array(t, "t", example="a mask or a share, such as case.label == 1")
    if p.ndim == t.ndim + 1 and len(p) == 1:
        p = p[0]
    if p.ndim == t.ndim + 1 and p.shape[1:] == t.shape:
        raise ValueError(
            f"probabilities of {len(p)} classes came, but this score is of one. Choose it, p[1] and label == 1, or "
            f"score all: by_class(expected_calibration_error, p, label)."
        )
    if p.shape != t.shape:
        raise ValueError(f"p has shape {p.shape}, t {t.shape}. Both must lie on the same grid: undo the crop first.")
    t = as_probabilities(t, "t")
    if where is None:
        return p.ravel().astype(float), t.ravel().astype(float)
    kept = as_array(where, "where", example="a mask, such as boundary_band(label, spacing=…, width=2)")
    if kept.shape != p.shape:
        raise ValueError(f"where has shape {kept.shape}, p {p.shape}. Pass one number per voxel of p.")
    return p[kept != 0].astype(float), t[kept != 0].astype(float)
