"""Losses: pure functions of (prediction, target), to be minimised."""

from dsnotes.losses.adversarial import critic_loss, generator_loss
from dsnotes.losses.cross_entropy import bce_dice, binary_cross_entropy, cross_entropy
from dsnotes.losses.exponential_log import exponential_log
from dsnotes.losses.full_scale import focal, full_scale, ms_ssim, soft_iou
from dsnotes.losses.overlap import dice_coefficient, soft_dice
from dsnotes.losses.reconstruction import binary_entropy, min_max, restoration_bce, restoration_l1, restoration_mse
from dsnotes.losses.semimetric import dice_semimetric, jaccard_metric

__all__ = [
    "bce_dice",
    "binary_cross_entropy",
    "binary_entropy",
    "critic_loss",
    "cross_entropy",
    "dice_coefficient",
    "dice_semimetric",
    "exponential_log",
    "focal",
    "full_scale",
    "generator_loss",
    "jaccard_metric",
    "min_max",
    "ms_ssim",
    "restoration_bce",
    "restoration_l1",
    "restoration_mse",
    "soft_dice",
    "soft_iou",
]
