"""A step of two players: the network, and the critic that its objective brought along.

    replace(system, make_step=AdversarialStep)

The objective offers `pairs(outputs, batch)`: what the critic is shown as true and as made. Each batch moves the
network once and then the critic once, on the prediction the network has just been moved for. The critic's weights are
the network's (`heads["critic"]`), its optimiser is the step's second: the checkpoint holds both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dsnotes.losses import critic_loss
from dsnotes.networks.base import Network
from dsnotes.supervision.base import Batch
from dsnotes.supervision.soft_adversarial import judge_of
from dsnotes.training import distributed
from dsnotes.training.history import History
from dsnotes.training.settings import Number, Settings
from dsnotes.training.step import PlainStep, make_optimiser

if TYPE_CHECKING:
    from dsnotes.training.system import System

PATIENCE = 3  # epochs in a row before a critic is called collapsed
CERTAIN = 0.02  # of a mean score: how near to 1 and 0 the critic has won, how near to each other it is blind
WON = (
    "the critic has won: for {n} epochs it has scored true ones nearly 1 and made ones nearly 0 ('score real' and "
    "'score fake' in the history), so that its gradient no longer says in which direction to improve. Slow it down "
    "with critic_lr= (a tenth of lr, say) or critic_width=, or train without it."
)
BLIND = (
    "the critic is blind: for {n} epochs it has scored true and made alike ('score real' and 'score fake' in the "
    "history), so that its term is noise. If the validation score is as high as you hoped, the game is over and that "
    "is well; otherwise raise critic_lr=, or train without it."
)


class AdversarialStep(PlainStep):
    """`critic_lr` stands beside `settings.lr`, by default the same; the schedule scales both alike."""

    def __init__(self, system: System, settings: Settings, *, critic_lr: Number | None = None, **how) -> None:
        super().__init__(system, settings, **how)
        self.objective = system.objective
        self.judge = judge_of(system.network)
        player = without_critic(system.network)
        self.parameters = list(player.parameters())
        self.optimisers = {
            "network": make_optimiser(player, settings),
            "critic": make_optimiser(self.judge, settings),
        }
        self.critic_share = 1.0 if critic_lr is None else critic_lr / settings.lr
        self.rounds: list[tuple[Tensor, Tensor, float]] = []  # true, made, share of the samples

    def forward_terms(self, batch: Batch) -> dict[str, Tensor]:
        seen = []
        hook = self.network.register_forward_hook(lambda module, given, outputs: seen.append(outputs))
        try:
            terms = super().forward_terms(batch)
        finally:
            hook.remove()
        with torch.no_grad():
            self.shown = self.objective.pairs(seen[0], batch)
        return terms

    def backward(self, terms: dict[str, Tensor], share: float) -> None:
        super().backward(terms, share)
        self.rounds.append((*self.shown, share))

    def update(self) -> Tensor:
        norm = super().update()
        optimiser = self.optimisers["critic"]
        optimiser.zero_grad(set_to_none=True)  # of what deceiving it left there
        self.seen = {}
        for real, fake, share in self.rounds:
            true, made = self.judge(real), self.judge(fake)
            loss = critic_loss(true, made)
            (share * loss).backward()
            scores = {"critic": loss, "score real": true.sigmoid().mean(), "score fake": made.sigmoid().mean()}
            for name, value in scores.items():
                self.seen[name] = self.seen.get(name, 0.0) + share * value.detach()
        average_gradients(self.judge)
        if self.settings.clip is not None:
            nn.utils.clip_grad_norm_(self.judge.parameters(), self.settings.clip)
        optimiser.step()
        return norm

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        self.rounds = []
        return super().__call__(batch) | self.seen

    def set_lr(self, lr: float) -> None:
        super().set_lr(lr)
        for group in self.optimisers["critic"].param_groups:
            group["lr"] = lr * self.critic_share

    def remark(self, history: History) -> str | None:
        return collapse(history)


def collapse(history: History, patience: int = PATIENCE) -> str | None:
    """What is wrong with the critic over the last `patience` epochs, and what to do; None where it plays."""
    if len(history) < patience:
        return None
    scores = [(record["score real"], record["score fake"]) for record in history[-patience:]]
    if all(real > 1 - CERTAIN and fake < CERTAIN for real, fake in scores):
        return WON.format(n=patience)
    if all(abs(real - fake) < CERTAIN / 10 for real, fake in scores):
        return BLIND.format(n=patience)
    return None


def without_critic(network: Network) -> nn.Module:
    return nn.ModuleList([network.backbone, *(head for name, head in network.heads.items() if name != "critic")])


def average_gradients(module: nn.Module) -> None:
    """The mean over the processes: the critic learns outside of what is shared for the network."""
    if not distributed.several():
        return
    size = distributed.here().size
    for parameter in module.parameters():
        parameter.grad = distributed.total(parameter.grad) / size
