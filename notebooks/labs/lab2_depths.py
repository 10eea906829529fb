# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 2: A loss at every depth
#
# A coarse side output needs a coarse target, a weight, and a reason. In this lab you downsample masks by hand, count
# which tumours survive, add up the losses of all depths, and measure how much larger the gradient at the bottom of a
# U-Net becomes.
#
# Read first: [10_one_idea](../10_one_idea.ipynb). About 90 minutes; 20 points, three of them graded by hand. Run the
# test cell below each of yours: a failing test says what to check; some have hidden parts with other inputs. Use only
# the networks of `dsnotes`: you are writing a part of `dsnotes.supervision`, and it is not installed when your notebook
# is graded. Your functions must not change their arguments. `dsnotes labs check lab2_depths.ipynb` runs the whole
# notebook in a fresh kernel.

# %% nbgrader={"grade_id": "setup", "needs": ["networks", "shapes"]}
import torch
from torch.nn import functional

from dsnotes.networks.base import Network
from dsnotes.networks.heads import SideHeads
from dsnotes.networks.unet import UNet

_ = torch.manual_seed(0)

# %% [markdown]
# ## 1. Three ways to downsample a mask
#
# `mask` is a float tensor (batch, 1, height, width) of 0 and 1, and `stride` divides both sides. A *cell* is a square
# of stride × stride pixels. Return (batch, 1, height / stride, width / stride):
#
# - `"nearest"`: the value of the cell's upper left pixel;
# - `"area"`: the share of the cell that is 1;
# - `"max"`: 1 if any pixel of the cell is 1.


# %% nbgrader={"grade_id": "reduce", "solution": true}
def reduced(mask, stride, how):
    """The mask as a target of that stride."""
    ### BEGIN SOLUTION
    if how == "nearest":
        return mask[..., ::stride, ::stride]
    if how == "area":
        return functional.avg_pool2d(mask, stride)
    return functional.max_pool2d(mask, stride)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-nearest", "points": 1}
import torch

dot = torch.zeros(1, 1, 8, 8)
dot[0, 0, 4, 4] = dot[0, 0, 1, 2] = 1
got = reduced(dot, 4, "nearest")
assert tuple(got.shape) == (1, 1, 2, 2), f"8 pixels at stride 4 are 2, not {tuple(got.shape)}"
assert got.flatten().tolist() == [0, 0, 0, 1], (
    f"take the upper left pixel of each cell: 0, 0, 0, 1; you: {got.flatten().tolist()}"
)
### BEGIN HIDDEN TESTS
g = torch.Generator().manual_seed(SEED)
mask = (torch.rand(2, 1, 12, 18, generator=g) > 0.5).float()
assert torch.equal(reduced(mask, 3, "nearest"), mask[..., ::3, ::3]), "any stride, any size"
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test-area", "points": 2}
import torch

block = torch.zeros(1, 1, 4, 4)
block[..., :3, :2] = 1
got = reduced(block, 4, "area")
assert torch.isclose(got, torch.tensor(6 / 16)).all(), f"6 of 16 pixels: 0.375, not {got.flatten().tolist()}"
### BEGIN HIDDEN TESTS
g = torch.Generator().manual_seed(SEED)
mask = (torch.rand(2, 1, 12, 18, generator=g) > 0.7).float()
assert torch.allclose(reduced(mask, 3, "area"), functional.avg_pool2d(mask, 3)), (
    "shares × cell size add up to all pixels; do not round them"
)
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test-max", "points": 1}
import torch

dot = torch.zeros(1, 1, 8, 8)
dot[0, 0, 5, 7] = 1
assert reduced(dot, 4, "max").flatten().tolist() == [0, 0, 0, 1], "one pixel is enough for its cell, and for no other"
### BEGIN HIDDEN TESTS
g = torch.Generator().manual_seed(SEED)
mask = (torch.rand(2, 1, 12, 18, generator=g) > 0.8).float()
assert torch.equal(reduced(mask, 3, "max"), functional.max_pool2d(mask, 3)), "max is 1 exactly where the share is not 0"
### END HIDDEN TESTS

# %% [markdown]
# ## 2. Which tumours are lost?
#
# `components` is a map (height, width) in which every tumour has its own number, 1, 2, …, and 0 is background. **Before
# you write:** what share of round tumours two pixels wide do you expect to vanish from a nearest target of stride 8?


# %% nbgrader={"grade_id": "lost", "solution": true}
def lost(components, stride, how):
    """The share of tumours that vanish from the target of this stride: a float."""
    ### BEGIN SOLUTION
    numbers = [n for n in components.unique().tolist() if n != 0]
    gone = [reduced((components == n).float()[None, None], stride, how).sum() == 0 for n in numbers]
    return sum(map(bool, gone)) / len(numbers)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-lost", "points": 3}
import torch

two = torch.zeros(16, 16, dtype=torch.long)
two[0:9, 0:9], two[12:14, 12:14] = 1, 2
assert lost(two, 8, "nearest") == 0.5, "the large tumour covers a corner, the small one does not: one of two is lost"
assert lost(two, 8, "area") == 0, "with area nothing is lost"
### BEGIN HIDDEN TESTS
many = torch.zeros(64, 64, dtype=torch.long)
shift = torch.randint(8, (16, 2), generator=torch.Generator().manual_seed(SEED)).tolist()
for at in range(16):
    row, column = 16 * (at // 4) + shift[at][0], 16 * (at % 4) + shift[at][1]
    many[row : row + 2, column : column + 2] = 3 * at + 2
want = {s: sum(not (many[::s, ::s] == 3 * at + 2).any() for at in range(16)) / 16 for s in (2, 4, 8)}
for s, share in want.items():
    assert abs(lost(many, s, "nearest") - share) < 1e-6, (
        f"stride {s}: {lost(many, s, 'nearest')} instead of {share}: count tumours, whatever their numbers are"
    )
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Weights
#
# 1, ½, ¼, … finest first, divided by their sum.


# %% nbgrader={"grade_id": "weights", "solution": true}
def halving(levels):
    """A tuple of as many weights as there are levels, finest first; their sum is 1."""
    ### BEGIN SOLUTION
    raw = [2.0**-depth for depth in range(levels)]
    return tuple(weight / sum(raw) for weight in raw)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-weights", "points": 2}
assert len(halving(3)) == 3, "one weight per level"
assert abs(sum(halving(3)) - 1) < 1e-6, f"their sum is 1, not {sum(halving(3))}"
assert abs(halving(2)[0] - 2 / 3) < 1e-6, f"1 and ½ divided by 1½: the first is 2/3, not {halving(2)[0]}"
### BEGIN HIDDEN TESTS
for levels in (1, 4, 7 + SEED % 5):
    weights = halving(levels)
    assert len(weights) == levels
    assert abs(sum(weights) - 1) < 1e-6
    assert all(abs(a / b - 2) < 1e-6 for a, b in zip(weights[:-1], weights[1:], strict=True)), (
        "each is half of the one before"
    )
### END HIDDEN TESTS

# %% [markdown]
# ## 4. The deep loss
#
# `sides` are logits, finest first, as `network(image).side_outputs` has them: `{"stride1": …, "stride2": …}`. Each is
# compared with the mask downsampled *by area* to its own size, by binary cross-entropy with logits, and weighted.
# Return a dict of the weighted terms under the same names; the loss is their sum. Compute the stride from the sizes.


# %% nbgrader={"grade_id": "deep", "solution": true}
def deep_terms(sides, mask, weights):
    """{name: weight · BCE(side, mask downsampled by area)}: differentiable scalars."""
    ### BEGIN SOLUTION
    terms = {}
    for weight, (name, side) in zip(weights, sides.items(), strict=True):
        target = reduced(mask, mask.shape[-1] // side.shape[-1], "area")
        terms[name] = weight * functional.binary_cross_entropy_with_logits(side, target)
    return terms
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-deep", "points": 4}
import torch

block = torch.zeros(1, 1, 8, 8)
block[..., :3, :2] = 1
sides = {"stride1": torch.zeros(1, 1, 8, 8), "stride4": torch.full((1, 1, 2, 2), -1.0)}
kept = block.clone()
terms = deep_terms(sides, block, (0.75, 0.25))
assert torch.equal(block, kept), "the mask was changed in place"
assert list(terms) == ["stride1", "stride4"], f"one term per side output, under its name; you: {list(terms)}"
assert abs(float(terms["stride1"]) - 0.75 * 0.693147) < 1e-4, "logits of 0 cost ln 2 each; times the weight 0.75"
assert abs(float(terms["stride4"]) - 0.25 * 0.407012) < 1e-4, (
    "stride 4: targets 6/16, 0, 0, 0, logits −1; area, with logits"
)
### BEGIN HIDDEN TESTS
from torch.nn import functional

g = torch.Generator().manual_seed(SEED)
mask = (torch.rand(2, 1, 24, 24, generator=g) > 0.6).float()
sides = {f"stride{s}": torch.randn(2, 1, 24 // s, 24 // s, generator=g).requires_grad_() for s in (1, 3, 6)}
terms = deep_terms(sides, mask, (0.2, 0.3, 0.5))
for (name, side), weight, s in zip(sides.items(), (0.2, 0.3, 0.5), (1, 3, 6), strict=True):
    want = weight * functional.binary_cross_entropy_with_logits(side, functional.avg_pool2d(mask, s))
    assert torch.isclose(terms[name], want, atol=1e-5), (
        f"{name}: the weights are in the order of the sides, finest first"
    )
sum(terms.values()).backward()
for side, weight, s in zip(sides.values(), (0.2, 0.3, 0.5), (1, 3, 6), strict=True):
    want = weight * (side.detach().sigmoid() - functional.avg_pool2d(mask, s)) / side.numel()
    assert side.grad is not None and torch.allclose(side.grad, want, atol=1e-6), (
        "every side needs a gradient: no detach"
    )
### END HIDDEN TESTS

# %% [markdown]
# ## 5. The gradient at the bottleneck
#
# A U-Net has a side output at every level. `reach` measures how much a loss reaches the *bottleneck*: the norm of the
# gradient at its first convolution's weight. A second call must return the same value, no gradient may stay in the
# network, and the result is a plain float.

# %%
_ = torch.manual_seed(1)
backbone = UNet(width=4, depth=4)
network = Network(backbone, {"sides": SideHeads(backbone)})
first_at_the_bottom = next(backbone.bottleneck.parameters())
disk = (torch.hypot(*torch.meshgrid(torch.arange(-16.0, 16), torch.arange(-16.0, 16), indexing="ij")) < 6).float()
mask = disk[None, None]
image = mask + 0.3 * torch.randn(2, 1, 32, 32)
mask = mask.expand(2, 1, 32, 32)


# %% nbgrader={"grade_id": "reach", "solution": true}
def reach(loss, parameter):
    """‖∂loss/∂parameter‖: a float. It leaves `.grad` unchanged and keeps the graph for the next call."""
    ### BEGIN SOLUTION
    (gradient,) = torch.autograd.grad(loss, parameter, retain_graph=True)
    return gradient.norm().item()
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-reach", "points": 4}
import torch

w = torch.tensor([3.0, 4.0], requires_grad=True)
value = (w * w).sum() / 2
assert abs(reach(value, w) - 5) < 1e-5, "∂(w²/2)/∂w is w, and the norm of (3, 4) is 5"
assert isinstance(reach(value, w), float), "a plain float: a tensor would keep the whole graph alive; item()"
assert w.grad is None, ".grad must stay None"
### BEGIN HIDDEN TESTS
v = torch.randn(5, generator=torch.Generator().manual_seed(SEED)).requires_grad_()
cubes = (v**3).sum()
for _ in range(2):
    assert abs(reach(cubes, v) - float((3 * v * v).norm())) < 1e-4, "a second call must return the same value"
terms = deep_terms(network(image).side_outputs, mask, halving(len(network(image).side_outputs)))
alone, deep = (
    float(torch.autograd.grad(loss, first_at_the_bottom, retain_graph=True)[0].norm())
    for loss in (terms["stride1"], sum(terms.values()))
)
assert deep > 1.5 * alone > 0, (
    f"the gradient from all depths ({deep}) must be larger than from the output alone ({alone})"
)
assert abs(reach(sum(terms.values()), first_at_the_bottom) - deep) < 1e-4 * deep, (
    "it must work for a network's layer too"
)
### END HIDDEN TESTS

# %% [markdown]
# ## 6. In your own words
#
# Your deep loss makes the gradient at the bottom of the U-Net several times larger. **In five to ten sentences:** name
# a setting in which this decides whether a network learns, and one in which it hardly matters, with the reason for
# each; then explain what deep supervision is still good for where the gradient is *not* the problem, and what a nearest
# target would teach the deep layers about small tumours.

# %% [markdown] nbgrader={"grade_id": "reflection", "solution": true, "points": 3}
# It decides under plain gradient descent in a deep chain without shortcuts or normalisation: steps are proportional to
# gradients, and those of the early layers are a thousand times smaller. Adam divides every gradient by its recent
# magnitude, and in a U-Net shortcuts carry it past the bottom, so that there it hardly matters. What remains is the
# choice of what each depth should represent. With nearest, a tumour smaller than the stride is usually missing from the
# target, so the deep layers learn that such patients are healthy; with area it is a small share, and it is not lost.
