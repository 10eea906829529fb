# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 3: GradNorm by hand
#
# GradNorm adjusts the weights of several losses: it drives the gradient norm of every task at a shared layer (its
# *pull*) towards the average, and above it where a task lags behind. In this lab you build it from its equations, find
# the one `detach` that makes it work, and use it on two tasks, one with a loss a hundred times larger.
#
# $$G_i = \lVert\nabla_W\, \alpha_i L_i\rVert,\quad r_i = \frac{L_i/L_i(0)}{\mathrm{mean}_j\,L_j/L_j(0)},\quad
#   L_\mathrm{grad} = \sum_i \left|\,G_i - \bar G\, r_i^{\,a}\right|$$
#
# Read first: [21_gradnorm](../21_gradnorm.ipynb). About 90 minutes; 20 points, three of them graded by hand. Run the
# test cell below each of yours: a failing test says what to check; some have hidden parts with other inputs. Do not use
# `dsnotes`: you are writing a part of it, and it is not installed when your notebook is graded. Your functions must not
# change their arguments. `dsnotes labs check lab3_gradnorm.ipynb` runs the whole notebook in a fresh kernel.

# %%
import torch

_ = torch.manual_seed(0)

# %% [markdown]
# ## 1. The pulls
#
# `losses` is a list of scalars, `alpha` a tensor of their weights, `shared` the weight of the layer that all tasks
# share. Return the tensor of all $G_i$. They must depend on `alpha`, so that a gradient can flow back to it; and the
# graph must be kept, because the network's own step comes afterwards. (Use `create_graph`, or multiply a norm by α
# yourself.)


# %% nbgrader={"grade_id": "pulls", "solution": true}
def pulls(losses, alpha, shared):
    """G_i = ‖∇_W α_i L_i‖, one per task: a tensor that depends on alpha."""
    ### BEGIN SOLUTION
    norms = [torch.autograd.grad(loss, shared, retain_graph=True)[0].norm() for loss in losses]
    return alpha * torch.stack(norms)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-pulls", "points": 4}
import torch

w = torch.tensor([1.0, 2.0], requires_grad=True)
two = [(w * torch.tensor([3.0, 4.0])).sum(), (w * w).sum()]
weights = torch.tensor([0.5, 2.0], requires_grad=True)
got = pulls(two, weights, w)
assert tuple(got.shape) == (2,), f"one pull per task, shape (2,), not {tuple(got.shape)}"
assert torch.isclose(got[0], torch.tensor(2.5)), f"the gradient of the first is (3, 4), its norm 5, times 0.5: {got[0]}"
assert torch.isclose(got[1], torch.tensor(2 * 20**0.5)), (
    f"the gradient of w² is 2w: the norm of (2, 4), times 2: {got[1]}"
)
sum(two).backward()
assert torch.allclose(w.grad, torch.tensor([5.0, 8.0])), (
    "the network's own step comes afterwards: keep the graph, do not write to .grad"
)
### BEGIN HIDDEN TESTS
assert got.requires_grad, "the pulls must depend on alpha: no item(), no detach here"
g = torch.Generator().manual_seed(SEED)
w, c = torch.randn(3, generator=g).requires_grad_(), torch.randn(3, generator=g)
three = [(w * c).sum(), (w * w).sum(), (w**3).sum()]
weights = (torch.rand(3, generator=g) + 0.2).requires_grad_()
norms = torch.stack([c.norm(), (2 * w.detach()).norm(), (3 * w.detach() ** 2).norm()])
got = pulls(three, weights, w)
assert torch.allclose(got, weights * norms, atol=1e-4), f"{got.tolist()} instead of {(weights * norms).tolist()}"
(toward,) = torch.autograd.grad(got.sum(), weights)
assert torch.allclose(toward, norms, atol=1e-4), "∂G_i/∂α_i is ‖∇L_i‖"
### END HIDDEN TESTS

# %% [markdown]
# ## 2. The rates
#
# How much does each task still have to learn, compared with the mean? A task that has learned *less* than the others
# has a rate above 1.


# %% nbgrader={"grade_id": "rates", "solution": true}
def rates(losses, first):
    """r_i: each loss divided by its first value, divided by the mean of these ratios. One value per task."""
    ### BEGIN SOLUTION
    left = losses / first
    return left / left.mean()
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-rates", "points": 2}
import torch

got = rates(torch.tensor([1.0, 30.0]), torch.tensor([2.0, 20.0]))
assert got[1] > got[0], "the second task has got worse, so it lags, and its rate is the larger one"
assert torch.allclose(got, torch.tensor([0.5, 1.5])), f"0.5 and 1.5 over their mean 1, not {got.tolist()}"
### BEGIN HIDDEN TESTS
g = torch.Generator().manual_seed(SEED)
now, first = torch.rand(5, generator=g) + 0.1, 3 * torch.rand(5, generator=g) + 0.1
assert torch.allclose(rates(now, first), now / first / (now / first).mean(), atol=1e-5), "the mean of all rates is 1"
assert torch.allclose(rates(now, 7 * first), rates(now, first)), (
    "only the ratio to the first loss counts, not the scale"
)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. The balance
#
# $L_\mathrm{grad}$, with $\bar G\,r_i^{\,a}$ held **constant**. **Before you write:** the weights could make this loss
# small in two ways, by moving the pulls to the target or the target to the pulls. What would the second one teach?


# %% nbgrader={"grade_id": "balance", "solution": true}
def balance_loss(pull, rate, asymmetry=1.5):
    """Σ |G_i − Ḡ r_i^a| with the second part constant: a scalar."""
    ### BEGIN SOLUTION
    target = (pull.mean() * rate**asymmetry).detach()
    return (pull - target).abs().sum()
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-balance", "points": 2}
import torch

got = balance_loss(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))
assert torch.isclose(got, torch.tensor(2.0)), f"the mean pull is 2, both differ from it by 1: 2, not {float(got)}"
got = balance_loss(torch.tensor([1.0, 3.0]), torch.tensor([0.5, 1.5]), asymmetry=1.0)
assert torch.isclose(got, torch.tensor(0.0), atol=1e-6), "targets 2 · 0.5 and 2 · 1.5 are met exactly: 0"
### BEGIN HIDDEN TESTS
pull, rate = 3 * torch.rand(2, 4, generator=torch.Generator().manual_seed(SEED)) + 0.1
got, want = balance_loss(pull, rate, asymmetry=0.5), (pull - pull.mean() * rate**0.5).abs().sum()
assert torch.isclose(got, want, atol=1e-4), "the asymmetry is an exponent of the rate"
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test-constant", "points": 3}
import torch

pull = torch.tensor([1.0, 2.0, 6.0], requires_grad=True)
balance_loss(pull, torch.ones(3)).backward()
assert pull.grad is not None, "the pulls themselves are not constant: the loss must reach them"
### BEGIN HIDDEN TESTS
g = torch.Generator().manual_seed(SEED)
pull = (0.5 + torch.rand(1, generator=g)) * torch.tensor([1.0, 2.0, 9.0, 1.5])[torch.randperm(4, generator=g)]
balance_loss(pull.requires_grad_(), torch.ones(4)).backward()
assert torch.allclose(pull.grad, (pull - pull.mean()).sign()), (
    f"−1 where a pull is too small, +1 where too large; yours {pull.grad.tolist()}: detach the target and its mean"
)
### END HIDDEN TESTS

# %% [markdown]
# ## 4. A step of the weights
#
# Move `alpha` by plain gradient descent on the balance loss, with step `lr`; keep every weight at least `smallest`;
# then divide them by their sum. Return the new weights as a tensor without a graph. Do not change the old `alpha` or
# any `.grad`.


# %% nbgrader={"grade_id": "step", "solution": true}
def step(alpha, losses, first, shared, lr=0.02, asymmetry=1.5, smallest=1e-3):
    """The weights after one step: positive, their sum is 1. `losses` is the list of scalars, `first` a tensor."""
    ### BEGIN SOLUTION
    variable = alpha.detach().clone().requires_grad_()
    now = torch.stack([loss.detach() for loss in losses])
    loss = balance_loss(pulls(losses, variable, shared), rates(now, first), asymmetry)
    (gradient,) = torch.autograd.grad(loss, variable)
    moved = (variable.detach() - lr * gradient).clamp(min=smallest)
    return moved / moved.sum()
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-step", "points": 3}
import torch

w = torch.tensor([1.0, 1.0], requires_grad=True)
two = [(w * w).sum(), 10 * (w * w).sum()]
alpha = torch.tensor([0.5, 0.5])
new = step(alpha, two, torch.tensor([2.0, 20.0]), w)
assert abs(float(new.sum()) - 1) < 1e-5, (
    f"the weights are divided by their sum, which must be 1, not {float(new.sum())}"
)
assert new[1] < new[0], "the second task's pull is ten times larger, so its weight must fall: down the gradient, not up"
assert alpha.tolist() == [0.5, 0.5], "the old weights were changed in place"
assert w.grad is None and not new.requires_grad, "the step must leave neither gradients nor a graph behind"
### BEGIN HIDDEN TESTS
w = (torch.rand(3, generator=torch.Generator().manual_seed(SEED)) + 0.5).requires_grad_()
two, first = [(w * w).sum(), 10 * (w * w).sum()], torch.stack([(w * w).sum(), 10 * (w * w).sum()]).detach()
pull = 2 * float(w.norm()) * 0.5  # of the first task; α₁ rises by lr · 2‖w‖, α₂ falls by ten times that
for lr in (0.01, 0.02, 5.0):
    raw = torch.tensor([0.5 + 2 * lr * pull, max(0.5 - 20 * lr * pull, 1e-3)])
    new = step(alpha, two, first, w, lr=lr)
    assert (new > 0).all(), "keep every weight above 0: at 0 it stays 0"
    assert torch.allclose(new, raw / raw.sum(), atol=1e-5), (
        f"{new.tolist()} instead of {(raw / raw.sum()).tolist()}: step, then clamp, then divide by the sum"
    )
    assert not new.requires_grad, "the step must not leave a graph behind"
### END HIDDEN TESTS

# %% [markdown]
# ## 5. A training
#
# Two functions of the same input; the second is ten times larger, so that its error costs a hundred times more. Train
# the shared layer and both heads for `steps` steps of Adam (`lr=0.02`) on the *weighted* losses, and balance after
# every step of the network. Return the final losses and the final weights. `balanced=False` leaves the weights at ½.

# %%
g = torch.Generator().manual_seed(7)
x = torch.randn(256, 12, generator=g)
quiet, loud = (scale * torch.tanh(x @ torch.randn(12, 3, generator=g) / 2).sum(1) for scale in (0.5, 5.0))
variance = torch.stack([quiet.var(), loud.var()])


def toy(seed=0):
    """A shared layer with half the units that both tasks need, and one head per task."""
    g = torch.Generator().manual_seed(seed)
    shared, *heads = (torch.randn(n, *m, generator=g) / n**0.5 for n, m in ((12, (3,)), (3, ()), (3, ())))
    return shared.requires_grad_(), [head.requires_grad_() for head in heads]


def both_losses(shared, heads):
    maps = torch.tanh(x @ shared)
    return [((maps @ head - y) ** 2).mean() for head, y in zip(heads, (quiet, loud), strict=True)]


# %% nbgrader={"grade_id": "train", "solution": true}
def train(steps, balanced, seed=0):
    """(final losses, final weights): two tensors of two values without a graph."""
    ### BEGIN SOLUTION
    shared, heads = toy(seed)
    optimiser = torch.optim.Adam([shared, *heads], lr=0.02)
    alpha, first = torch.tensor([0.5, 0.5]), None
    for _ in range(steps):
        losses = both_losses(shared, heads)
        now = torch.stack([loss.detach() for loss in losses])
        first = now if first is None else first
        new = step(alpha, losses, first, shared) if balanced else alpha
        optimiser.zero_grad()
        sum(weight * loss for weight, loss in zip(alpha, losses, strict=True)).backward()
        optimiser.step()
        alpha = new
    return torch.stack([loss.detach() for loss in both_losses(shared, heads)]), alpha
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-train", "points": 3}
import torch

plain, fixed = train(80, balanced=False)
rescued, weights = train(80, balanced=True)
assert torch.allclose(fixed, torch.tensor([0.5, 0.5])), "balanced=False must leave the weights at one half"
assert rescued[0] < plain[0], f"GradNorm should lower the quiet task's loss: {rescued[0]} against {plain[0]} without it"
### BEGIN HIDDEN TESTS
assert weights[1] < 0.2 and abs(float(weights.sum()) - 1) < 1e-4, (
    f"the loud task's weight must have fallen far below ½: {weights.tolist()}"
)
assert plain[1] / variance[1] < 0.3, "without balance the loud task must learn: is zero_grad called in every step?"
seed = SEED % 1000
losses, weights = train(40, balanced=True, seed=seed)
shared, heads = toy(seed)  # the same training, here, with your step
optimiser = torch.optim.Adam([shared, *heads], lr=0.02)
alpha, first = torch.tensor([0.5, 0.5]), torch.stack(both_losses(shared, heads)).detach()
for _ in range(40):
    both = both_losses(shared, heads)
    new = step(alpha, both, first, shared)
    optimiser.zero_grad()
    sum(weight * loss for weight, loss in zip(alpha, both, strict=True)).backward()
    optimiser.step()
    alpha = new
want = torch.stack(both_losses(shared, heads)).detach()
assert (losses < first).all(), "both losses must have fallen, from any initial weights"
assert torch.allclose(losses, want, rtol=0.2), (
    f"training with your step gives {want.tolist()}, your train {losses.tolist()}"
)
assert torch.allclose(weights, alpha, atol=0.1), f"the weights should be near {alpha.tolist()}"
assert not losses.requires_grad, "return tensors without a graph"
### END HIDDEN TESTS

# %% [markdown]
# ## 6. In your own words
#
# **In five to ten sentences:** what would GradNorm learn if the target were not held constant (section 3)? Why does a
# start at α = 0, as one paper has it, not work? And GradNorm makes tasks advance equally *relative to their first
# losses*: describe a case in which that is not what you want.

# %% [markdown] nbgrader={"grade_id": "reflection", "solution": true, "points": 3}
# If the target could move, the weights could make the loss small by shrinking all pulls together: the mean falls with
# them, and no task is balanced against another. At α = 0 every pull and the mean are 0, so the gradient has no
# direction, and the weights are then divided by a sum of 0. A task with a bad initial guess has a huge first loss;
# after a few steps it seems to have learned nearly everything and its weight falls, although most of what can be
# learned is still left. Conversely, a task that starts near its noise floor seems to lag for ever.
