"""A training step for the network and a critic, which belongs to the step.

    replace(system, make_step=AdversarialStep)

The objective provides the critic (`critic(backbone)`), its inputs (`pairs(outputs, batch)`) and the term for deceiving
it (`adversarial_term(critic, outputs, batch)`). Each batch updates the network once and then the critic once, on the
prediction that the network was updated with. The checkpoint holds the critic in the step's state, and its optimiser
beside the network's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsnotes.losses import critic_loss
from dsnotes.shapes import Outputs
from dsnotes.supervision.base import Batch
from dsnotes.training import distributed
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
        self.critic.load_state_dict(distributed.from_first(self.critic.state_dict()))
        self.optimisers["critic"] = make_optimiser(self.critic, settings)
        self.critic_share = 1.0 if critic_lr is None else critic_lr / settings.lr
        self.rounds: list[tuple[Tensor, Tensor, float]] = []  # true, predicted, share of the samples

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        deceived = self.objective.adversarial_term(self.critic, outputs, batch)
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
        optimiser.zero_grad(set_to_none=True)  # the network's backward pass left gradients here
        self.seen = {}
        for real, fake, share in self.rounds:
            true, made = self.critic(real), self.critic(fake)
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
    if not distributed.several():
        return
    size = distributed.world_from_env().size
    for parameter in module.parameters():
        parameter.grad = distributed.total(parameter.grad) / size
