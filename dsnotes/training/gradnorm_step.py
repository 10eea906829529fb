"""A step that balances the objective's tasks with GradNorm; works with any supervision of several terms.

    replace(system, make_step=partial(GradNormStep, asymmetry=1.5))

An objective may define which terms form a task and where their weights are kept (`tasks` and `weigh`, as in
`TwoPathway`); otherwise every term is a task and the step multiplies it by its weight.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsnotes.networks.base import Network
from dsnotes.supervision.base import Batch
from dsnotes.supervision.gradnorm import GradNorm
from dsnotes.training import devices
from dsnotes.training.settings import Settings
from dsnotes.training.step import PlainStep, Trainable


class GradNormStep(PlainStep):
    """`shared` names the parameter W_s that all tasks share; None is the coarsest decoder block's last convolution.

    The gradient norms at W_s come from the graph of the step: one backward pass per task down to W_s, without the
    weight gradients of the layers in between.
    """

    def __init__(
        self,
        system: Trainable,
        settings: Settings,
        *,
        shared: str | None = None,
        asymmetry: float = 1.5,
        balance_lr: float = 0.025,
        start: tuple[float, ...] | None = None,
        **how,
    ) -> None:
        super().__init__(system, settings, **how)
        self.shared = shared_parameter(system.network, shared)
        self.options = {"asymmetry": asymmetry, "lr": balance_lr, "start": start, "device": self.shared.device}
        self.balance: GradNorm | None = None
        self.pulls: list[Tensor] = []  # ∇_Ws α_m L_m over the micro-batches so far
        self.losses: list[Tensor] = []
        self.seen: dict[str, Tensor] = {}  # α, G and r of the last step, one value per task
        if hasattr(self.objective, "tasks"):
            self.tasks = self.objective.tasks(system.network)
            self.begin()

    def begin(self) -> None:
        self.balance = GradNorm(tuple(self.tasks), **self.options)
        self.optimisers["balance"] = self.balance.optimiser
        self.set_weights()

    def set_weights(self) -> None:
        """Pass the weights to the objective, if it keeps them."""
        if hasattr(self.objective, "weigh"):
            self.objective.weigh(self.network, self.balance.weights)

    def forward_terms(self, batch: Batch) -> dict[str, Tensor]:
        terms = super().forward_terms(batch)
        if self.balance is None:  # the names of the terms are known from here on
            self.tasks = {name: (name,) for name in terms}
            self.begin()
        if hasattr(self.objective, "weigh"):
            return terms
        return {name: w * terms[name] for name, w in zip(self.tasks, self.balance.weights.clone(), strict=True)}

    def backward(self, terms: dict[str, Tensor], share: float) -> None:
        own = [share * sum(terms[name] for name in names) for names in self.tasks.values()]
        pulls = [torch.autograd.grad(loss, self.shared, retain_graph=True)[0] for loss in own]
        self.pulls = [a + b for a, b in zip(self.pulls, pulls, strict=True)] if self.pulls else pulls
        losses = [loss.detach() for loss in own]
        self.losses = [a + b for a, b in zip(self.losses, losses, strict=True)] if self.losses else losses
        super().backward(terms, share)

    def update(self) -> Tensor:
        norm = super().update()
        pulls, losses = (
            devices.total(torch.stack(parts)) / devices.world_from_env().size for parts in (self.pulls, self.losses)
        )
        self.pulls, self.losses = [], []
        alpha = self.balance.weights
        seen = self.balance.update(losses / alpha, pulls.flatten(1).norm(dim=1) / alpha)
        self.seen = {"alpha": self.balance.weights.clone(), "pull": seen["pull"], "rate": seen["rate"]}
        self.set_weights()
        return norm

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """The step's record, and for each task its weight α, its gradient norm G ("pull") and its rate L / L(0)."""
        record = super().__call__(batch)
        return record | {
            f"{what} {name}": value
            for what, values in self.seen.items()
            for name, value in zip(self.tasks, values, strict=True)
        }

    def state_dict(self) -> dict:
        return {} if self.balance is None else {"tasks": self.tasks, "balance": self.balance.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        if not state:
            return
        if self.balance is None:
            self.tasks = state["tasks"]
            self.begin()
        self.balance.load_state_dict(state["balance"])
        self.set_weights()


def shared_parameter(network: Network, name: str | None) -> nn.Parameter:
    """The parameter `name`; by default the last convolution of the coarsest decoder block."""
    named = {at: p for at, p in network.named_parameters() if p.ndim > 2}
    if name is None:
        blocks = [at for at in named if at.startswith("backbone.decoder.")]
        if blocks:
            coarsest = max(int(at.split(".")[2]) for at in blocks)
            name = next(at for at in reversed(blocks) if at.startswith(f"backbone.decoder.{coarsest}."))
            if ".shortcut." in name:
                name = next(at for at in reversed(blocks) if at.startswith(f"backbone.decoder.{coarsest}.body."))
    if name not in named:
        raise ValueError(
            f"GradNorm compares the tasks at one shared parameter, but this network has none called {name!r}. "
            f"Name a convolution that all tasks share, shared=..., such as {', '.join(list(named)[:3])}, …"
        )
    return named[name]
