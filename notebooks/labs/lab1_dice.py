# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 1: Dice and its gradients
#
# Nearly every system of this course is trained with a Dice loss. It has two common denominators, and papers seldom say
# which they used. In this lab you write both, derive their gradients by hand, and decide which of them works when the
# target is *soft*, a share between 0 and 1.
#
# $$D = \frac{2\sum p\,t + \epsilon}{\sum p^2 + \sum t^2 + \epsilon} \quad\text{(squared)}, \qquad
#   D = \frac{2\sum p\,t + \epsilon}{\sum p + \sum t + \epsilon} \quad\text{(plain)}$$
#
# Read first: [10_one_idea](../10_one_idea.ipynb) and section 6 of [60_soft_masks](../60_soft_masks.ipynb). About 90
# minutes; 20 points, four of them graded by hand. Fill in the marked cells, and run the test cell below each: a failing
# test says what to check. Some tests have hidden parts with other inputs, so results must be *computed*, by functions
# that do not change their arguments. Do not use `dsnotes` here: you are writing a part of it, and it is not installed
# when your notebook is graded. `dsnotes labs check lab1_dice.ipynb` runs the whole notebook in a fresh kernel.

# %%
import numpy as np
import torch

_ = torch.manual_seed(0)

# %% [markdown]
# ## 1. The coefficient
#
# `p` are probabilities and `t` is the target, both of shape (batch, channels, height, width). The sums run over the
# pixels of *one* image and *one* channel, so the result has the shape (batch, channels).


# %% nbgrader={"grade_id": "dice", "solution": true}
def dice(p, t, squared=True, eps=1e-5):
    """D of every image and channel: (batch, channels), 1 is best."""
    ### BEGIN SOLUTION
    below = (p * p).sum((2, 3)) + (t * t).sum((2, 3)) if squared else p.sum((2, 3)) + t.sum((2, 3))
    return (2 * (p * t).sum((2, 3)) + eps) / (below + eps)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-dice", "points": 3}
import torch

half = torch.zeros(1, 1, 4, 4)
half[..., :2] = 1
turned = half.transpose(2, 3)
got = dice(half, turned)
assert tuple(got.shape) == (1, 1), f"the shape is {tuple(got.shape)}: sum over height and width only, dims (2, 3)"
assert torch.isclose(got, torch.tensor(0.5), atol=1e-4).all(), f"two halves that overlap in a quarter: 1/2, not {got}"
grey = torch.full((1, 1, 4, 4), 0.5)
assert torch.isclose(dice(grey, half), torch.tensor(2 / 3), atol=1e-4).all(), "squared: (2·4) / (4 + 8) is 2/3"
### BEGIN HIDDEN TESTS
assert torch.isclose(dice(grey, half, squared=False), torch.tensor(0.5), atol=1e-4).all(), "squared=False sums p and t"
g = torch.Generator().manual_seed(SEED)
p, t = torch.rand(1, 1, 5, 7, generator=g), torch.rand(1, 1, 5, 7, generator=g)
want = 2 * (p * t).sum() / ((p * p).sum() + (t * t).sum())
assert torch.isclose(dice(p, t), want, atol=1e-4).all(), "soft targets: t is squared below the line too"
### END HIDDEN TESTS

# %% [markdown]
# Two special cases. Each image of a batch has its own Dice, independent of the others. And an *empty* image for which
# the network correctly predicts nothing should get the best value: this is what ε is for.

# %% nbgrader={"grade_id": "test-dice-each", "points": 2}
import torch

nothing = torch.zeros(1, 1, 4, 4)
both = torch.cat([half, nothing])
each = dice(both, torch.cat([turned, nothing]))
assert tuple(each.shape) == (2, 1), f"two images, two values; the shape is {tuple(each.shape)}"
assert torch.isclose(each[1], torch.tensor(1.0)).all(), (
    f"empty target, empty prediction: 1, not {each[1]}; add ε above and below"
)
### BEGIN HIDDEN TESTS
g = torch.Generator().manual_seed(SEED)
p, t, eps = (
    torch.rand(3, 2, 4, 4, generator=g),
    torch.rand(3, 2, 4, 4, generator=g),
    float(8 * torch.rand(1, generator=g)),
)
each, size = dice(p, t, eps=eps), (p * p).sum((2, 3)) + (t * t).sum((2, 3))
assert tuple(each.shape) == (3, 2), f"three images of two channels; the shape is {tuple(each.shape)}"
assert torch.allclose(each, (2 * (p * t).sum((2, 3)) + eps) / (size + eps), atol=1e-4), (
    "an image's value must not depend on the others, and eps is an argument: use it, above and below"
)
### END HIDDEN TESTS

# %% [markdown]
# ## 2. The loss
#
# The quantity to *minimise*: 1 − D, averaged over images and channels to a single number.


# %% nbgrader={"grade_id": "loss", "solution": true}
def dice_loss(p, t, squared=True):
    """One differentiable number: 0 is best."""
    ### BEGIN SOLUTION
    return (1 - dice(p, t, squared=squared)).mean()
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-loss", "points": 2}
import torch

assert dice_loss(half, half) < dice_loss(turned, half), (
    "a perfect prediction must have a lower loss than a poor one: check the sign"
)
assert torch.isclose(dice_loss(half, half), torch.tensor(0.0), atol=1e-4), "a perfect prediction has loss 0"
### BEGIN HIDDEN TESTS
level = 0.1 + 0.8 * float(torch.rand(1, generator=torch.Generator().manual_seed(SEED)))
constant = torch.full((2, 3, 4, 4), level, requires_grad=True)
loss = dice_loss(constant, torch.ones(2, 3, 4, 4), squared=False)
assert loss.ndim == 0, "one number, not one per image"
want = torch.tensor(1 - 2 * level / (level + 1))
assert torch.isclose(loss, want, atol=1e-4), "pass squared on to dice, and take the mean"
loss.backward()
assert torch.allclose(constant.grad, torch.full_like(constant, -2 / (level + 1) ** 2 / 96), atol=1e-5), (
    "a larger p would lower the loss here: keep the graph, do not detach or call item()"
)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. The gradient by hand
#
# Forget ε. With $I = \sum p\,t$ and $S = \sum p^2 + \sum t^2$ the squared loss is $1 - 2I/S$. Use the quotient rule to
# write down $\partial\,\mathrm{loss} / \partial p_i$ for every pixel at once. Do not use autograd here: the test
# compares with it.


# %% nbgrader={"grade_id": "gradient", "solution": true}
def squared_gradient(p, t):
    """∂(1 − 2I/S)/∂p at every pixel of one image: the shape of p."""
    ### BEGIN SOLUTION
    overlap, size = (p * t).sum(), (p * p).sum() + (t * t).sum()
    return -2 * (t * size - overlap * 2 * p) / size**2
    ### END SOLUTION


def plain_gradient(p, t):
    """The same for the plain denominator, S = Σp + Σt."""
    ### BEGIN SOLUTION
    overlap, size = (p * t).sum(), p.sum() + t.sum()
    return -2 * (t * size - overlap) / size**2
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-gradient-squared", "points": 2}
import torch

p = torch.tensor([[0.2, 0.9], [0.4, 0.7]], requires_grad=True)
t = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
(1 - 2 * (p * t).sum() / ((p * p).sum() + (t * t).sum())).backward()
mine = squared_gradient(p.detach(), t)
assert mine.shape == p.shape, f"one number per pixel, {tuple(p.shape)}; yours has {tuple(mine.shape)}"
assert torch.sign(mine[0, 1]) == torch.sign(p.grad[0, 1]), "at a tumour pixel the loss falls as p grows: minus sign"
assert torch.allclose(mine, p.grad, atol=1e-5), f"autograd gives {p.grad.tolist()}, you {mine.tolist()}; ∂S/∂p is 2p"
### BEGIN HIDDEN TESTS
g = torch.Generator().manual_seed(SEED)
p, t = torch.rand(6, 5, generator=g).requires_grad_(), torch.rand(6, 5, generator=g)
(1 - 2 * (p * t).sum() / ((p * p).sum() + (t * t).sum())).backward()
assert torch.allclose(squared_gradient(p.detach(), t), p.grad, atol=1e-5), "it must hold for any p and t"
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test-gradient-plain", "points": 2}
import torch

p = torch.tensor([[0.2, 0.9], [0.4, 0.7]], requires_grad=True)
t = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
(1 - 2 * (p * t).sum() / (p.sum() + t.sum())).backward()
mine = plain_gradient(p.detach(), t)
assert torch.allclose(mine, p.grad, atol=1e-5), (
    f"autograd gives {p.grad.tolist()}, you {mine.tolist()}; here ∂S/∂p is 1"
)
### BEGIN HIDDEN TESTS
g = torch.Generator().manual_seed(SEED + 1)
p, t = torch.rand(6, 5, generator=g).requires_grad_(), torch.rand(6, 5, generator=g)
(1 - 2 * (p * t).sum() / (p.sum() + t.sum())).backward()
assert torch.allclose(plain_gradient(p.detach(), t), p.grad, atol=1e-5), "it must hold for any p and t"
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Where is each loss lowest?
#
# All pixels of an image have the same true share `t`, say one half, and the network predicts the same `p` everywhere.
# **Before you write:** which p is right, and do both losses agree? Try the 101 values 0, 0.01, …, 1 and return the one
# whose loss is lowest.


# %% nbgrader={"grade_id": "best", "solution": true}
def best_answer(t, squared):
    """The p among 0, 0.01, …, 1 with the lowest Dice loss where the share is t everywhere: a float."""
    ### BEGIN SOLUTION
    target, tried = torch.full((1, 1, 8, 8), float(t)), np.linspace(0, 1, 101)
    return float(min(tried, key=lambda p: dice_loss(torch.full_like(target, float(p)), target, squared).item()))
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-best", "points": 2}
assert abs(best_answer(0.5, squared=True) - 0.5) < 0.011, "squared: the loss is lowest at p = t"
assert best_answer(0.5, squared=False) > 0.5, "plain: look again at the curve of section 6 of 60_soft_masks"
### BEGIN HIDDEN TESTS
for share in (0.15 + 0.7 * torch.rand(3, generator=torch.Generator().manual_seed(SEED))).tolist():
    assert abs(best_answer(share, squared=True) - share) < 0.011, f"compute the best p for a share of {share}"
    assert best_answer(share, squared=False) > 0.985, f"plain: what is best at {share}?"
### END HIDDEN TESTS

# %% [markdown]
# ## 5. The gradient at a soft edge
#
# A nodule of 6 × 6 pixels has a rim whose true share is `rim`. The network's prediction is exactly right: p = t. What
# does each loss do to the *rim*? Return the mean gradient over its pixels (use your functions of section 3). Then name
# the loss that you would use with soft masks: `survives = "squared"` or `"plain"`.


# %%
def nodule(rim):
    """10 × 10 pixels: a core of 4 × 4 ones in a rim, one pixel wide, of the share `rim`."""
    t = torch.zeros(10, 10)
    t[2:8, 2:8] = rim
    t[3:7, 3:7] = 1
    return t


# %% nbgrader={"grade_id": "pull", "solution": true}
def pull_on_rim(rim, squared):
    """Mean ∂loss/∂p over the rim where p = t: a float; negative pulls p up."""
    ### BEGIN SOLUTION
    t = nodule(rim)
    gradient = (squared_gradient if squared else plain_gradient)(t, t)
    return gradient[t == rim].mean().item()
    ### END SOLUTION


### BEGIN SOLUTION
survives = "squared"
### END SOLUTION

# %% nbgrader={"grade_id": "test-pull", "points": 3}
assert abs(pull_on_rim(0.5, squared=True)) < 1e-6, "the squared loss is at its minimum where p = t: the gradient is 0"
assert pull_on_rim(0.5, squared=False) != 0, "the plain one is not; take the mean over the rim only"
### BEGIN HIDDEN TESTS
# S = 2 Σt, I = Σt², so the gradient at a rim pixel is −2 (r S − I) / S²
for rim in (0.1 + 0.8 * torch.rand(2, generator=torch.Generator().manual_seed(SEED))).tolist():
    total, overlap = 16 + 20 * rim, 16 + 20 * rim**2
    want = -2 * (rim * 2 * total - overlap) / (2 * total) ** 2
    got = pull_on_rim(rim, squared=False)
    assert abs(got - want) < 1e-5, f"rim {rim}: {got} instead of {want}: only the 20 pixels of the rim, with their sign"
assert survives == "squared", "which of the two has no gradient at a correct prediction?"
### END HIDDEN TESTS

# %% [markdown]
# ## 6. In your own words
#
# A colleague trains on matted masks with the plain denominator and finds that her network's edges are as hard as if it
# had been trained on binary masks. **Explain in five to ten sentences** what the loss did to which pixels (section 5:
# for which shares does it pull up, for which down?), what she would have seen with the squared denominator, and one
# thing that the squared denominator does worse or does not solve.

# %% [markdown] nbgrader={"grade_id": "reflection", "solution": true, "points": 4}
# The plain loss is a ratio of I to Σp + Σt. At p = t its gradient at a pixel of share r is −2 (r S − I) / S²: it pulls
# up wherever r exceeds I / S, about one half for a compact lesion, and down below it. So every correct soft prediction
# is driven to 1 or to 0 and the edge hardens, although the labels are soft. The loss with the squared denominator has
# its minimum at p = t and does not change the edge. It does not solve class imbalance in a batch of empty patches, its
# gradient fades for confident wrong pixels, and it does not help calibration where the label itself is wrong.
