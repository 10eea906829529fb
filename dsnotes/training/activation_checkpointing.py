"""Activations that are computed again instead of kept: a step in less memory, for one more forward pass.

Chen et al. 2016, "Training deep nets with sublinear memory cost", https://arxiv.org/abs/1604.06174
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

from torch import nn
from torch.utils.checkpoint import checkpoint


def stages(module: nn.Module) -> Iterator[nn.Module]:
    """The blocks of a backbone, those of its lists and those by themselves; one layer alone would save nothing."""
    for child in module.children():
        if any(isinstance(inner, nn.ModuleList | nn.ModuleDict) for inner in child.modules()):
            yield from stages(child)
        elif any(True for _ in child.children()) and any(p.requires_grad for p in child.parameters()):
            yield child


def recomputed(block: nn.Module, inside: Callable[[], AbstractContextManager] = nullcontext) -> Callable:
    """`block.forward`, of which only the input is kept; backward computes what lay between, with the same dropout.

    It does so `inside` what the forward pass stood in.
    """
    forward = block.forward

    def called(*args, **kwargs):
        return checkpoint(
            forward,
            *args,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), Again(block, inside)),
            **kwargs,
        )

    return called


class Again:
    """Inside, batch norm may look at the batch once more; its running statistics have counted it already.

    It is entered as often as there are backward passes over one forward pass, GradNorm's for instance.
    """

    def __init__(self, block: nn.Module, inside: Callable[[], AbstractContextManager]) -> None:
        self.block, self.inside = block, inside

    def __enter__(self) -> None:
        self.before = [(buffer, buffer.clone()) for buffer in self.block.buffers()]
        self.entered = self.inside()
        self.entered.__enter__()

    def __exit__(self, *error: object) -> None:
        self.entered.__exit__(*error)
        for buffer, value in self.before:
            buffer.copy_(value)
