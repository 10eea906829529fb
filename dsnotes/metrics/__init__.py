"""Scores of label maps against the truth, on NumPy arrays; distances in mm."""

from dsnotes.metrics.cohort import Cohort, cohort
from dsnotes.metrics.compare import (
    Agreement,
    PairedTest,
    agreement,
    consensus,
    holm,
    paired_t_test,
    smallest_difference,
    wilcoxon,
)
from dsnotes.metrics.overlap import Confusion, accuracy, confusion, dice, iou, ppv, sensitivity
from dsnotes.metrics.score import score
from dsnotes.metrics.similarity import linear_cka
from dsnotes.metrics.slices import SliceErrors, SliceScores, slice_dice, slice_errors, slice_scores
from dsnotes.metrics.surface import hausdorff, hausdorff95, mean_surface_distance, surface_distances
from dsnotes.metrics.tumours import TumourScore, tumour_scale, tumour_scores

__all__ = [
    "Agreement",
    "Cohort",
    "Confusion",
    "PairedTest",
    "SliceErrors",
    "SliceScores",
    "TumourScore",
    "accuracy",
    "agreement",
    "cohort",
    "confusion",
    "consensus",
    "dice",
    "hausdorff",
    "hausdorff95",
    "holm",
    "iou",
    "linear_cka",
    "mean_surface_distance",
    "paired_t_test",
    "ppv",
    "score",
    "sensitivity",
    "slice_dice",
    "slice_errors",
    "slice_scores",
    "smallest_difference",
    "surface_distances",
    "tumour_scale",
    "tumour_scores",
    "wilcoxon",
]
