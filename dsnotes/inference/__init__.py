"""Prediction with a trained system: sliding windows, mirroring, label maps and their clean-up."""

from dsnotes.inference.components import keep_kidneys, remove_small
from dsnotes.inference.mirror import mirror
from dsnotes.inference.predict import predict, to_label
from dsnotes.inference.sliding_window import sliding_window
from dsnotes.inference.thresholds import at_thresholds

__all__ = ["at_thresholds", "keep_kidneys", "mirror", "predict", "remove_small", "sliding_window", "to_label"]
