"""Steps for a network with a frozen teacher, which answers once an image and is then remembered across epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from dsnotes.networks.teacher import Memory
from dsnotes.supervision.objective import Batch
from dsnotes.training.adversarial_step import AdversarialStep
from dsnotes.training.settings import Settings
from dsnotes.training.step import PlainStep

if TYPE_CHECKING:
    from dsnotes.training.system import System


class Remembering:
    """Before a kind of step: no weight of the teacher moves, so without augmentation its answers stand for the run.

    `memory` is the most bytes they may take, 0 for none; they go when the step goes. An answer at 256² with 64 maps
    takes 17 MB, so 2^30 holds 60 nodules at the paper's width and 250 at width 16.
    """

    def __init__(self, system: System, settings: Settings, *, memory: int = 2**30, **how) -> None:
        super().__init__(system, settings, **how)
        self.memory = None if settings.augment else Memory(memory)

    def forward_terms(self, batch: Batch) -> dict[str, Tensor]:
        with self.network.backbone.teacher.remembering(self.memory):
            return super().forward_terms(batch)


class TaughtStep(Remembering, PlainStep):
    pass


class TaughtAdversarialStep(Remembering, AdversarialStep):
    pass
