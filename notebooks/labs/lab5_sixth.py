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
# Five papers, five answers to *where* a network is told something, *what*, and *how loudly*. Here is yours: design a
# supervision, plug it into `dsnotes`, and beat the plainly trained U-Net on small tumours, within a budget that is the
# same for everybody. The figure that is measured goes to the course's leaderboard.
#
# Before: [10_one_idea](../10_one_idea.ipynb) and one of the papers' notebooks. About 90 minutes; 20 points, of which a
# person gives three and six depend on how much you gain. Everything of `dsnotes` may be used. A network of your own may
# not: what is deployed is the U-Net's own output, and it is trained by `train`, which the grader puts back.
# `dsnotes labs check lab5_sixth.ipynb` tries the whole.

# %%
from dataclasses import dataclass

import torch
from torch.nn import functional

from dsnotes.networks.heads import SideHeads
from dsnotes.networks.unet import UNet
from dsnotes.supervision import Plain, supervise
from dsnotes.supervision.targets import class_indices, downsample_target, one_hot

# %% [markdown]
# ## 1. The task and the budget
#
# Images of 32 × 32 with noise, a faint ridge that is no tumour, one large tumour and one small and dim one. A plain
# loss counts pixels, and of these the small tumour has few. Its Dice is taken where it lies: over the small tumours of
# all test images together, within three pixels of them.


# %%
def drawn(n, seed):
    """{"image", "label", "small"}: n images, their tumours, and which pixels are a small tumour's alone."""
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


def train(objective, seed):
    """The budget: one small U-Net, so many steps, the same images in the same order."""
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    network = supervise(UNet(width=6, depth=4), objective)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(STEPS):
        chosen = torch.randint(96, (8,), generator=g)
        loss = sum(objective(network, {name: training[name][chosen] for name in ("image", "label")}).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


@torch.no_grad()
def small_dice(network, images):
    """Dice of the small tumours, all images together; what is far from them does not count."""
    small, other = images["small"], (images["label"] == 1) & ~images["small"]
    near = functional.max_pool2d(small[:, None].float(), 7, 1, 3)[:, 0] > 0
    said = (network(images["image"]).logits[:, 0] > 0) & near & ~other
    return float(2 * (said & small).sum() / (said.sum() + small.sum()))


# %% [markdown]
# ## 2. Your supervision
#
# An objective says which *heads* it wants on a backbone, and turns a network's outputs and a batch into named, already
# weighed terms whose sum is the loss. `Plain` has no heads and two terms. **Before you write:** decide where (which
# levels, or the output alone), against what (reduced how? all pixels alike?), and how loudly. Then try one idea at a
# time: `small_dice(train(Sixth(), seed=5), drawn(96, seed=5))` takes seconds.
#
# It must also run where it was not made for: on deeper and flatter U-Nets, and in 3-D, where the batch's label is
# (batch, depth, height, width). And a batch without any tumour is no reason to fail.


# %% nbgrader={"grade_id": "sixth", "solution": true}
@dataclass(frozen=True)
class Sixth:
    """What is asked, where, and how loudly: say it here."""

    ### BEGIN SOLUTION
    boost: float = 8.0  # of a pixel whose tumour is all alone, against background
    sides: float = 0.5  # of all sides together

    def heads(self, backbone):
        return {"sides": SideHeads(backbone)}

    def __call__(self, network, batch):
        outputs = network(batch["image"])
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


# %% nbgrader={"grade_id": "test-objective", "points": 3}
import math

import torch

from dsnotes.networks.unet import UNet
from dsnotes.supervision import Objective, supervise

assert isinstance(Sixth(), Objective), "an objective has heads(backbone) and can be called: both are methods of Sixth"
_ = torch.manual_seed(1)
network = supervise(UNet(width=4, depth=3), Sixth())
batch = {name: drawn(4, seed=8)[name] for name in ("image", "label")}
terms = Sixth()(network, batch)
assert isinstance(terms, dict) and terms, f"named terms in a dict, not {type(terms).__name__}"
for name, term in terms.items():
    assert torch.is_tensor(term) and term.ndim == 0, f"{name} must be one number, a tensor without dimensions"
    assert math.isfinite(float(term)), f"{name} is {float(term)}"
### BEGIN HIDDEN TESTS
empty = Sixth()(network, {"image": batch["image"], "label": torch.zeros_like(batch["label"])})
assert all(math.isfinite(float(term)) for term in empty.values()), "a batch without tumour: a division by nothing?"
assert list(empty) == list(terms), "the same terms for every batch: the history has a column each"
assert not {"loss", "lr", "epoch", "grad_norm", "seconds"} & set(terms), "that name belongs to the history"
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test-teaches", "points": 3}
import torch

from dsnotes.networks.unet import UNet
from dsnotes.supervision import supervise

_ = torch.manual_seed(2)
network = supervise(UNet(width=4, depth=3), Sixth())
batch = {name: drawn(4, seed=9)[name] for name in ("image", "label")}
kept = {name: value.clone() for name, value in batch.items()}
sum(Sixth()(network, batch).values()).backward()
untaught = [name for name, p in network.backbone.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
assert not untaught, (
    f"these weights of the U-Net hear nothing of your loss: {untaught[:3]}; what is deployed must learn"
)
### BEGIN HIDDEN TESTS
deaf = [name for name, p in network.heads.named_parameters() if p.grad is None]
assert not deaf, f"heads that nobody asks anything: {deaf[:3]}"
assert all(torch.equal(kept[name], batch[name]) for name in kept), "the batch was changed in place"
wrong = Sixth()(network, {"image": batch["image"], "label": 1 - batch["label"]})
assert sum(map(float, wrong.values())) != sum(map(float, Sixth()(network, batch).values())), (
    "does it look at the label?"
)
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test-anywhere", "points": 2}
import torch

from dsnotes.networks.unet import UNet
from dsnotes.supervision import supervise

network = supervise(UNet(width=4, depth=5), Sixth())
batch = {name: drawn(2, seed=9)[name] for name in ("image", "label")}
assert sum(Sixth()(network, batch).values()) > 0, "a deeper U-Net has more levels: take them as they come"
### BEGIN HIDDEN TESTS
volume = {"image": torch.randn(1, 1, 16, 16, 16), "label": (torch.rand(1, 16, 16, 16) > 0.9).long()}
network = supervise(UNet(width=4, depth=3, dims=3), Sixth())
assert sum(Sixth()(network, volume).values()) > 0, "in 3-D: no dims written down, no pool2d without its pool3d"
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Is it better?
#
# Two ways are compared on the same seeds, so the *differences* count. Return their mean, and the standard error of that
# mean: the standard deviation of the differences (with n − 1) over √n.


# %% nbgrader={"grade_id": "paired", "solution": true}
def paired(ours, theirs):
    """(mean of ours − theirs, its standard error): two floats. One value a seed in each list."""
    ### BEGIN SOLUTION
    differences = torch.tensor(ours, dtype=torch.float64) - torch.tensor(theirs, dtype=torch.float64)
    return differences.mean().item(), differences.std().item() / len(ours) ** 0.5
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-paired", "points": 3}
mean, error = paired([0.5, 0.7], [0.4, 0.4])
assert abs(mean - 0.2) < 1e-6, f"differences 0.1 and 0.3: their mean is 0.2, not {mean}"
assert abs(error - 0.1) < 1e-6, f"their standard deviation is √0.02; over √2 that is 0.1, not {error}"
### BEGIN HIDDEN TESTS
mean, error = paired([0.3, 0.6, 0.9, 0.2], [0.2, 0.5, 0.8, 0.1])
assert abs(error) < 1e-6, "always better by the same: no doubt is left, though the seeds differ much"
mean, error = paired([0.1, 0.2, 0.6], [0.3, 0.3, 0.3])
assert abs(mean) < 1e-6 and abs(error - (0.14 / 2) ** 0.5 / 3**0.5) < 1e-6, (
    "n − 1 below the squares, √n below the error"
)
### END HIDDEN TESTS

# %% [markdown]
# ## 4. The budget
#
# Trained twice, and the plain U-Net likewise; then the small tumours of images that nobody has seen. A gain of 0.10 in
# Dice is worth all six points, less is worth its share, and no gain nothing. The grader draws other images than these.

# %% nbgrader={"grade_id": "test-budget", "points": 6}
from dsnotes.labs.score import record
from dsnotes.supervision import Plain

unseen = drawn(96, seed=101)
### BEGIN HIDDEN TESTS
unseen = drawn(192, seed=20777)
### END HIDDEN TESTS
plain = sum(small_dice(train(Plain(), seed), unseen) for seed in (0, 1)) / 2
ours = sum(small_dice(train(Sixth(), seed), unseen) for seed in (0, 1)) / 2
record("Dice of small tumours", ours)
assert ours > plain, f"{ours:.3f} is not above plain's {plain:.3f}: what do few pixels weigh in your loss?"
print(f"plain {plain:.3f}, yours {ours:.3f}")
round(min(6.0, 60 * (ours - plain)), 1)

# %% [markdown]
# ## 5. In your own words
#
# **In five to ten sentences:** what is asked in your supervision, where, and how loudly, and why should that help small
# tumours? What did you try that did *not* help? Measure one more thing and report it, what your supervision costs
# elsewhere: the Dice of *all* tumours, false alarms, or time. Would you claim that it is better, and on what evidence?

# %% [markdown] nbgrader={"grade_id": "reflection", "solution": true, "points": 3}
# Every pixel of a tumour is weighed by how alone it is, so a small tumour counts about as much as a large one's rim, in
# the cross-entropy and in Dice alike; and every level is asked which of its cells hold any tumour, by max, for by
# nearest the small ones would be gone. Sides against shares, by area, did not help within this budget; the weights did
# most. It costs false alarms, for a missed small tumour is now dearer than an invented one, and a little of the Dice of
# all tumours. On these drawings I claim it, for both seeds gained; on patients I would not: the drawings have the very
# fault that it mends.
