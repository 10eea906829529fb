"""GradNorm: task weights that equalise the gradient norms at shared weights, with larger ones for slower tasks.

Paper: Chen et al. 2018, https://arxiv.org/abs/1711.02257; as used in MSDS-UNet's Algorithm 1.

    G_m = ‖∇_Ws α_m L_m‖    r_m = (L_m / L_m(0)) / mean    L_grad = Σ_m |G_m - Ḡ r_m^a|    target held constant

Departs from Algorithm 1, which starts every α at 0: then every G is 0, and α is divided by a sum of 0.
The weights sum to 1, as in MSDS-UNet; in the GradNorm paper they sum to the number of tasks, so the network's effective
learning rate is smaller here by that factor.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 1e-3  # lower bound of a weight: at 0 a task could never come back


class GradNorm:
    """The `weights` of `tasks`, with their own optimiser. `asymmetry` is the exponent a, not given in MSDS-UNet."""

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        start: tuple[float, ...] | None = None,
        asymmetry: float = 1.5,
        lr: float = 0.025,
        device: torch.device | str = "cpu",
    ) -> None:
        start = tuple(1 / len(tasks) for _ in tasks) if start is None else start
        if len(tasks) < 2:
            raise ValueError(
                f"GradNorm balances several tasks, but the objective has only {list(tasks)}. Train it with PlainStep."
            )
        if len(start) != len(tasks) or min(start) <= 0:
            raise ValueError(
                f"GradNorm cannot start at {start} for the tasks {list(tasks)}. Every task needs a positive weight, "
                f"because at 0 its gradient norm stays 0. Leave start=None for 1/{len(tasks)} each."
            )
        self.tasks, self.asymmetry = tasks, asymmetry
        self.weights = torch.tensor(start, dtype=torch.float32, device=device)
        self.weights /= self.weights.sum()
        self.optimiser = torch.optim.Adam([self.weights], lr=lr)
        self.first_losses: Tensor | None = None

    def update(self, losses: Tensor, norms: Tensor) -> dict[str, Tensor]:
        """One step of the weights from L_m and ‖∇_Ws L_m‖, both without α; returns G, its target and r.

        The gradient dL_grad/dα_m = sign(α_m g_m - target_m) g_m is written out, so it cannot reach the network.
        """
        if self.first_losses is None:
            if not bool((losses > 0).all()):
                raise ValueError(
                    f"the first losses of {list(self.tasks)} are {losses.tolist()}, but GradNorm divides by them. "
                    f"Use tasks whose loss starts above 0."
                )
            self.first_losses = losses.detach().clone()
        pull = self.weights * norms  # G_m
        rates = losses / self.first_losses
        target = pull.mean() * (rates / rates.mean()) ** self.asymmetry
        self.weights.grad = ((pull - target).sign() * norms).to(self.weights.dtype)  # the network may be in float64
        self.optimiser.step()
        self.weights.clamp_(min=SMALLEST)
        self.weights /= self.weights.sum()
        return {"pull": pull, "target": target, "rate": rates}

    def state_dict(self) -> dict:
        return {
            "tasks": self.tasks,
            "weights": self.weights.clone(),
            "first_losses": self.first_losses,
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        if tuple(state["tasks"]) != self.tasks:
            raise ValueError(
                f"the checkpoint balances {list(state['tasks'])}, this run {list(self.tasks)}. "
                f"Pass another out, or build the system with the checkpoint's sides."
            )
        self.weights.copy_(state["weights"])
        first = state["first_losses"]
        self.first_losses = None if first is None else first.to(self.weights.device)
        self.optimiser.load_state_dict(state["optimiser"])
