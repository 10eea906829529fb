"""Scores of label maps against the truth, on NumPy arrays; distances in mm."""

from dsnotes.metrics.compare import (
    Agreement,
    PairedTest,
    SliceErrors,
    agreement,
    consensus,
    holm,
    paired_t_test,
    slice_dice,
    slice_errors,
    wilcoxon,
)
from dsnotes.metrics.overlap import Confusion, accuracy, confusion, dice, iou, pooled_f1, ppv, sensitivity
from dsnotes.metrics.score import score
from dsnotes.metrics.surface import hausdorff, hausdorff95, mean_surface_distance, surface_distances

__all__ = [
    "Agreement",
    "Confusion",
    "PairedTest",
    "SliceErrors",
    "accuracy",
    "agreement",
    "confusion",
    "consensus",
    "dice",
    "hausdorff",
    "hausdorff95",
    "holm",
    "iou",
    "mean_surface_distance",
    "paired_t_test",
    "pooled_f1",
    "ppv",
    "score",
    "sensitivity",
    "slice_dice",
    "slice_errors",
    "surface_distances",
    "wilcoxon",
]
