"""Transposed convolutions without overlap against PyTorch's own."""

import pytest
import torch
from torch import nn

from dsnotes.networks.blocks import UP_CONV, MatmulGradients

PLAIN = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def pair(dims, kernel, **how):
    torch.manual_seed(0)
    ours, theirs = UP_CONV[dims](6, 4, kernel, **how), PLAIN[dims](6, 4, kernel, **how)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs, torch.randn(2, 6, *(3, 4, 5)[-dims:], requires_grad=True)


def gradients(module, x, *, dtype=None):
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        y = module(x)
    wanted = [x, *module.parameters()]
    return [y, *torch.autograd.grad((y.float() * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum(), wanted)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dims", "kernel"), [(2, 2), (2, (1, 2)), (3, 2), (3, (1, 2, 2)), (3, (3, 1, 2))])
def test_values_and_gradients_are_pytorchs(dims, kernel, bias):
    ours, theirs, x = pair(dims, kernel, stride=kernel, bias=bias)
    exact = gradients(theirs, x)
    torch.testing.assert_close(gradients(ours, x), exact, rtol=0, atol=0)
    for found, expected in zip(gradients(ours, x, dtype=torch.bfloat16), exact, strict=True):
        assert (found.float() - expected).norm() < 0.01 * expected.norm()


def test_gradients_can_be_differentiated():
    """GradNorm differentiates the norm of a gradient."""
    found = []
    for module, dtype in zip(pair(2, 2, stride=2)[:2], (torch.bfloat16, None), strict=True):
        x = torch.ones(1, 6, 3, 3)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
            y = module(x * module.weight.mean()).square()
        (g,) = torch.autograd.grad(y.float().sum(), module.weight, create_graph=True)
        found.append(torch.autograd.grad(g.square().sum(), module.weight)[0])
    assert (found[0] - found[1]).norm() < 0.05 * found[1].norm()


@pytest.mark.parametrize(("kernel", "how"), [(4, {"stride": 2, "padding": 1}), (2, {"stride": 2, "groups": 2})])
def test_other_convolutions_are_left_to_pytorch(kernel, how):
    ours, theirs, x = pair(2, kernel, **how)
    assert isinstance(ours, MatmulGradients)
    found, expected = (gradients(module, x, dtype=torch.bfloat16) for module in (ours, theirs))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
