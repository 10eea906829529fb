"""Supervision: which outputs of a network are compared with which targets, and with which weights."""

import warnings

from dsnotes.supervision.base import Batch, Supervision, loss_terms, supervise
from dsnotes.supervision.multi_scale import MultiScale, halving
from dsnotes.supervision.plain import Plain
from dsnotes.supervision.restoration import Restoration
from dsnotes.supervision.soft_targets import SoftTargets
from dsnotes.supervision.targets import downsample_target, one_hot, probabilities
from dsnotes.supervision.two_pathway import TwoPathway

RENAMED = {
    "Objective": "Supervision",
    "reduce": "downsample_target",
}  # old public names: they warn, and will be removed in the next release


def __getattr__(name: str) -> object:
    if name not in RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"dsnotes.supervision.{name} is now {RENAMED[name]}. Import that.", DeprecationWarning, stacklevel=2)
    return globals()[RENAMED[name]]


__all__ = [
    "Batch",
    "MultiScale",
    "Plain",
    "Restoration",
    "SoftTargets",
    "Supervision",
    "TwoPathway",
    "downsample_target",
    "halving",
    "loss_terms",
    "one_hot",
    "probabilities",
    "supervise",
]
