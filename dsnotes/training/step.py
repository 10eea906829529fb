"""A training step: one batch, one update of the weights."""

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
from dsnotes.training import devices
from dsnotes.training.forward_pass import ForwardPass
from dsnotes.training.history import History
from dsnotes.training.settings import Settings


@runtime_checkable
class Trainable(Protocol):
    """The parts of a system that a step needs."""

    name: str
    network: Network
    objective: Supervision


@runtime_checkable
class Step(Protocol):
    """What `fit` calls for every batch; made by `system.make_step(system, settings, amp=…, compile=…)`.

    The schedule sets the rate of `optimisers["network"]`. `evaluate` returns the outputs and terms of a batch without
    an update. `state_dict` holds what a resumed run needs besides the network and the optimisers, which `fit` saves: a
    critic, or the first losses of the tasks. `diagnose` sees the history before the first epoch and after each one; a
    message that it returns is shown once as a warning and kept in the history's notes.
    """

    optimisers: dict[str, Optimizer]

    def __call__(self, batch: Batch) -> dict[str, Tensor]: ...

    def evaluate(self, batch: Batch) -> tuple[Outputs, dict[str, Tensor]]: ...

    def set_lr(self, lr: float) -> None: ...

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...

    def diagnose(self, history: History) -> str | None: ...


class PlainStep:
    """Forward, backward, update. Other steps, such as the adversarial one, override single methods.

    `batch` holds `settings.accumulate` micro-batches; each has its own forward and backward pass and is weighted by its
    share of the samples, so that the gradient is that of the joint mean.
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
        self.parallel: torch.nn.Module | None = None  # forward_pass with gradients averaged over the processes
        self.optimisers = {"network": make_optimiser(system.network, settings)}
        self.parameters = list(system.network.parameters())  # found once, not in every step

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        if not self.network.training:  # train() visits all modules, so it is called only when needed
            self.network.train()
        self.optimisers["network"].zero_grad(set_to_none=True)
        totals: dict[str, Tensor] = {}
        if self.parallel is None:
            self.parallel = devices.parallel(self.forward_pass, lambda: reaches_all(self.forward_pass, batch))
        with torch.autocast(batch["image"].device.type, enabled=False):  # keeps the weights cast by the first part
            for part, share, last in micro_batches(batch, self.settings.accumulate):
                with nullcontext() if last else devices.without_averaging(self.parallel):
                    terms = self.forward_terms(part)
                    self.backward(terms, share)
                for name, term in {"loss": sum(terms.values()), **terms}.items():
                    totals[name] = totals.get(name, 0.0) + share * term.detach()
        return {**totals, "grad_norm": self.update()}  # tensors, because reading a value here would wait for the GPU

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        return self.objective.terms(outputs, batch)

    def forward_terms(self, batch: Batch) -> dict[str, Tensor]:
        _, terms = self.parallel(batch)
        return terms

    def backward(self, terms: dict[str, Tensor], share: float) -> None:
        (share * sum(terms.values())).backward()

    def update(self) -> Tensor:
        """Clip the gradient and update the weights; returns the gradient's norm before clipping."""
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
    """Whether every parameter gets a gradient, tested on two samples; buffers and random state are restored."""
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
    """The batch in `parts` pieces of nearly equal size: (piece, its share of the samples, whether it is the last)."""
    samples = len(batch["image"])
    pieces = {name: value.tensor_split(min(parts, samples)) for name, value in batch.items()}
    for index, image in enumerate(pieces["image"]):
        yield (
            {name: piece[index] for name, piece in pieces.items()},
            len(image) / samples,
            index == len(pieces["image"]) - 1,
        )


def make_optimiser(module: torch.nn.Module, settings: Settings) -> Optimizer:
    """The optimiser that `settings` names, for the trainable parameters; fused: one kernel for all tensors."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    shared = {"lr": settings.lr, "weight_decay": settings.weight_decay, "fused": parameters[0].device.type != "mps"}
    if settings.optimiser == "sgd":
        return SGD(parameters, momentum=settings.momentum, nesterov=settings.nesterov, **shared)
    kind = {"adam": Adam, "adamw": AdamW}[settings.optimiser]
    return kind(parameters, betas=settings.betas, amsgrad=settings.amsgrad, **shared)
