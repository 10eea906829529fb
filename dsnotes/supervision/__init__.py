"""Supervision: where a network is told what it should have said, and with which weight."""

from dsnotes.supervision.multi_scale import MultiScale, halving
from dsnotes.supervision.objective import Batch, Objective, supervise
from dsnotes.supervision.plain import Plain
from dsnotes.supervision.targets import one_hot, probabilities, reduce

__all__ = ["Batch", "MultiScale", "Objective", "Plain", "halving", "one_hot", "probabilities", "reduce", "supervise"]
