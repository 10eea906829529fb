"""Steps for a network with a frozen teacher, which answers once an image and is then remembered across epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsnotes.networks.teacher import Memory
from dsnotes.training.adversarial_step import AdversarialStep
from dsnotes.training.history import History
from dsnotes.training.precision import Terms
from dsnotes.training.settings import Settings
from dsnotes.training.step import PlainStep

if TYPE_CHECKING:
    from dsnotes.training.system import System

UNTRAINED = (
    "{name} is trained with a teacher that is not: the super-resolved image is the interpolated one and the features "
    "are random. Train one on any CT, teacher, _ = dsnotes.papers.dsnet.train_teacher(cases), and build again: "
    "dsnotes.build('{name}', teacher=teacher)."
)


class CachedTeacher:
    """Before a kind of step: no weight of the teacher moves, so its answers to images that come again stay right.

    These are the validation images, and without augmentation those of training. `memory` is the most bytes the answers
    may take, 0 for none; they go when the step goes. One at 256² with 64 maps takes 17 MB, so 2^30 holds 60 nodules at
    the paper's width and 250 at width 16.
    """

    def __init__(self, system: System, settings: Settings, *, memory: int = 2**30, **how) -> None:
        super().__init__(system, settings, **how)
        teacher, answers = system.network.backbone.teacher, Memory(memory)

        def lend(terms: Terms, given: tuple) -> None:
            teacher.memory = None if settings.augment and terms.network.training else answers

        def take_back(terms: Terms, given: tuple, found: object) -> None:
            teacher.memory = None

        self.memory, self.system = answers, system
        self.terms.register_forward_pre_hook(lend)
        self.terms.register_forward_hook(take_back, always_call=True)  # an error does not leave it lent

    def remark(self, history: History) -> str | None:
        """Of a teacher as it came from its constructor, when training begins: building and loading need none."""
        if len(history) or self.system.network.backbone.teacher.generator.output.weight.any():
            return super().remark(history)
        return UNTRAINED.format(name=self.system.name)


class CachedTeacherStep(CachedTeacher, PlainStep):
    pass


class CachedTeacherAdversarialStep(CachedTeacher, AdversarialStep):
    pass
