"""Scores of label maps and of probabilities against the truth, on NumPy arrays; distances in mm."""

from dsnotes.metrics.calibration import (
    Reliability,
    boundary_band,
    by_class,
    expected_calibration_error,
    reliability,
)
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
from dsnotes.metrics.disagreement import crps, energy_distance
from dsnotes.metrics.effects import Effect, against, effect
from dsnotes.metrics.overlap import Confusion, accuracy, confusion, dice, iou, ppv, sensitivity
from dsnotes.metrics.proper_scores import brier, log_score
from dsnotes.metrics.score import score
from dsnotes.metrics.similarity import linear_cka
from dsnotes.metrics.slices import SliceErrors, SliceScores, slice_dice, slice_errors, slice_scores
from dsnotes.metrics.soft_overlap import area_error, share_error, soft_dice_score, soft_iou_score
from dsnotes.metrics.surface import (
    hausdorff,
    hausdorff95,
    mean_surface_distance,
    surface_dice,
    surface_distances,
    wrong_near_contour,
)
from dsnotes.metrics.tumours import TumourScore, tumour_scale, tumour_scores
from dsnotes.metrics.volumes import (
    VolumeBias,
    expected_volume,
    threshold_masks,
    volume_bias,
    volume_interval,
    volume_samples,
)

__all__ = [
    "Agreement",
    "Cohort",
    "Confusion",
    "Effect",
    "PairedTest",
    "Reliability",
    "SliceErrors",
    "SliceScores",
    "TumourScore",
    "VolumeBias",
    "accuracy",
    "against",
    "agreement",
    "area_error",
    "boundary_band",
    "brier",
    "by_class",
    "cohort",
    "confusion",
    "consensus",
    "crps",
    "dice",
    "effect",
    "energy_distance",
    "expected_calibration_error",
    "expected_volume",
    "hausdorff",
    "hausdorff95",
    "holm",
    "iou",
    "linear_cka",
    "log_score",
    "mean_surface_distance",
    "paired_t_test",
    "ppv",
    "reliability",
    "score",
    "sensitivity",
    "share_error",
    "slice_dice",
    "slice_errors",
    "slice_scores",
    "smallest_difference",
    "soft_dice_score",
    "soft_iou_score",
    "surface_dice",
    "surface_distances",
    "threshold_masks",
    "tumour_scale",
    "tumour_scores",
    "volume_bias",
    "volume_interval",
    "volume_samples",
    "wilcoxon",
    "wrong_near_contour",
]
