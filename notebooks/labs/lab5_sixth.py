# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 5: A sixth supervision
#
# The five papers differ in *where* a network gets a loss, against *what*, and with which *weight*. Design your own
# supervision, plug it into `dsnotes`, and beat the plain U-Net on small tumours, with the same training budget for
# everybody. The measured Dice goes to the course's leaderboard.
#
# Read first: [10_one_idea](../10_one_idea.ipynb) and one of the papers' notebooks. About 90 minutes; 20 points, of
# which three are graded by hand and six depend on your gain. You may use all of `dsnotes`, but not your own network:
# the U-Net's output is scored. `train` runs in the grading process: your code gets the network's outputs and the labels
# of the training images, and returns the terms and their gradients. `dsnotes labs check lab5_sixth.ipynb` runs the
# whole notebook in a fresh kernel.

# %% nbgrader={"grade_id": "setup", "needs": ["*"]}
from dataclasses import dataclass
from functools import cache

import torch
from torch.nn import functional

from dsnotes.losses import soft_dice
from dsnotes.networks.base import Network
from dsnotes.networks.heads import InterpolatedHeads, LocalHeads, SideHeads, UpsampledHeads
from dsnotes.networks.unet import UNet
from dsnotes.shapes import Outputs
from dsnotes.supervision.targets import class_indices, downsample_target, one_hot

# %% [markdown]
# ## 1. The task and the budget
#
# The images have 32 × 32 pixels with noise, a faint ridge as a distractor, one large tumour and one small, dim one. A
# plain loss counts pixels, and the small tumour has few. We score the Dice of the small tumours only: over all test
# images together, within three pixels of them.


# %%
def drawn(n, seed):
    """{"image", "label", "small"}: n images, their tumours, and the pixels of a small tumour only."""
    g = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")

    def disks(smallest, largest):
        radius = smallest + (largest - smallest) * torch.rand(n, 1, 1, generator=g)
        row, column = 5 + 22 * torch.rand(2, n, 1, 1, generator=g)
        return torch.sigmoid(2 * (radius - torch.hypot(y - row, x - column)))

    large, small = disks(5.0, 8.0), disks(1.4, 2.2)
    noise = 2 * functional.avg_pool2d(torch.randn(n, 1, 34, 34, generator=g), 3, 1)[:, 0]
    start, slope = 4 + 24 * torch.rand(n, 1, 1, generator=g), torch.rand(n, 1, 1, generator=g) - 0.5
    ridge = RIDGE * torch.sigmoid(3 * (0.8 - (x - start + (y - 16) * slope).abs()))
    image = torch.maximum(torch.maximum(large, AMPLITUDE * small), ridge) + NOISE * noise
    return {
        "image": image[:, None],
        "label": ((large > 0.5) | (small > 0.5)).long(),
        "small": (small > 0.5) & (large <= 0.5),
    }


AMPLITUDE, RIDGE, NOISE, STEPS = 0.7, 0.3, 0.4, 80
training = drawn(96, seed=0)


HEADS = {head.__name__: head for head in (SideHeads, LocalHeads, UpsampledHeads, InterpolatedHeads)}


def network_with(heads, width=4, depth=3, dims=2):
    """A U-Net and heads of the library: `heads(depth, dims)` names them, {name: (class, levels)}."""
    backbone = UNet(width=width, depth=depth, dims=dims)
    return Network(
        backbone, {name: HEADS[kind](backbone, levels=at) for name, (kind, at) in heads(depth, dims).items()}
    )


def fields(outputs):
    """What a supervision gets: the logits and the outputs of the heads."""
    return {name: getattr(outputs, name) for name in ("logits", "side_outputs", "upsampled")}


def train(heads, terms, seed):
    """The budget: one small U-Net, a fixed number of steps, the same images in the same order."""
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    network = network_with(heads, width=6, depth=4)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(STEPS):
        chosen = torch.randint(96, (8,), generator=g)
        batch = {name: training[name][chosen] for name in ("image", "label")}
        loss = sum(terms(fields(network(batch["image"])), batch).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def plain_heads(depth, dims):
    return {}


def plain_terms(given, batch):
    """Cross-entropy and Dice on the output alone, as `dsnotes.supervision.Plain` has them."""
    logits, t = given["logits"], batch["label"][:, None].float()
    entropy = functional.binary_cross_entropy_with_logits(logits, t)
    return {"cross-entropy": entropy, "dice": soft_dice(logits.sigmoid(), t, over_batch=True, eps=1e-5)}


@cache
def plain_dice(images_seed, n):
    """Dice of the plain U-Net: the mean over two trainings."""
    images = drawn(n, seed=images_seed)
    return sum(small_dice(train(plain_heads, plain_terms, seed), images) for seed in (0, 1)) / 2


@torch.no_grad()
def small_dice(network, images):
    """Dice of the small tumours, over all images together, counting only pixels near them."""
    small, other = images["small"], (images["label"] == 1) & ~images["small"]
    near = functional.max_pool2d(small[:, None].float(), 7, 1, 3)[:, 0] > 0
    said = (network(images["image"]).logits[:, 0] > 0) & near & ~other
    return float(2 * (said & small).sum() / (said.sum() + small.sum()))


# %% [markdown]
# ## 2. Your supervision
#
# A supervision adds *heads* to a backbone, and turns a network's outputs and a batch into named, weighted terms whose
# sum is the loss. The plain one has no heads and two terms. Yours may use any of `HEADS`, at any levels; their outputs
# are in `outputs.side_outputs` or `outputs.upsampled`. **Before you write:** decide where (which levels, or the output
# alone), against what (downsampled how? all pixels alike?), and with which weight. Then try one idea at a time:
# `small_dice(train(sixth_heads, sixth_terms, seed=5), drawn(96, seed=5))` takes seconds.
#
# It must also work on deeper and shallower U-Nets, in 3-D, where the batch's label is (batch, depth, height, width),
# and for a batch without tumour.


# %% nbgrader={"grade_id": "sixth", "solution": true}
@dataclass(frozen=True)
class Sixth:
    """Describe here what is compared, where and with which weight: heads(backbone), terms(outputs, batch)."""

    ### BEGIN SOLUTION
    boost: float = 8.0  # weight of a pixel of an isolated small tumour, beside 1 for background
    sides: float = 0.5  # total weight of the side outputs

    def heads(self, backbone):
        return {"sides": SideHeads(backbone)}

    def terms(self, outputs, batch):
        label = class_indices(batch["label"], outputs.logits)
        t = one_hot(label, 1)
        pool = functional.avg_pool2d if t.ndim == 4 else functional.avg_pool3d
        weight = 1 + self.boost * t * (1 - pool(t, 9, 1, 4)) ** 4
        p = outputs.logits.sigmoid()
        entropy = functional.binary_cross_entropy_with_logits(outputs.logits, t, weight=weight) / weight.mean()
        overlap = (2 * (weight * p * t).sum() + 1e-5) / ((weight * p * p).sum() + (weight * t * t).sum() + 1e-5)
        terms = {"entropy": entropy, "overlap": 1 - overlap}
        for name, side in outputs.side_outputs.items():
            held = downsample_target(label, tuple(side.shape[2:]), channels=1, how="max")
            terms[name] = (
                self.sides / len(outputs.side_outputs) * functional.binary_cross_entropy_with_logits(side, held)
            )
        return terms

    ### END SOLUTION


# %% nbgrader={"grade_id": "steps", "sandbox": true}
def sixth_heads(depth, dims):
    """The heads that `Sixth` puts on a U-Net, by name: (class, levels)."""
    heads = Sixth().heads(UNet(width=4, depth=depth, dims=dims))
    return {name: (type(head).__name__, list(head.levels)) for name, head in heads.items()}


def sixth_terms(given, batch):
    """The terms of `Sixth` for a network's outputs."""
    return Sixth().terms(Outputs(**given), batch)


# %% nbgrader={"grade_id": "test-terms", "points": 3}
import math

import torch

_ = torch.manual_seed(1)
network = network_with(sixth_heads)
batch = {name: drawn(4, seed=8)[name] for name in ("image", "label")}
terms = sixth_terms(fields(network(batch["image"])), batch)
assert isinstance(terms, dict) and terms, f"named terms in a dict, not {type(terms).__name__}"
for name, term in terms.items():
    assert torch.is_tensor(term) and term.ndim == 0, f"{name} must be one number, a tensor without dimensions"
    assert math.isfinite(float(term)), f"{name} is {float(term)}"
### BEGIN HIDDEN TESTS
batch = {name: drawn(4, seed=SEED)[name] for name in ("image", "label")}
nothing = {"image": batch["image"], "label": torch.zeros_like(batch["label"])}
empty = sixth_terms(fields(network(batch["image"])), nothing)
assert all(math.isfinite(float(term)) for term in empty.values()), (
    "a term is not finite for a batch without tumour: a division by zero?"
)
assert list(empty) == list(terms), "return the same terms for every batch: the history has one column per term"
assert not {"loss", "lr", "epoch", "grad_norm", "seconds"} & set(terms), (
    "rename these terms: the history uses loss, lr, epoch, grad_norm and seconds"
)
said, label = fields(network(batch["image"])), batch["label"][:, None]
better, worse = (
    sum(map(float, sixth_terms(said | {"logits": sign * (12.0 * label - 6)}, batch).values())) for sign in (1, -1)
)
assert better < worse, (
    f"a right output has loss {better:.3f}, a wrong one {worse:.3f}: it must be lower for the right one"
)
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test-teaches", "points": 3}
import torch

_ = torch.manual_seed(2)
network = network_with(sixth_heads)
batch = {name: drawn(4, seed=9)[name] for name in ("image", "label")}
sum(sixth_terms(fields(network(batch["image"])), batch).values()).backward()
untaught = [name for name, p in network.backbone.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
assert not untaught, f"your loss gives no gradient to these weights of the U-Net: {untaught[:3]}"
### BEGIN HIDDEN TESTS
unused = [name for name, p in network.heads.named_parameters() if p.grad is None]
assert not unused, f"heads that no term uses: {unused[:3]}"
_ = torch.manual_seed(SEED)
network, images = network_with(sixth_heads), drawn(8, seed=SEED)
optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
for _ in range(20):
    optimiser.zero_grad()
    sum(sixth_terms(fields(network(images["image"])), {n: images[n] for n in ("image", "label")}).values()).backward()
    optimiser.step()
said = network(images["image"]).logits[:, 0]
gap = float(said[images["label"] == 1].mean() - said[images["label"] == 0].mean())
assert gap > 0.5, f"after 20 steps on eight images tumour should stand out from background; the gap is {gap:.2f}"
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test-anywhere", "points": 2}
import torch

network = network_with(sixth_heads, depth=5)
batch = {name: drawn(2, seed=9)[name] for name in ("image", "label")}
loss = sum(sixth_terms(fields(network(batch["image"])), batch).values())
assert loss > 0, "the loss must be positive on a deeper U-Net too: do not hard-code its levels"
### BEGIN HIDDEN TESTS
loss.backward()
assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.backbone.parameters()), (
    "the deeper U-Net needs a gradient too"
)
_ = torch.manual_seed(SEED)
volume = {"image": torch.randn(1, 1, 16, 16, 16), "label": (torch.rand(1, 16, 16, 16) > 0.9).long()}
network = network_with(sixth_heads, dims=3)
loss = sum(sixth_terms(fields(network(volume["image"])), volume).values())
assert loss > 0, "the loss must be positive in 3-D too: use pool3d, and do not hard-code the dimensions"
loss.backward()
assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.backbone.parameters()), (
    "the U-Net needs a gradient in 3-D too"
)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Is it better?
#
# Two systems are compared on the same seeds, so the *differences* count. Return their mean, and the standard error of
# that mean: the standard deviation of the differences (with n − 1) over √n.


# %% nbgrader={"grade_id": "paired", "solution": true}
def paired(ours, theirs):
    """(mean of ours − theirs, its standard error): two floats. Each list has one value per seed."""
    ### BEGIN SOLUTION
    differences = torch.tensor(ours, dtype=torch.float64) - torch.tensor(theirs, dtype=torch.float64)
    return differences.mean().item(), differences.std().item() / len(ours) ** 0.5
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-paired", "points": 3}
mean, error = paired([0.5, 0.7], [0.4, 0.4])
assert abs(mean - 0.2) < 1e-6, f"differences 0.1 and 0.3: their mean is 0.2, not {mean}"
assert abs(error - 0.1) < 1e-6, f"their standard deviation is √0.02; over √2 that is 0.1, not {error}"
### BEGIN HIDDEN TESTS
import torch

mean, error = paired([0.3, 0.6, 0.9, 0.2], [0.2, 0.5, 0.8, 0.1])
assert abs(error) < 1e-6, "all differences are equal, so the error is 0, however much the seeds differ"
ours, theirs = torch.rand(2, 6, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64).tolist()
mean, error = paired(ours, theirs)
apart = [a - b for a, b in zip(ours, theirs, strict=True)]
middle = sum(apart) / 6
want = (sum((d - middle) ** 2 for d in apart) / 5) ** 0.5 / 6**0.5
assert abs(mean - middle) < 1e-6 and abs(error - want) < 1e-6, (
    "divide the squares by n − 1, and the standard deviation by √n"
)
### END HIDDEN TESTS

# %% [markdown]
# ## 4. The budget
#
# Your supervision and the plain U-Net are each trained twice and scored on the small tumours of new images. A gain of
# 0.10 in Dice gives all six points, a smaller gain its share, no gain none. The grader generates other images than
# these.

# %% nbgrader={"grade_id": "test-budget", "points": 6}
from dsnotes.labs.score import record

images_seed, n, plain_reaches = 101, 96, plain_dice
### BEGIN HIDDEN TESTS
images_seed, n, plain_reaches = SEED, 192, reference.plain_dice
### END HIDDEN TESTS
unseen = drawn(n, seed=images_seed)
ours = sum(small_dice(train(sixth_heads, sixth_terms, seed), unseen) for seed in (0, 1)) / 2
plain = plain_reaches(images_seed, n)
record("Dice of small tumours", ours)
assert ours > plain, (
    f"{ours:.3f} is not above the plain U-Net's {plain:.3f}: give the few pixels of small tumours more weight"
)
print(f"plain {plain:.3f}, yours {ours:.3f}")
round(min(6.0, 60 * (ours - plain)), 1)

# %% [markdown]
# ## 5. In your own words
#
# **In five to ten sentences:** what does your supervision compare, where, with which weight, and why should that help
# small tumours? What did you try that did *not* help? Measure and report what your supervision costs elsewhere: the
# Dice of *all* tumours, false positives, or time. Would you claim that it is better, and on what evidence?

# %% [markdown] nbgrader={"grade_id": "reflection", "solution": true, "points": 3}
# Every tumour pixel is weighted by how little tumour surrounds it, so a small tumour counts about as much as a large
# one's rim, in the cross-entropy and in the Dice; and every level predicts which of its cells contain tumour (max),
# because with nearest the small ones would be lost. Side outputs against shares (area) did not help within this budget;
# the weights helped most. It costs false positives, because a missed small tumour now costs more than an invented one,
# and a little of the Dice of all tumours. I claim an improvement on these images, because both seeds gained; not on
# patients: these images are made to have the very problem that it solves.
