"""A training step for the network and a critic, which belongs to the step; and steps with a cached teacher.

    replace(system, make_step=AdversarialStep)

The objective provides the critic (`critic(backbone)`), its inputs (`pairs(outputs, batch)`) and the term for deceiving
it (`adversarial_term(critic, outputs, batch)`). Each batch updates the network once and then the critic once, on the
prediction that the network was updated with. The checkpoint holds the critic in the step's state, and its optimiser
beside the network's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dsnotes.losses import critic_loss
from dsnotes.networks.teacher import OutputCache
from dsnotes.shapes import Outputs
from dsnotes.supervision.base import Batch
from dsnotes.training import devices
from dsnotes.training.forward_pass import to_channels_last
from dsnotes.training.history import History
from dsnotes.training.settings import Settings
from dsnotes.training.step import PlainStep, Trainable, make_optimiser

PATIENCE = 3  # consecutive epochs before a critic counts as collapsed
CERTAIN = 0.02  # the critic has won if its mean scores are this near to 1 and 0
WON = (
    "the critic has won: for {n} epochs it has scored true inputs near 1 and predicted ones near 0 ('score real' and "
    "'score fake' in the history), so its gradient no longer shows how to improve. Slow it down "
    "with critic_lr= (a tenth of lr, say) or critic_width=, or train without it."
)
BLIND = (
    "the critic is blind: for {n} epochs it has given true and predicted inputs the same score ('score real' and "
    "'score fake' in the history), so its term is noise. If the validation score is good, this is the end of a "
    "successful training; otherwise raise critic_lr=, or train without it."
)


class AdversarialStep(PlainStep):
    """`critic_lr` is the critic's learning rate, by default `settings.lr`; the schedule scales both."""

    def __init__(self, system: Trainable, settings: Settings, *, critic_lr: float | None = None, **how) -> None:
        if not hasattr(system.objective, "critic"):
            raise TypeError(
                f"an adversarial step needs a critic, but {type(system.objective).__name__} has none. Use an "
                f"objective such as SoftAdversarial(), or keep the default make_step."
            )
        super().__init__(system, settings, **how)
        weight = next(system.network.parameters())
        self.critic = self.objective.critic(system.network.backbone).to(weight.device)
        to_channels_last(self.critic, "auto", amp=self.forward_pass.amp)
        self.critic.load_state_dict(devices.from_first(self.critic.state_dict()))
        self.optimisers["critic"] = make_optimiser(self.critic, settings)
        self.critic_share = 1.0 if critic_lr is None else critic_lr / settings.lr
        self.rounds: list[tuple[Tensor, Tensor, float]] = []  # true, predicted, share of the samples

    def scores(self, pair: Tensor) -> Tensor:
        """The critic's logits in float32; like the network, the critic computes in the step's dtype."""
        amp = self.forward_pass.amp
        with torch.autocast(pair.device.type, amp, enabled=amp is not None):
            return self.critic(pair).float()

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        self.critic.requires_grad_(False)  # only the network learns from this term
        deceived = self.objective.adversarial_term(self.scores, outputs, batch)
        self.critic.requires_grad_(True)
        return {**self.objective.terms(outputs, batch), "adversarial": deceived}

    def forward_terms(self, batch: Batch) -> dict[str, Tensor]:
        outputs, terms = self.parallel(batch)
        with torch.no_grad():
            self.shown = self.objective.pairs(outputs, batch)
        return terms

    def backward(self, terms: dict[str, Tensor], share: float) -> None:
        super().backward(terms, share)
        self.rounds.append((*self.shown, share))

    def update(self) -> Tensor:
        norm = super().update()
        optimiser = self.optimisers["critic"]
        optimiser.zero_grad(set_to_none=True)
        self.seen = {}
        for real, fake, share in self.rounds:
            true, made = self.scores(real), self.scores(fake)
            loss = critic_loss(true, made)
            (share * loss).backward()
            scores = {"critic": loss, "score real": true.sigmoid().mean(), "score fake": made.sigmoid().mean()}
            for name, value in scores.items():
                self.seen[name] = self.seen.get(name, 0.0) + share * value.detach()
        average_gradients(self.critic)
        if self.settings.clip is not None:
            nn.utils.clip_grad_norm_(self.critic.parameters(), self.settings.clip)
        optimiser.step()
        return norm

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        self.rounds = []
        self.critic.train()
        return super().__call__(batch) | self.seen

    def evaluate(self, batch: Batch) -> tuple[Outputs, dict[str, Tensor]]:
        self.critic.eval()
        return super().evaluate(batch)

    def set_lr(self, lr: float) -> None:
        super().set_lr(lr)
        for group in self.optimisers["critic"].param_groups:
            group["lr"] = lr * self.critic_share

    def state_dict(self) -> dict:
        return {"critic": self.critic.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.critic.load_state_dict(state["critic"])

    def diagnose(self, history: History) -> str | None:
        return collapse(history)


def collapse(history: History, patience: int = PATIENCE) -> str | None:
    """A warning if the critic has collapsed in the last `patience` epochs, with the remedy; else None."""
    if len(history) < patience:
        return None
    scores = [(record["score real"], record["score fake"]) for record in history[-patience:]]
    if all(real > 1 - CERTAIN and fake < CERTAIN for real, fake in scores):
        return WON.format(n=patience)
    if all(abs(real - fake) < CERTAIN / 10 for real, fake in scores):
        return BLIND.format(n=patience)
    return None


def average_gradients(module: nn.Module) -> None:
    """Average the gradients over the processes: DistributedDataParallel does not see the critic."""
    if not devices.several():
        return
    size = devices.world_from_env().size
    for parameter in module.parameters():
        parameter.grad = devices.total(parameter.grad) / size


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
        self.name, self.teacher, self.cache = system.name, system.network.backbone.teacher, OutputCache(memory)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        with self.attach_cache(not self.settings.augment):
            return super().__call__(batch)

    def evaluate(self, batch: Batch) -> tuple[Outputs, dict[str, Tensor]]:
        with self.attach_cache(True):
            return super().evaluate(batch)

    @contextmanager
    def attach_cache(self, images_return: bool) -> Iterator[None]:
        """Inside, the teacher uses the cache if `images_return`."""
        self.teacher.cache = self.cache if images_return else None
        try:
            yield
        finally:
            self.teacher.cache = None

    def diagnose(self, history: History) -> str | None:
        """Warn of an untrained teacher when training begins, but not when a system is built or loaded."""
        if len(history) or self.teacher.generator.output.weight.any():
            return super().diagnose(history)
        return UNTRAINED.format(name=self.name)


class CachedTeacherStep(CachedTeacher, PlainStep):
    pass


class CachedTeacherAdversarialStep(CachedTeacher, AdversarialStep):
    pass
