"""Supervision: where a network is told what it should have said, and with which weight."""

from dsnotes.supervision.multi_scale import MultiScale, halving
from dsnotes.supervision.objective import Batch, Objective, supervise
from dsnotes.supervision.plain import Plain
from dsnotes.supervision.restoration import Restoration
from dsnotes.supervision.targets import one_hot, probabilities, reduce
from dsnotes.supervision.two_pathway import TwoPathway

__all__ = [
    "Batch",
    "MultiScale",
    "Objective",
    "Plain",
    "Restoration",
    "TwoPathway",
    "halving",
    "one_hot",
    "probabilities",
    "reduce",
    "supervise",
]
