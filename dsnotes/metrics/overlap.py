"""Overlap of two masks: counts of voxels, and the ratios that the papers report.

`eps` is added to numerator and denominator: 1 in µ-Net; 0, the default, in the other papers. Where that gives 0 / 0,
two empty masks score 1, and anything else scores 0: a system that marks nothing in a patient with a tumour should not
get a perfect PPV. With µ-Net's eps = 1 it does: (0 + 1) / (0 + 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsnotes.data.conversion import Array, as_array


@dataclass(frozen=True)
class Confusion:
    """Numbers of true positive, false positive, false negative and true negative voxels; `+` sums over cases."""

    tp: int
    fp: int
    fn: int
    tn: int

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)


def confusion(prediction: Array, truth: Array) -> Confusion:
    """Count the voxels of two masks on the same grid."""
    prediction, truth = as_masks(prediction, truth)
    tp, marked, present = (int(np.count_nonzero(m)) for m in (prediction & truth, prediction, truth))
    return Confusion(tp, marked - tp, present - tp, truth.size - marked - present + tp)


def dice(prediction: Array, truth: Array, *, eps: float = 0) -> float:
    """(2 TP + eps) / (2 TP + FP + FN + eps)."""
    return dice_of(confusion(prediction, truth), eps=eps)


def iou(prediction: Array, truth: Array, *, eps: float = 0) -> float:
    """(TP + eps) / (TP + FP + FN + eps), also called Jaccard; Dice / (2 - Dice) when eps is 0."""
    return iou_of(confusion(prediction, truth), eps=eps)


def ppv(prediction: Array, truth: Array, *, eps: float = 0) -> float:
    """(TP + eps) / (TP + FP + eps), also called precision: the fraction of marked voxels that is right."""
    return ppv_of(confusion(prediction, truth), eps=eps)


def sensitivity(prediction: Array, truth: Array, *, eps: float = 0) -> float:
    """(TP + eps) / (TP + FN + eps), also called recall: the fraction of true voxels that is marked."""
    return sensitivity_of(confusion(prediction, truth), eps=eps)


def accuracy(prediction: Array, truth: Array, *, eps: float = 0) -> float:
    """(TP + TN + eps) / (all voxels + eps); near 1 for any small organ, even if it is missed."""
    return accuracy_of(confusion(prediction, truth), eps=eps)


def dice_of(c: Confusion, *, eps: float = 0) -> float:
    return _ratio(2 * c.tp, c.fp + c.fn, c, eps)


def iou_of(c: Confusion, *, eps: float = 0) -> float:
    return _ratio(c.tp, c.fp + c.fn, c, eps)


def ppv_of(c: Confusion, *, eps: float = 0) -> float:
    return _ratio(c.tp, c.fp, c, eps)


def sensitivity_of(c: Confusion, *, eps: float = 0) -> float:
    return _ratio(c.tp, c.fn, c, eps)


def accuracy_of(c: Confusion, *, eps: float = 0) -> float:
    return _ratio(c.tp + c.tn, c.fp + c.fn, c, eps)


def _ratio(right: int, wrong: int, c: Confusion, eps: float) -> float:
    """(right + eps) / (right + wrong + eps)."""
    whole = right + wrong + eps
    if whole == 0:
        return 1.0 if c.tp + c.fp + c.fn == 0 else 0.0
    return (right + eps) / whole


def as_masks(prediction: Array, truth: Array) -> tuple[np.ndarray, np.ndarray]:
    """Both as bool, or an error that says what to type."""
    prediction, truth = both_arrays(prediction, truth, "prediction")
    if prediction.shape != truth.shape:
        raise ValueError(
            f"the prediction has shape {prediction.shape}, the truth {truth.shape}. Both must lie on the same grid: "
            f"undo the crop or the resampling of the prediction first (dsnotes.predict does)."
        )
    return _as_mask(prediction, "prediction"), _as_mask(truth, "truth")


def both_arrays(first: Array, truth: Array, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays; tensors are accepted."""
    example = "label maps, such as dsnotes.to_label(p) and case.label"
    return as_array(first, f"the {name}", example=example), as_array(truth, "the truth", example=example)


def _as_mask(mask: np.ndarray, name: str) -> np.ndarray:
    if mask.dtype == bool:
        return mask
    require_whole(mask, name)
    if mask.size and (mask.max() > 1 or mask.min() < 0):
        raise ValueError(
            f"the {name} holds the values {_some_values(mask)}, but a mask holds 0 and 1. "
            f"Choose one class, {name} == {mask.max()}, or score them all: dsnotes.score({name}, …)."
        )
    return mask.view(bool) if mask.itemsize == 1 else mask.astype(bool)


def require_whole(label: np.ndarray, name: str) -> None:
    """Raise an error for probabilities, NaN and anything else that is not a class index."""
    if label.dtype.kind in "biu":
        return
    if label.dtype.kind == "f" and np.isnan(label).any():
        raise ValueError(
            f"the {name} holds NaN in {np.isnan(label).sum()} of {label.size} voxels. Look where they are and "
            f"correct their source: np.argwhere(np.isnan({name}))."
        )
    raise TypeError(
        f"the {name} is {label.dtype}; needed is a label map of whole numbers or a mask of bool. "
        f"Threshold probabilities, {name} >= 0.5, or take the likeliest class, dsnotes.to_label({name})."
    )


def _some_values(label: np.ndarray) -> str:
    values = np.unique(label).tolist()
    return str(values) if len(values) <= 6 else f"[{', '.join(map(str, values[:5]))}, … {values[-1]}]"
