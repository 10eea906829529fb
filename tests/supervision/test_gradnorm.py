"""GradNorm against the original paper's rule, autograd, and what it is for."""

import io

import pytest
import torch

from dsnotes.supervision.gradnorm import GradNorm


def test_the_weight_gradient_is_autograds_with_the_target_held_constant():
    """L_grad = Σ |α_m g_m - Ḡ r^a| differentiated by PyTorch."""
    balance = GradNorm(("a", "b", "c"), start=(0.2, 0.3, 0.5), asymmetry=0.7)
    balance.first_losses = torch.tensor([1.0, 2.0, 4.0])
    losses, norms = torch.tensor([0.5, 1.5, 1.0]), torch.tensor([3.0, 0.1, 1.0])
    alpha = balance.weights.clone().requires_grad_()
    pull = alpha * norms
    rates = losses / balance.first_losses
    target = (pull.mean() * (rates / rates.mean()) ** 0.7).detach()
    (expected,) = torch.autograd.grad((pull - target).abs().sum(), alpha)
    balance.optimiser.step = lambda: None
    balance.update(losses, norms)
    torch.testing.assert_close(balance.weights.grad, expected)


def test_weights_stay_positive_and_sum_to_one():
    torch.manual_seed(0)
    balance = GradNorm(("a", "b", "c"), lr=0.5)
    for _ in range(50):
        balance.update(torch.rand(3) + 0.1, torch.rand(3) * 10)
        assert (balance.weights > 0).all()
        assert balance.weights.sum().item() == pytest.approx(1)


def two_tasks(*, slow: float = 1.0, scale: float = 1.0, asymmetry: float = 1.5, steps: int = 60):
    """Two regressions on one shared matrix; the second head learns `slow` times slower, the first loss is scaled."""
    g = torch.Generator().manual_seed(0)
    x, truth = torch.randn(64, 8, generator=g), torch.randn(2, 8, generator=g)
    shared = (0.3 * torch.randn(8, 8, generator=g)).requires_grad_()
    heads = [(0.3 * torch.randn(8, generator=g)).requires_grad_() for _ in range(2)]
    balance = GradNorm(("one", "two"), asymmetry=asymmetry, lr=0.005)
    for _ in range(steps):
        losses = [((x @ shared @ h - x @ t) ** 2).mean() for h, t in zip(heads, truth, strict=True)]
        losses[0] = losses[0] * scale
        grads = [torch.autograd.grad(loss, [shared, *heads], retain_graph=True, allow_unused=True) for loss in losses]
        norms = torch.stack([grad[0].norm() for grad in grads])
        weights = balance.weights.clone()
        balance.update(torch.stack(losses).detach(), norms)
        with torch.no_grad():
            shared -= 0.01 * (weights[0] * grads[0][0] + weights[1] * grads[1][0])
            heads[0] -= 0.01 * weights[0] * grads[0][1]
            heads[1] -= 0.01 / slow * weights[1] * grads[1][2]
    return balance, norms


def test_the_task_that_learns_slower_gets_the_larger_weight():
    balance, _ = two_tasks(slow=20)
    assert balance.weights[1] > balance.weights[0] + 0.1


def test_without_asymmetry_the_weighted_norms_meet():
    balance, norms = two_tasks(asymmetry=0.0)
    pull = balance.weights * norms
    assert (pull[0] / pull[1]).item() == pytest.approx(1, abs=0.02)


def test_a_loss_of_twice_the_scale_gets_less_weight():
    plain, _ = two_tasks(asymmetry=0.0, steps=30)
    scaled, _ = two_tasks(asymmetry=0.0, steps=30, scale=2.0)
    assert scaled.weights[0] < plain.weights[0]


def test_a_start_at_zero_says_why_not():
    with pytest.raises(ValueError, match=r"start at \(0.0, 0.0\).*start=None for 1/2"):
        GradNorm(("a", "b"), start=(0.0, 0.0))


def test_one_task_needs_no_balance():
    with pytest.raises(ValueError, match=r"\['output'\]. Train it with PlainStep"):
        GradNorm(("output",))


def test_a_first_loss_of_zero_is_refused():
    with pytest.raises(ValueError, match="the first losses of"):
        GradNorm(("a", "b")).update(torch.tensor([0.0, 1.0]), torch.ones(2))


def test_the_state_survives_and_other_tasks_are_refused():
    one, two = GradNorm(("a", "b")), GradNorm(("a", "b"))
    for _ in range(3):
        one.update(torch.tensor([1.0, 0.5]), torch.tensor([1.0, 2.0]))
    saved = io.BytesIO()
    torch.save(one.state_dict(), saved)
    saved.seek(0)
    two.load_state_dict(torch.load(saved))
    for balance in (one, two):
        balance.update(torch.tensor([0.3, 0.4]), torch.tensor([1.0, 3.0]))
    assert torch.equal(one.weights, two.weights)
    with pytest.raises(ValueError, match=r"the checkpoint balances \['a', 'b'\], this run \['a', 'c'\]"):
        GradNorm(("a", "c")).load_state_dict(one.state_dict())


def test_a_network_in_float64_is_balanced_as_one_in_float32():
    ends = []
    for dtype in (torch.float32, torch.float64):
        balance = GradNorm(("a", "b"))
        for scale in (1.0, 0.5, 0.8):
            balance.update(torch.tensor([scale, 1.0], dtype=dtype), torch.tensor([0.3, 2 * scale], dtype=dtype))
        ends.append(balance.weights)
    torch.testing.assert_close(*ends)
    assert not torch.equal(ends[0], torch.tensor([0.5, 0.5]))
