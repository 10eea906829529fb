"""Steps for a network with a frozen teacher, whose outputs are cached across epochs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from dsnotes.networks.teacher import Memory
from dsnotes.shapes import Outputs
from dsnotes.supervision.base import Batch
from dsnotes.training.adversarial_step import AdversarialStep
from dsnotes.training.history import History
from dsnotes.training.settings import Settings
from dsnotes.training.step import PlainStep, Trainable

UNTRAINED = (
    "{name} has an untrained teacher: its super-resolved image is the interpolated one and its features are random. "
    "Train one on any CT, teacher, _ = dsnotes.papers.dsnet.train_teacher(cases), and build again: "
    "dsnotes.build('{name}', teacher=teacher)."
)


class CachedTeacher:
    """A mixin for a step: the teacher is frozen, so its outputs for repeated images are cached.

    Validation images repeat, and training images do without augmentation. `memory` limits the cache in bytes; 0 turns
    it off. The cache lives as long as the step. One output at 256² with 64 maps takes 17 MB, so 2^30 bytes hold 60
    nodules at the paper's width and 250 at width 16.
    """

    def __init__(self, system: Trainable, settings: Settings, *, memory: int = 2**30, **how) -> None:
        super().__init__(system, settings, **how)
        self.name, self.teacher, self.memory = system.name, system.network.backbone.teacher, Memory(memory)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        with self.lent(not self.settings.augment):
            return super().__call__(batch)

    def evaluate(self, batch: Batch) -> tuple[Outputs, dict[str, Tensor]]:
        with self.lent(True):
            return super().evaluate(batch)

    @contextmanager
    def lent(self, images_return: bool) -> Iterator[None]:
        """Inside, the teacher uses the cache if `images_return`."""
        self.teacher.memory = self.memory if images_return else None
        try:
            yield
        finally:
            self.teacher.memory = None

    def diagnose(self, history: History) -> str | None:
        """Warn of an untrained teacher when training begins, but not when a system is built or loaded."""
        if len(history) or self.teacher.generator.output.weight.any():
            return super().diagnose(history)
        return UNTRAINED.format(name=self.name)


class CachedTeacherStep(CachedTeacher, PlainStep):
    pass


class CachedTeacherAdversarialStep(CachedTeacher, AdversarialStep):
    pass
