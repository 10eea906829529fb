"""Prediction with a trained system: sliding windows, mirroring, label maps and their clean-up."""

from dsnotes.inference.components import keep_kidneys, remove_small
from dsnotes.inference.members import predict_members
from dsnotes.inference.mirror import mirror
from dsnotes.inference.predict import predict, to_label
from dsnotes.inference.sliding_window import sliding_window
from dsnotes.inference.temperature_scaling import Scaling, fit_temperature, fit_vector_scaling, recalibrated
from dsnotes.inference.thresholds import at_thresholds

__all__ = [
    "Scaling",
    "at_thresholds",
    "fit_temperature",
    "fit_vector_scaling",
    "keep_kidneys",
    "mirror",
    "predict",
    "predict_members",
    "recalibrated",
    "remove_small",
    "sliding_window",
    "to_label",
]
