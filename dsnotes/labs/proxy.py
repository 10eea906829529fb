"""A student's function for the tests: called here, computed in the sandbox, differentiable by autograd.

    dice = RemoteFunction(channel, "dice")
    loss = dice(p, t).mean(); loss.backward()      # the sandbox computes the gradient too

A scalar argument that depends on another argument, as in `reach(loss, parameter)`, is sent with its gradient, so the
student's `torch.autograd.grad(loss, parameter)` works in the sandbox. Second derivatives are not supported.
"""

from __future__ import annotations

from typing import Any

import torch

from dsnotes.labs.channel import Channel, EndedError, StudentError
from dsnotes.labs.wire import WireError, mapped, tensors


class RemoteFunction:
    def __init__(self, channel: Channel, name: str) -> None:
        self.channel, self.name = channel, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        inputs = tensors((args, kwargs))
        links = _links(inputs)
        try:
            told = self.channel.ask("call", name=self.name, args=args, kwargs=kwargs, links=links)
        except WireError as error:
            raise StudentError(f"{self.name} was called with {error}") from None
        if not isinstance(told, dict) or told.keys() != {"value", "complaints"}:
            raise EndedError("it sent something that is not an answer")
        if told["complaints"]:
            raise StudentError(f"{self.name} {str(told['complaints'])[2:-2][:500]}")
        return self._joined(told["value"], inputs, {on for _, on, _ in links})

    def _joined(self, value: Any, inputs: list[torch.Tensor], constant: set[int]) -> Any:
        """The result, connected to the autograd graph of the inputs that it can be differentiated by."""
        call = self.channel.asked
        asked = [at for at, tensor in enumerate(inputs) if tensor.requires_grad]
        through = [at for at in asked if at not in constant]
        outputs = [tensor for tensor in tensors(value) if tensor.requires_grad]
        if not outputs or not through:
            return value

        def backward(cotangents: tuple[torch.Tensor, ...]) -> list[torch.Tensor | None]:
            got = self.channel.ask("gradient", of=call, cotangents=[c.contiguous() for c in cotangents])
            if not isinstance(got, list) or len(got) != len(asked):
                raise EndedError("it sent something that is not a gradient")
            by_input = dict(zip(asked, got, strict=True))
            for at, gradient in by_input.items():
                same = torch.is_tensor(gradient) and gradient.shape == inputs[at].shape
                if gradient is not None and not (same and gradient.dtype == inputs[at].dtype):
                    raise EndedError("it sent a gradient of another shape or kind")
            return [by_input[at] for at in through]

        inputs_through = [inputs[at] for at in through]
        joined = iter(_Remote.apply(backward, [t.detach() for t in outputs], *inputs_through))
        return mapped(value, lambda tensor: next(joined) if tensor.requires_grad else tensor)


class _Remote(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, backward: Any, outputs: list[torch.Tensor], *inputs: torch.Tensor) -> tuple:
        ctx.ask = backward
        return tuple(outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: torch.Tensor) -> tuple:
        return None, None, *ctx.ask(cotangents)


def _links(inputs: list[torch.Tensor]) -> list[tuple[int, int, torch.Tensor]]:
    """(i, j, gradient) for every scalar argument i that depends on a leaf j among the arguments."""
    leaves = [(at, t) for at, t in enumerate(inputs) if t.requires_grad and t.is_leaf]
    found = []
    for at, tensor in enumerate(inputs):
        if tensor.requires_grad and not tensor.is_leaf and tensor.numel() == 1 and leaves:
            gradients = torch.autograd.grad(
                tensor, [leaf for _, leaf in leaves], torch.ones_like(tensor), retain_graph=True, allow_unused=True
            )
            found += [(at, on, g) for (on, _), g in zip(leaves, gradients, strict=True) if g is not None]
    return found
