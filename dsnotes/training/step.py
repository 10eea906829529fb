"""One batch, one change of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from dsnotes.networks.base import Network
from dsnotes.shapes import Outputs
from dsnotes.supervision.base import Batch, Supervision
from dsnotes.training import distributed
from dsnotes.training.forward_pass import ForwardPass
from dsnotes.training.history import History
from dsnotes.training.settings import Settings


@runtime_checkable
class Trainable(Protocol):
    """What a step needs of a system."""

    name: str
    network: Network
    objective: Supervision


@runtime_checkable
class Step(Protocol):
    """What `fit` calls for every batch; made by `system.make_step(system, settings, amp=…, compile=…)`.

    `optimisers["network"]` is the one whose rate the schedule sets. `evaluate` gives the outputs and terms of a batch
    without learning from it. `state_dict` holds what else must survive a stop, such as a critic or a task's first loss;
    the network and the optimisers are kept by `fit`. `diagnose` looks at the history before the first epoch, when it is
    empty, and after each: a sentence is warned of once and kept in the history's notes.
    """

    optimisers: dict[str, Optimizer]

    def __call__(self, batch: Batch) -> dict[str, Tensor]: ...

    def evaluate(self, batch: Batch) -> tuple[Outputs, dict[str, Tensor]]: ...

    def set_lr(self, lr: float) -> None: ...

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...

    def diagnose(self, history: History) -> str | None: ...


class PlainStep:
    """Forward, backward, step. What differs in a game or a balancing act overrides one of the small methods.

    `batch` holds `settings.accumulate` micro-batches; each goes forward and backward by itself and weighs by its share
    of the samples, so that the gradient is that of the joint mean.
    """

    def __init__(
        self,
        system: Trainable,
        settings: Settings,
        *,
        amp: torch.dtype | None = None,
        compile: bool | str = False,  # noqa: A002
        checkpointing: bool = False,
    ) -> None:
        self.settings, self.network, self.objective = settings, system.network, system.objective
        how = {"amp": amp, "compile": compile, "checkpointing": checkpointing}
        self.forward_pass = ForwardPass(self.network, self.objective, terms=self.terms, **how)
        self.parallel: torch.nn.Module | None = None  # the same, its gradients averaged over the processes
        self.optimisers = {"network": make_optimiser(system.network, settings)}
        self.parameters = list(system.network.parameters())  # found once, not in every step

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        if not self.network.training:  # asked once an epoch: it walks through all modules
            self.network.train()
        self.optimisers["network"].zero_grad(set_to_none=True)
        totals: dict[str, Tensor] = {}
        if self.parallel is None:
            self.parallel = distributed.parallel(self.forward_pass, lambda: reaches_all(self.forward_pass, batch))
        for part, share, last in micro_batches(batch, self.settings.accumulate):
            with nullcontext() if last else distributed.quiet(self.parallel):
                terms = self.forward_terms(part)
                self.backward(terms, share)
            for name, term in {"loss": sum(terms.values()), **terms}.items():
                totals[name] = totals.get(name, 0.0) + share * term.detach()
        return {**totals, "grad_norm": self.update()}  # tensors: reading one here would wait for the GPU

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        return self.objective.terms(outputs, batch)

    def forward_terms(self, batch: Batch) -> dict[str, Tensor]:
        _, terms = self.parallel(batch)
        return terms

    def backward(self, terms: dict[str, Tensor], share: float) -> None:
        (share * sum(terms.values())).backward()

    def update(self) -> Tensor:
        """Clip, step; the gradient's norm before it was clipped."""
        clip = float("inf") if self.settings.clip is None else self.settings.clip
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, clip)
        self.optimisers["network"].step()
        return norm.detach()

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> tuple[Outputs, dict[str, Tensor]]:
        if self.network.training:
            self.network.eval()
        return self.forward_pass(batch)

    def set_lr(self, lr: float) -> None:
        for group in self.optimisers["network"].param_groups:
            group["lr"] = lr

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass

    def diagnose(self, history: History) -> str | None:
        return None


def reaches_all(forward_pass: ForwardPass, batch: Batch) -> bool:
    """Whether the terms have a gradient for every parameter, tried on two samples without leaving a trace."""
    network, first = forward_pass.network, {name: value[:2] for name, value in batch.items()}
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    device = batch["image"].device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        loss = sum(forward_pass(first)[1].values())
        learning = [p for p in network.parameters() if p.requires_grad]
        found = torch.autograd.grad(loss, learning, allow_unused=True)
    for name, buffer in network.named_buffers():
        buffer.copy_(before[name])
    return all(gradient is not None for gradient in found)


def micro_batches(batch: Batch, parts: int) -> Iterator[tuple[Batch, float, bool]]:
    """The batch in `parts` pieces as even as they come, each with its share of the samples, and whether it is last."""
    samples = len(batch["image"])
    pieces = {name: value.tensor_split(min(parts, samples)) for name, value in batch.items()}
    for index, image in enumerate(pieces["image"]):
        yield (
            {name: piece[index] for name, piece in pieces.items()},
            len(image) / samples,
            index == len(pieces["image"]) - 1,
        )


def make_optimiser(module: torch.nn.Module, settings: Settings) -> Optimizer:
    """The optimiser `settings` names, over the parameters that learn; fused: one kernel instead of one a tensor."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    shared = {"lr": settings.lr, "weight_decay": settings.weight_decay, "fused": parameters[0].device.type != "mps"}
    if settings.optimiser == "sgd":
        return SGD(parameters, momentum=settings.momentum, **shared)
    kind = {"adam": Adam, "adamw": AdamW}[settings.optimiser]
    return kind(parameters, betas=settings.betas, amsgrad=settings.amsgrad, **shared)
