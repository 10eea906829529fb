"""Activation checkpointing: blocks computed again in the backward pass, which needs less memory and more time.

Chen et al. 2016, "Training deep nets with sublinear memory cost", https://arxiv.org/abs/1604.06174
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Stage(nn.Module):
    """A block of a network. While `checkpointing` is on, only its input is kept for the backward pass.

    Backward computes the block once more, with the same dropout and in the same precision.
    """

    checkpointing = False

    def __call__(self, *args, **kwargs):
        if not (self.checkpointing and torch.is_grad_enabled()):
            return super().__call__(*args, **kwargs)
        contexts = lambda: (nullcontext(), BuffersKept(self))  # noqa: E731
        return checkpoint(super().__call__, *args, use_reentrant=False, context_fn=contexts, **kwargs)


class BuffersKept:
    """Restores a block's buffers on exit, so that a recomputed batch does not count twice in the running statistics.

    It is entered once per backward pass over the same forward pass; GradNorm makes several.
    """

    def __init__(self, block: nn.Module) -> None:
        self.block = block

    def __enter__(self) -> None:
        self.before = [(buffer, buffer.clone()) for buffer in self.block.buffers()]

    def __exit__(self, *error: object) -> None:
        for buffer, value in self.before:
            buffer.copy_(value)


def outermost(module: nn.Module) -> Iterator[Stage]:
    """The stages that are not inside another stage."""
    for child in module.children():
        if isinstance(child, Stage):
            yield child
        else:
            yield from outermost(child)


@contextmanager
def activation_checkpointing(module: nn.Module, enabled: bool = True) -> Iterator[None]:
    """Inside, the forward pass of `module` keeps only the inputs of its stages."""
    if not enabled:
        yield
        return
    stages = [stage for stage in outermost(module) if any(p.requires_grad for p in stage.parameters())]
    if not stages:
        raise ValueError(
            f"checkpointing=True, but {type(module).__name__} has no block that can be recomputed. Derive its "
            f"blocks from dsnotes.networks.stage.Stage, or pass checkpointing=False and a smaller batch."
        )
    for stage in stages:
        stage.checkpointing = True
    try:
        yield
    finally:
        for stage in stages:
            stage.checkpointing = False
