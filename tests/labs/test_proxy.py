"""Functions in a worker, called and differentiated as if they were here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dsnotes.labs.channel import Channel, StudentError
from dsnotes.labs.proxy import RemoteFunction
from dsnotes.labs.sandbox import Limits, Sandbox

SOURCE = """
import torch
def energy(p, t, weights=(1.0, 2.0)):
    return {"square": weights[0] * (p * p * t).sum(), "shape": list(p.shape), "both": (p.exp() * weights[1], t)}
def norm(loss, w):
    return torch.autograd.grad(loss, w, retain_graph=True)[0].norm()
def weighted(loss, w, alpha):
    return torch.autograd.grad(alpha * loss, w, create_graph=True)[0].norm()
def used_up(loss, w):
    return torch.autograd.grad(loss, w)[0]
def left(loss, w):
    loss.backward(retain_graph=True)
    return w.grad.norm()
def inplace(p):
    p += 1
    return p
def inplace_array(a):
    a[0] = 5
    return a
def wrong(p):
    return 1 / 0
def thing(p):
    return object()
def says(p):
    print("hello")
    return isinstance(p, torch.Tensor)
"""


@pytest.fixture(scope="module")
def channel():
    with Channel(Sandbox("none"), Limits(cell_seconds=5)) as opened:
        opened.ask("run", name="answers", source=SOURCE)
        yield opened


def test_values_and_gradients_are_those_of_the_function_itself(channel):
    space: dict = {}
    exec(SOURCE, space)
    results = []
    for energy in (RemoteFunction(channel, "energy"), space["energy"]):
        p, t = torch.arange(1.0, 4).requires_grad_(), torch.tensor([1.0, 0.5, 2.0])
        got = energy(2 * p, t, weights=(3.0, 0.5))
        (got["square"] + got["both"][0].sum()).backward()
        results.append((got["square"].detach(), got["shape"], got["both"][0].detach(), p.grad))
    torch.testing.assert_close(results[0], results[1])


def test_a_loss_crosses_with_its_gradient(channel):
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    loss = (w**2).sum() / 2
    assert float(RemoteFunction(channel, "norm")(loss, w)) == pytest.approx(5)
    alpha = torch.tensor(0.5, requires_grad=True)
    got = RemoteFunction(channel, "weighted")(loss, w, alpha)
    (slope,) = torch.autograd.grad(got, alpha)
    assert (got.item(), slope.item()) == (pytest.approx(2.5), pytest.approx(5))
    assert w.grad is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("used_up", "retain_graph=True keeps it"),
        ("left", r"left a gradient in \.grad"),
        ("inplace", "changed its arguments in place; work on a copy"),
        ("inplace_array", "changed its arguments in place"),
        ("wrong", "in answers, line [0-9]+: return 1 / 0\nZeroDivisionError: division by zero"),
        ("thing", "a object cannot be graded"),
        ("missing", "KeyError: 'missing'"),
    ],
)
def test_what_a_function_did_wrong_is_said(channel, name, said):
    w = torch.tensor([3.0, 4.0], requires_grad=name in ("used_up", "left"))
    args = ((w**2).sum(), w) if w.requires_grad else (np.zeros(2),) if name == "inplace_array" else (w,)
    with pytest.raises(StudentError, match=said):
        RemoteFunction(channel, name)(*args)
    assert w.tolist() == [3, 4]


def test_what_it_prints_does_not_disturb_the_conversation(channel):
    assert RemoteFunction(channel, "says")(torch.zeros(1)) is True
    (shown,) = channel.ask("run", name="cell", source="print('x' * 100_000)")
    assert shown == {"text": "x" * 20_000}
