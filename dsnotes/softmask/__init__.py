"""Soft masks: trimaps from masks, annotators or RECIST axes, and closed-form matting of their unknown pixels."""

from dsnotes.softmask.cases import noise_eps, softened
from dsnotes.softmask.matting import soft_mask, soft_masks
from dsnotes.softmask.recist import mask_from_recist
from dsnotes.softmask.soft_labels import averaged_labels, blurred_labels, hard_labels, smoothed_labels
from dsnotes.softmask.trimap import trimap_from_annotators, trimap_from_mask, trimap_from_readers

__all__ = [
    "averaged_labels",
    "blurred_labels",
    "hard_labels",
    "mask_from_recist",
    "noise_eps",
    "smoothed_labels",
    "soft_mask",
    "soft_masks",
    "softened",
    "trimap_from_annotators",
    "trimap_from_mask",
    "trimap_from_readers",
]
