# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One idea: a teacher at every depth
#
# Every system of this course fits one sentence, with different nouns in it: **a network is supervised at more places
# than its output.** Here you build that sentence from nothing and measure each of its parts.
#
# You will learn
#
# - why the layers far from the output hear so little of its loss, and by how much;
# - what a *side output* is: one 1×1 convolution and one more term in the loss;
# - what a coarse side output should be compared with, and how a careless answer makes small tumours vanish;
# - when hearing more makes a network learn, when it does not, and how much of the effect is left in a U-Net.
#
# Paper: Lee, Xie, Gallagher, Zhang, Tu 2015, *Deeply-Supervised Nets*, <https://arxiv.org/abs/1409.5185>. Needs a CPU
# and about two minutes; with `smoke=True` about twenty seconds. Read [00_start_here](00_start_here.ipynb) first if
# words such as *Dice* or *phantom* are new to you.

# %% tags=["parameters"]
steps: int = 400  # training steps of the small network
seeds: int = 3  # how often each way of training is repeated, from other first weights
smoke: bool = False  # a minute at most: fewer steps, one seed

# %%
if smoke:
    steps, seeds = 20, 1

# %%
import copy
from itertools import pairwise

import torch
from torch import nn

from dsnotes.data import phantoms
from dsnotes.data.patches import draw_batch
from dsnotes.data.preprocess import hu_window
from dsnotes.losses import dice_coefficient
from dsnotes.networks.unet import UNet
from dsnotes.supervision import MultiScale, downsample_target, loss_terms, supervise
from dsnotes.supervision.multi_scale import entropy_and_dice
from dsnotes.viewers import curves, maps

# %% [markdown]
# ## A dozen images
#
# These are slices of phantom chests, each with at least one tumour in it. The same slices are used all the way through,
# for training and for scoring: this notebook asks how well a network can be *told* something, not how well it
# generalises.

# %%
chests = [hu_window(-1000, 400)(chest) for chest in phantoms.lung(8, seed=1)]
batch = draw_batch(chests, patch=(64, 64), batch=12, foreground=1.0, generator=torch.Generator().manual_seed(0))
image, label = batch["image"], batch["label"]
maps(
    {
        "image": {f"slice {i}": image[i, 0] for i in range(5)},
        "tumour": {f"slice {i}": label[i] for i in range(5)},
    },
    window="each",
)

# %% [markdown]
# ## A network from nothing
#
# Five layers halve the image, five double it again. There are no shortcuts and no normalisation: what the first layer
# sees must travel through all ten. A last 1×1 convolution turns eight channels into one logit per pixel, and we already
# give such a *head* to every layer on the way up. A layer's name is an arrow and a stride: `↓8` is the layer on the way
# down after which one pixel stands for 8 × 8 pixels of the image, `↑8` the layer on the way up with the same stride.

# %%
torch.manual_seed(0)
down = [nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU()) for a, b in pairwise([1, 8, 16, 32, 64, 64])]
up = [
    nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(a, b, 3, padding=1), nn.ReLU())
    for a, b in pairwise([64, 64, 32, 16, 8, 8])
]
heads = [nn.Conv2d(layer[1].out_channels, 1, 1) for layer in up]
first_weights = nn.ModuleDict({"down": nn.ModuleList(down), "up": nn.ModuleList(up), "heads": nn.ModuleList(heads)})


# %%
def answers(net, x):
    """The logits of every head, finest first: strides 1, 2, 4, 8, 16."""
    for layer in net["down"]:
        x = layer(x)
    sides = []
    for layer, head in zip(net["up"], net["heads"], strict=True):
        x = layer(x)
        sides.append(head(x))
    return sides[::-1]


# %%
for side in answers(first_weights, image):
    print(f"stride {64 // side.shape[-1]:2}: {tuple(side.shape)}")

# %% [markdown]
# ## One teacher, ten layers away
#
# The usual way is one loss, at the output. `loss.backward()` tells every layer in which direction its weights should
# go, and the length of that message is the norm of the layer's gradient. (Coarse heads will be asked for the *share* of
# tumour under each of their pixels; the reason follows below.)
#
# **Before running:** the last layer's gradient has some norm. How many times smaller is the norm at the first layer: 2,
# 100, or 1000 times?


# %%
targets = [downsample_target(label, (64 // s, 64 // s), channels=1, how="area") for s in (1, 2, 4, 8, 16)]


def loss_of(sides, weights):
    """Σ weight · (cross-entropy + 1 − Dice) over the heads."""
    each = zip(weights, sides, targets, strict=True)
    return sum(weight * entropy_and_dice(side, target) for weight, side, target in each)


def gradient_norms(net, weights):
    net.zero_grad()
    loss_of(answers(net, image), weights).backward()
    ways_down = {f"↓{2 ** (i + 1)}": layer[0] for i, layer in enumerate(net["down"])}
    ways_up = {f"↑{2 ** (4 - i)}": layer[1] for i, layer in enumerate(net["up"])}
    return {name: layer.weight.grad.norm().item() for name, layer in (ways_down | ways_up).items()}


# %%
output_alone = (1, 0, 0, 0, 0)
alone = gradient_norms(first_weights, output_alone)
curves.lines({"loss at the output alone": alone}, x="layer, from input to output", y="norm of the gradient", log=True)
print(f"first layer: {alone['↓2']:.1e}, last layer: {alone['↑1']:.1e}, {alone['↑1'] / alone['↓2']:.0f} times more")

# %% [markdown]
# More than a thousand times. Each layer passes on only part of what it was told, and after ten layers little is left.

# %%
assert alone["↑1"] > 1000 * alone["↓2"]

# %% [markdown]
# ## A teacher at every depth
#
# The heads are there; all we have to do is listen to them. Each gets a loss of its own, with weights 1, ½, ¼, … so that
# the output, which is what we want in the end, keeps the loudest voice. That is all there is to *deep supervision*.
#
# **Before running:** the new terms have weights below one. Which layers gain most, and does the last one gain at all?

# %%
every_depth = (1, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
deep = gradient_norms(first_weights, every_depth)
curves.lines(
    {"loss at the output alone": alone, "a loss at every depth": deep},
    x="layer, from input to output",
    y="norm of the gradient",
    log=True,
)
gain = {name: deep[name] / alone[name] for name in alone}
print("times more:", ", ".join(f"{name} {factor:.1f}" for name, factor in gain.items()))

# %% [markdown]
# The last layer hears what it heard before: no side loss depends on it. Every other layer hears more. The gain is
# largest in the middle of the network: all four side losses depend on these layers, and the first of them sits close
# by.

# %%
assert gain["↑1"] == 1
assert min(gain[name] for name in gain if name != "↑1") > 1.2
assert min(gain[name] for name in ("↓2", "↓4", "↓8", "↓16", "↓32")) > 3
assert max(gain, key=gain.get) in ("↓8", "↓16", "↓32")

# %% [markdown]
# ## What is a coarse pixel to say?
#
# At stride 8 one pixel stands for 64. The mask has to be reduced to that size, and there is more than one way:
#
# - **nearest**: the pixel in the middle speaks for all 64. It is quick and crisp. Many codes take the first pixel
#   instead, which PyTorch's `interpolate(mode="nearest")` does: that also moves the target by half a cell, 4 pixels at
#   stride 8 (here its name is `corner`; [11_what_each_depth_sees](11_what_each_depth_sees.ipynb) measures the cost);
# - **area**: the share of the 64 that is tumour, a soft target between 0 and 1;
# - **max**: 1 as soon as any of the 64 is tumour.
#
# Take a slice whose tumour is small. **Before running:** which of the three loses it at stride 8?

# %%
strides = (1, 2, 4, 8)
at_8 = downsample_target(label, (8, 8), channels=1, how="nearest").flatten(1).sum(1)
small = label[[min(range(len(label)), key=lambda i: (at_8[i], label[i].sum()))]]
coarse = {
    how: {f"stride {s}": downsample_target(small, (64 // s, 64 // s), channels=1, how=how)[0, 0] for s in strides}
    for how in ("nearest", "area", "max")
}
maps(coarse, window=(0, 1))

# %% [markdown]
# By `nearest`, the network is told at stride 8 that this patient is healthy. By `area`, nothing is lost: the shares,
# times 64 pixels, add up to every pixel of the tumour. By `max` the tumour is kept, but made larger than it is.

# %%
pixels = small.sum()
assert coarse["nearest"]["stride 8"].sum() == 0
assert torch.isclose(64 * coarse["area"]["stride 8"].sum(), pixels.float())
assert 64 * coarse["max"]["stride 8"].sum() > pixels

# %% [markdown]
# One tumour proves little. In the volumes every tumour has a number, so we can count how many are gone at each stride,
# the large ones included.


# %%
def lost(stride, how):
    """The share of all tumours of the eight chests of which a target of this stride holds nothing."""
    gone = []
    for chest in chests:
        size = tuple(n // stride for n in chest.space)
        for tumour in chest.extras["tumours"]:
            mask = torch.from_numpy(chest.extras["components"] == tumour["component"]).long()[None]
            gone.append(downsample_target(mask, size, channels=1, how=how).sum() == 0)
    return float(torch.stack(gone).float().mean())


# %%
share = {how: {str(stride): lost(stride, how) for stride in (1, 2, 4, 8, 16)} for how in ("nearest", "area")}
curves.lines(share, x="stride of the side output", y="share of tumours lost", title="What the target no longer holds")

# %%
assert share["nearest"]["8"] > 0.4
assert max(share["area"].values()) == 0

# %% [markdown]
# A supervision that is meant to help with small tumours, and tells the deep layers that there are none, works against
# itself. This is why the way to reduce the mask has a name in this library, `reduction="area"`: it should be chosen,
# not left to whatever an interpolation function does by default.
#
# ## Does it help?
#
# A larger gradient does not yet mean that the network learns better. Gradient descent multiplies every gradient by the
# same learning rate, so a layer that hears a whisper takes tiny steps. Adam first divides each gradient by its own
# usual size.
#
# **Before running:** we take two optimisers, each once with a loss at the output alone and once with a loss at every
# depth, all from the same first weights. In which of the four trainings will the network learn to find the tumours?


# %%
def dice_while_learning(net, weights, optimiser):
    """Dice of the output before each step, on the images that are learned."""
    scores = []
    for _ in range(steps):
        sides = answers(net, image)
        scores.append(dice_coefficient((sides[0].detach() > 0).float(), targets[0], over_batch=True).item())
        optimiser.zero_grad()
        loss_of(sides, weights).backward()
        optimiser.step()
    return scores


# %%
def fresh(seed):
    net = copy.deepcopy(first_weights)
    torch.manual_seed(seed)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
    return net


# %%
optimisers = {
    "gradient descent": lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9),
    "Adam": lambda weights: torch.optim.Adam(weights, lr=3e-3),
}
runs, taught = {}, {}
for optimiser, make in optimisers.items():
    for way, weights in {"output alone": output_alone, "every depth": every_depth}.items():
        nets = taught[f"{optimiser}, {way}"] = [fresh(seed) for seed in range(seeds)]
        scores = [dice_while_learning(net, weights, make(net.parameters())) for net in nets]
        runs[f"{optimiser}, {way}"] = torch.tensor(scores)

# %%
curves.lines(
    {name: dict(enumerate(scores.mean(0).tolist())) for name, scores in runs.items()},
    x="step",
    y="Dice, mean over the seeds",
)
for name, scores in runs.items():
    each = ", ".join(f"{score:.2f}" for score in scores[:, -1].tolist())
    print(f"{name:30} mean over all steps {scores.mean():.3f}; at the end, seed by seed: {each}")

# %% [markdown]
# With gradient descent, the network that is supervised at its output alone learns nothing at all. Supervised at every
# depth it learns, though not equally well from every set of first weights. **With Adam both learn, and neither is
# clearly ahead:** Adam turns the whispers up by itself.
#
# So deep supervision was invented to rescue trainings that better optimisers, normalisation and shortcuts have since
# rescued too. Remember this when you read that a side loss "makes the gradient flow". What no optimiser brings is the
# other half: a say in *what every depth should know*. The five papers are about that half.

# %%
if not smoke:
    final = {name: scores[:, -1] for name, scores in runs.items()}
    assert final["gradient descent, output alone"].max() < 0.05
    assert final["gradient descent, every depth"].max() > 0.5
    assert final["Adam, output alone"].min() > 0.8
    assert abs(runs["Adam, every depth"].mean() - runs["Adam, output alone"].mean()) < 0.1

# %% [markdown]
# ## What each depth says
#
# Look at the network's own answers: the top row is what each depth was asked for, the bottom row what it says.

# %%
with torch.no_grad():
    said = [side.sigmoid() for side in answers(taught["Adam, every depth"][0], image)]
largest = label.sum((1, 2)).argmax()
maps(
    {
        "asked for": {f"stride {2**i}": t[largest] for i, t in enumerate(targets)},
        "answered": {f"stride {2**i}": p[largest] for i, p in enumerate(said)},
    },
    window=(0, 1),
)

# %% [markdown]
# ## The same in two lines
#
# What we wrote by hand is `MultiScale` in the library: it puts the heads on any backbone and returns one named term per
# depth. Here it is on a U-Net, whose shortcuts carry fine detail past the deep layers.

# %%
torch.manual_seed(0)
objective = MultiScale(weights=(1, 1 / 2, 1 / 4, 1 / 8), reduction="area")
network = supervise(UNet(width=8), objective)
terms = loss_terms(objective, network, batch)
print({name: round(term.item(), 4) for name, term in terms.items()})

# %% [markdown]
# Its terms add up to exactly the sum that we wrote by hand:

# %%
sides = network(image).side_outputs.values()
by_hand = [
    entropy_and_dice(side, target) / 2**depth
    for depth, (side, target) in enumerate(zip(sides, targets[:4], strict=True))
]
assert torch.allclose(sum(by_hand), sum(terms.values()))


# %% [markdown]
# **Before running:** the U-Net has shortcuts and batch normalisation, both of which help gradients to travel. Do its
# deepest layers still gain?


# %%
def unet_gradients(loss):
    network.zero_grad()
    loss.backward()
    unet = network.backbone
    blocks = {f"↓{2**i}": block for i, block in enumerate(unet.encoder)} | {"bottom": unet.bottleneck}
    blocks |= {f"↑{2**i}": block for i, block in reversed(list(enumerate(unet.decoder)))}
    return {name: block[0][0].weight.grad.norm().item() for name, block in blocks.items()}


# %%
unet_alone = unet_gradients(loss_terms(objective, network, batch)["stride1"])
unet_deep = unet_gradients(sum(loss_terms(objective, network, batch).values()))
curves.lines(
    {"loss at the output alone": unet_alone, "a loss at every depth": unet_deep},
    x="block of the U-Net",
    y="norm of the gradient",
    log=True,
)
print(f"at the bottom {unet_deep['bottom'] / unet_alone['bottom']:.1f} times more")

# %% [markdown]
# The ends of the U are well served: a shortcut joins the first block to the last. But without side losses the bottom of
# the U gets a gradient many times smaller than the top, and it is the bottom that gains. That is where a side loss
# belongs; the five papers of this course differ in *what* they ask for there.

# %%
assert unet_alone["↓1"] > 5 * unet_alone["bottom"]
assert unet_deep["bottom"] > 2 * unet_alone["bottom"]
assert unet_deep["↓1"] < unet_deep["bottom"] / unet_alone["bottom"] * unet_alone["↓1"]

# %% [markdown]
# ## To take along
#
# - The further a layer is from the loss, the less it hears of it. A side output is a teacher next door.
# - Under gradient descent that decides whether a network learns; Adam makes up for it. What remains is the choice of
#   what each depth is asked.
# - It costs one 1×1 convolution per depth, and nothing at all once training is over: the heads are thrown away.
# - A coarse answer needs a coarse question. Reduced by `nearest`, small tumours vanish from it; by `area`, none does.
#
# ## Exercises
#
# 1. Give the network better first weights: in `fresh`, replace `layer.reset_parameters()` by
#    `nn.init.kaiming_normal_(layer.weight)`. What becomes of the gradients, and of the four trainings? (He et al. 2015,
#    <https://arxiv.org/abs/1502.01852>, appeared five months after deep supervision, with the same difficulty in mind.)
# 2. Train once more with `how="nearest"` in `targets`. On the slice with the smallest tumour, compare the *answers* at
#    stride 8 with those of the network that was taught by area. Which of the two would you rather build a detector on?
