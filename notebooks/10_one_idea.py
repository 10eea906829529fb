# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One idea: a loss at every depth
#
# All systems of this course are variations on one idea: **supervise a network at more places than its output.** They
# differ in where they add a loss and what they compare with. Here you build the idea from scratch and measure each
# part.
#
# You will learn
#
# - how much smaller the gradient is in layers far from the output, and why;
# - what a *side output* is: a 1×1 convolution and one more term in the loss;
# - what to compare a coarse side output with, and how a careless choice makes small tumours vanish: with a slider for
#   stride and way of downsampling;
# - when larger gradients help a network to learn, when they do not, and how much of the effect remains in a U-Net.
#
# Paper: Lee, Xie, Gallagher, Zhang, Tu 2015, *Deeply-Supervised Nets*, <https://arxiv.org/abs/1409.5185>. Needs a CPU
# and about four minutes; with `smoke=True` about twenty seconds. The time of every section is for reading and running
# together. Read [00_start_here](00_start_here.ipynb) first if words such as *Dice* or *phantom* are new to you; they
# are in the [glossary](../site/pages/glossary.md) too.

# %% tags=["parameters"]
steps: int = 400  # training steps of the small network
seeds: int = 3  # trainings per variant, each from other initial weights
smoke: bool = False  # a minute at most: fewer steps, one seed

# %%
if smoke:
    steps, seeds = 20, 1

# %%
import copy
from itertools import pairwise

import torch
from torch import nn

import dsnotes
from dsnotes.data import phantoms
from dsnotes.data.case import Case
from dsnotes.data.patches import draw_batch
from dsnotes.data.preprocess import hu_window
from dsnotes.losses import dice_coefficient
from dsnotes.networks.unet import UNet
from dsnotes.runs.verdict import brief_rows, stored
from dsnotes.supervision import MultiScale, downsample_target, loss_terms, supervise
from dsnotes.supervision.multi_scale import entropy_and_dice
from dsnotes.training.system import System
from dsnotes.viewers import Comparison, Guess, Table, TrainingMovie, architecture, curves, explore, maps, progress
from dsnotes.viewers.forest_plot import forest_plot
from dsnotes.viewers.maps import draw

# %% [markdown]
# ## A dozen images
#
# *Two minutes.*
#
# These are slices of phantom chests, each with at least one tumour. The same slices serve for training and for scoring:
# this notebook is about how well a network *fits* its training images, not how well it generalises.

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
# ## A network from scratch
#
# *Ten minutes.*
#
# Five layers halve the image, five double it again. There are no shortcuts and no normalisation, so information passes
# through all ten layers. A last 1×1 convolution turns eight channels into one logit per pixel, and we already give such
# a *head* to every layer on the way up. A layer's name is an arrow and a stride: `↓8` is the layer on the way down
# after which one pixel covers 8 × 8 pixels of the image, `↑8` the layer on the way up with the same stride.

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
def side_logits(net, x):
    """The logits of every head, finest first: strides 1, 2, 4, 8, 16."""
    for layer in net["down"]:
        x = layer(x)
    sides = []
    for layer, head in zip(net["up"], net["heads"], strict=True):
        x = layer(x)
        sides.append(head(x))
    return sides[::-1]


# %%
for side in side_logits(first_weights, image):
    print(f"stride {64 // side.shape[-1]:2}: {tuple(side.shape)}")

# %% [markdown]
# ## One loss, ten layers away
#
# *Five minutes.*
#
# The usual way is one loss, at the output. `loss.backward()` computes the gradient of every layer's weights; we look at
# its norm. (The target of a coarse head is the *share* of tumour under each of its pixels; the reason follows below.)
#
# **Before running:** the last layer's gradient has some norm. How many times smaller is the norm at the first layer: 2,
# 100, or 1000 times?

# %%
smaller = Guess("How many times smaller is the first layer's gradient?", ["2", "100", "1000 or more"])


# %%
targets = [downsample_target(label, (64 // s, 64 // s), channels=1, how="area") for s in (1, 2, 4, 8, 16)]


def loss_of(sides, weights):
    """Σ weight · (cross-entropy + 1 − Dice) over the heads."""
    each = zip(weights, sides, targets, strict=True)
    return sum(weight * entropy_and_dice(side, target) for weight, side, target in each)


def gradient_norms(net, weights):
    net.zero_grad()
    loss_of(side_logits(net, image), weights).backward()
    ways_down = {f"↓{2 ** (i + 1)}": layer[0] for i, layer in enumerate(net["down"])}
    ways_up = {f"↑{2 ** (4 - i)}": layer[1] for i, layer in enumerate(net["up"])}
    return {name: layer.weight.grad.norm().item() for name, layer in (ways_down | ways_up).items()}


# %%
output_alone = (1, 0, 0, 0, 0)
alone = gradient_norms(first_weights, output_alone)
curves.lines({"loss at the output alone": alone}, x="layer, from input to output", y="norm of the gradient", log=True)
print(f"first layer: {alone['↓2']:.1e}, last layer: {alone['↑1']:.1e}, {alone['↑1'] / alone['↓2']:.0f} times more")

# %% [markdown]
# More than a thousand times. Each layer passes on only part of its gradient, and after ten layers little is left.

# %%
assert alone["↑1"] > 1000 * alone["↓2"]
smaller.compare("1000 or more", f"{alone['↑1'] / alone['↓2']:.0f} times in this network.")

# %% [markdown]
# ## A loss at every depth
#
# *Ten minutes.*
#
# The heads are already there. Each now gets its own loss, with weights 1, ½, ¼, … so that the output, which is what we
# want in the end, keeps the largest weight. This is *deep supervision*.
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
# The last layer's gradient is unchanged: no side loss depends on it. Every other layer's is larger. The gain is largest
# in the middle of the network: all four side losses depend on these layers, and the nearest is one to three layers
# away.

# %%
assert gain["↑1"] == 1
assert min(gain[name] for name in gain if name != "↑1") > 1.2
assert min(gain[name] for name in ("↓2", "↓4", "↓8", "↓16", "↓32")) > 3
assert max(gain, key=gain.get) in ("↓8", "↓16", "↓32")

# %% [markdown]
# ## The target of a coarse pixel
#
# *Ten minutes.*
#
# At stride 8 one pixel covers 64. The mask has to be downsampled to that size, and there are several ways:
#
# - **nearest**: the pixel in the middle represents all 64; the target stays binary. Many programs take the first pixel
#   instead, as PyTorch's `interpolate(mode="nearest")` does, which also shifts the target by half a cell, 4 pixels at
#   stride 8 (called `corner` here; [11_what_each_depth_sees](11_what_each_depth_sees.ipynb) measures the cost);
# - **area**: the share of the 64 that is tumour, a soft target between 0 and 1;
# - **max**: 1 as soon as any of the 64 is tumour.
#
# Take a slice with a small tumour. **Before running:** which of the three loses it at stride 8?

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
# With `nearest`, the target at stride 8 has no tumour. With `area`, nothing is lost: the shares, times 64 pixels, add
# up to the tumour's area. With `max` the tumour is kept, but made larger than it is.

# %%
pixels = small.sum()
assert coarse["nearest"]["stride 8"].sum() == 0
assert torch.isclose(64 * coarse["area"]["stride 8"].sum(), pixels.float())
assert 64 * coarse["max"]["stride 8"].sum() > pixels

# %% [markdown]
# With the slider you can watch any of the tumours at any stride. **Before sliding:** at which stride does the largest
# tumour lose its shape, and at which the smallest its last pixel?


# %%
def at_stride(stride, how, tumour):
    """Image, mask, and the target of this stride, for the smallest or the largest tumour."""
    order = sorted(range(len(label)), key=lambda i: (at_8[i], label[i].sum()))
    which = order[0] if tumour == "smallest" else order[-1]
    target = downsample_target(label[[which]], (64 // stride,) * 2, channels=1, how=how)[0, 0]
    panels = {"image": image[which, 0], "mask": label[which], "target": target}
    pixels = float(target.sum()) * stride**2
    return draw(
        panels, window=(0, 1), title=f"stride {stride}, {how}: {pixels:.0f} of {label[which].sum()} pixels left"
    )


explore(
    at_stride,
    {"stride": (1, 2, 4, 8, 16), "how": ("area", "nearest", "max", "corner"), "tumour": ("smallest", "largest")},
    stills=[{"stride": 8, "how": how} for how in ("nearest", "area")],
    alt="A tumour and its target at",
)

# %% [markdown]
# One tumour proves little. In the volumes every tumour is numbered, so we can count how many of all tumours, large and
# small, vanish at each stride.


# %%
def lost(stride, how):
    """The share of all tumours of the eight chests that vanish from a target of this stride."""
    gone = []
    for chest in chests:
        size = tuple(n // stride for n in chest.space)
        for tumour in chest.extras["tumours"]:
            mask = torch.from_numpy(chest.extras["components"] == tumour["component"]).long()[None]
            gone.append(downsample_target(mask, size, channels=1, how=how).sum() == 0)
    return float(torch.stack(gone).float().mean())


# %%
share = {how: {str(stride): lost(stride, how) for stride in (1, 2, 4, 8, 16)} for how in ("nearest", "area")}
curves.lines(
    share, x="stride of the side output", y="share of tumours lost", title="Tumours that vanish from the target"
)

# %%
assert share["nearest"]["8"] > 0.4
assert max(share["area"].values()) == 0

# %% [markdown]
# Deep supervision is meant to help with small tumours; targets without them do the opposite. This is why the
# downsampling of the mask is a named option in this library, `reduction="area"`: choose it, rather than rely on the
# default of an interpolation function.
#
# ## Does it help?
#
# *Fifteen minutes, of which three run.*
#
# A larger gradient does not mean that the network learns better. Gradient descent multiplies every gradient by the same
# learning rate, so a layer with a tiny gradient takes tiny steps. Adam first divides each gradient by its recent
# magnitude.
#
# **Before running:** we train with two optimisers, each with a loss at the output alone and with a loss at every depth,
# all from the same initial weights. In which of the four trainings will the network learn to find the tumours?

# %%
fails = Guess(
    "Which training will find no tumour?",
    ["gradient descent, output alone", "gradient descent, every depth", "Adam, output alone", "Adam, every depth"],
)


# %%
def dice_while_learning(net, weights, optimiser):
    """Dice of the output before each step, on the training images."""
    scores = []
    for _ in range(steps):
        sides = side_logits(net, image)
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
runs, trained = {}, {}
ways = {"output alone": output_alone, "every depth": every_depth}
for optimiser, way, seed in progress([(o, w, seed) for o in optimisers for w in ways for seed in range(seeds)]):
    net = fresh(seed)
    scores = dice_while_learning(net, ways[way], optimisers[optimiser](net.parameters()))
    trained.setdefault(f"{optimiser}, {way}", []).append(net)
    runs.setdefault(f"{optimiser}, {way}", []).append(scores)
runs = {name: torch.tensor(scores) for name, scores in runs.items()}

# %%
curves.lines(
    {name: dict(enumerate(scores.mean(0).tolist())) for name, scores in runs.items()},
    x="step",
    y="Dice, mean over the seeds",
)
for name, scores in runs.items():
    each = ", ".join(f"{score:.2f}" for score in scores[:, -1].tolist())
    print(f"{name:30} mean over all steps {scores.mean():.3f}; at the end, per seed: {each}")
fails.compare(min(runs, key=lambda name: runs[name][:, -1].mean()), "The lowest Dice at the end.")

# %% [markdown]
# With gradient descent, the network supervised at its output alone learns nothing. Supervised at every depth it learns,
# though not equally well from all initial weights. **With Adam both learn, and neither is clearly ahead:** Adam
# compensates for small gradients.
#
# So deep supervision was invented for trainings that better optimisers, normalisation and shortcuts now make possible
# without it. Remember this when you read that a side loss "makes the gradient flow". Its other half, no optimiser can
# replace: it decides *what each depth should represent*. The five papers are about that half.

# %%
if not smoke:
    final = {name: scores[:, -1] for name, scores in runs.items()}
    assert final["gradient descent, output alone"].max() < 0.05
    assert final["gradient descent, every depth"].max() > 0.5
    assert final["Adam, output alone"].min() > 0.8
    assert abs(runs["Adam, every depth"].mean() - runs["Adam, output alone"].mean()) < 0.1

# %% [markdown]
# ## What each depth predicts
#
# *Two minutes.*
#
# The top row shows the target of each depth, the bottom row its prediction.

# %%
with torch.no_grad():
    predicted = [side.sigmoid() for side in side_logits(trained["Adam, every depth"][0], image)]
largest = label.sum((1, 2)).argmax()
maps(
    {
        "target": {f"stride {2**i}": t[largest] for i, t in enumerate(targets)},
        "predicted": {f"stride {2**i}": p[largest] for i, p in enumerate(predicted)},
    },
    window=(0, 1),
)

# %% [markdown]
# ## The same in two lines
#
# *Ten minutes.*
#
# What we wrote by hand is `MultiScale` in the library: it adds heads to any backbone and returns one named loss term
# per depth. Here it is on a U-Net, whose shortcuts carry fine detail past the deep layers.

# %%
torch.manual_seed(0)
objective = MultiScale(weights=(1, 1 / 2, 1 / 4, 1 / 8), reduction="area")
network = supervise(UNet(width=8), objective)
sizes = {1: "full size", 2: "1/2", 4: "1/4", 8: "1/8"}
compared = [
    Comparison(
        f"stride{s}",
        "1×1 conv" if s > 1 else "the output",
        f"share of tumour, {sizes[s]}",
        f"{1 / s:g} (CE + 1 − Dice)",
    )
    for s in (1, 2, 4, 8)
]
architecture(network, compared, title="A U-Net with deep supervision at every decoder level")
terms = loss_terms(objective, network, batch)
print({name: round(term.item(), 4) for name, term in terms.items()})

# %% [markdown]
# Its terms add up to the sum that we wrote by hand:

# %%
sides = network(image).side_outputs.values()
by_hand = [
    entropy_and_dice(side, target) / 2**depth
    for depth, (side, target) in enumerate(zip(sides, targets[:4], strict=True))
]
assert torch.allclose(sum(by_hand), sum(terms.values()))


# %% [markdown]
# **Before running:** the U-Net has shortcuts and batch normalisation, both of which help gradients to pass. Do its
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
# The first block gets a large gradient through the shortcut that joins it to the last. But without side losses the
# gradient at the bottom of the U is many times smaller than at the top, and the bottom gains most. A side loss is most
# useful there; the five papers of this course differ in *what* they compare with there.

# %%
assert unet_alone["↓1"] > 5 * unet_alone["bottom"]
assert unet_deep["bottom"] > 2 * unet_alone["bottom"]
assert unet_deep["↓1"] < unet_deep["bottom"] / unet_alone["bottom"] * unet_alone["↓1"]

# %% [markdown]
# ## Watch it learn
#
# *Two minutes.*
#
# Thirty epochs of this U-Net, and after each of them the prediction at every depth for one slice.
# **Before running:** which depth finds the tumour first, a coarse one or the finest?

# %%
torch.manual_seed(0)
system = System("a U-Net, supervised at every depth", supervise(UNet(width=8), objective), objective)
slices = [Case(f"slice {i}", image[i, 0].numpy(), label[i].numpy().astype("uint8"), (4.0, 4.0)) for i in range(12)]
film = TrainingMovie(system, slices[int(largest)], then=curves.live(title="U-Net, four terms"))
how = {"patch": (64, 64), "batch": 4, "lr": 3e-3, "foreground": 1.0, "schedule": "constant", "stop": "never"}
epochs = 30 if not smoke else 3
history = dsnotes.fit(system, slices, epochs=epochs, iterations=3, on_epoch=film, progress=False, **how)

# %%
film.show()

# %%
film.animate()

# %% [markdown]
# The coarse depths become sharp first: after eight epochs strides 4 and 8 are dark where there is no tumour, while the
# output still shows the whole body.
#
# ## On patients that were not seen
#
# *Five minutes.*
#
# All scores above are of training slices. Whether a loss at every depth helps on *other* patients takes more runs than
# fit in a notebook, so these are stored: hearts in slices of MR (Sunnybrook, CC0), nnU-Net's plain 2-D network with
# eight channels at full size, 400 steps. The first study has 30 patients in three folds, so that 17 or 18 train; the
# second trains on five. **Before running:** where does a loss at every depth help more?

# %%
helps_more = Guess("Where does it help more?", ["three folds", "five patients", "cannot be told"])

# %%
studies = {"three folds": stored("multi-scale-cardiac"), "five patients": stored("five-cases-cardiac")}
many, few = (study.effects()["halving weights"] for study in studies.values())
helps_more.compare(
    "cannot be told", f"{many.mean:+.3f} in three folds, {few.mean:+.3f} ± {few.high - few.mean:.3f} with five."
)
assert few.low < many.mean < few.high
Table(
    [{"trained on": name} | row for name, study in studies.items() for row in brief_rows(study)],
    caption="Against none, the loss at the output alone; could have shown: what 4 of 5 repetitions would find.",
)

# %%
forest_plot(studies["three folds"].effects(), reference=studies["three folds"].first, title=studies["three folds"].text)

# %%
forest_plot(
    studies["five patients"].effects(), reference=studies["five patients"].first, title=studies["five patients"].text
)

# %% [markdown]
# A point is one seed, the mean over all patients; the square and its bar are the mean over seeds with its 95 %
# interval. In the folds it helps, by .015 (.004 to .026). With five patients the gain is as large on average, .016, but
# from seed to seed it ranges from −.023 to .079: such a training depends much more on its initial weights and batches.
# Five seeds could only have shown .069, so whether it helps there, or helps more, is unknown.
#
# ## Takeaways
#
# - The further a layer is from the loss, the smaller its gradient. A side output brings a loss close to it.
# - With gradient descent that decides whether this network learns; Adam makes up for it. What remains is the choice of
#   target for each depth.
# - It costs one 1×1 convolution per depth during training, and nothing afterwards: the side heads can be dropped.
# - A coarse output needs a coarse target. With `nearest`, small tumours vanish from it; with `area`, none does.
#
# > **Use it / do not / unknown.** *Use* side losses where a network is deep, has no shortcuts or is trained by plain
# > gradient descent; there they can decide whether it learns, as in the plain network above. *Use* them in a modern 2-D
# > U-Net too: they cost next to nothing, and on hearts they raised the Dice of unseen patients by .015 (95 %: .004 to
# > .026, p = .046, near the level; 30 patients, three seeds of 400 steps). *Unknown:* with five training patients, with
# > SGD in a modern U-Net (−.005, only .029 could have been shown), in 3-D (+.004, only .025), and after long trainings.
#
# ## Read next
#
# - Lee et al. 2015 (above), sections 2 and 3: the argument for side losses, before normalisation was common.
# - Wang, Lee, Tu, Lazebnik 2015, *Training Deeper Convolutional Networks with Deep Supervision*,
#   <https://arxiv.org/abs/1505.02496>: where to put a side loss, by the size of the gradients.
# - He, Zhang, Ren, Sun 2015, *Deep Residual Learning for Image Recognition*, <https://arxiv.org/abs/1512.03385>: the
#   shortcuts that made it unnecessary for depth alone.
#
# ## Exercises
#
# 1. Give the network better initial weights: `nn.init.kaiming_normal_(layer.weight)` in place of
#    `layer.reset_parameters()`. How much larger is the first layer's gradient? (He et al. 2015,
#    <https://arxiv.org/abs/1502.01852>, appeared five months after deep supervision and addresses the same problem.)
#
# <details><summary>A hint</summary>
#
# Copy `fresh(0)`, change its convolutions, and call `gradient_norms` with `output_alone`.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# better = fresh(0)
# for layer in better.modules():
#     if isinstance(layer, nn.Conv2d):
#         nn.init.kaiming_normal_(layer.weight)
# usual, kaiming = gradient_norms(fresh(0), output_alone), gradient_norms(better, output_alone)
# ratios = {"usual": usual["↑1"] / usual["↓2"], "He": kaiming["↑1"] / kaiming["↓2"]}
# print("last / first layer:", {name: f"{ratio:.1f}" for name, ratio in ratios.items()})
# assert ratios["He"] < 0.1 * ratios["usual"]
# ```
#
# He's weights keep the gradients of all layers of one size: the same problem, solved before the first step.
#
# </details>
#
# 2. Train once more with `how="nearest"` targets. On the slice with the smallest tumour, compare the predictions at
#    stride 8 with those of the network trained with `area`. On which of the two would you rather build a detector?
#
# <details><summary>A hint</summary>
#
# `loss_of` reads the list `targets`: replace it, train with `dice_while_learning`, and put it back.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# by_area, nearest_net = targets, fresh(0)
# targets = [downsample_target(label, (64 // s, 64 // s), channels=1, how="nearest") for s in (1, 2, 4, 8, 16)]
# for _ in progress(["with nearest targets"]):
#     dice_while_learning(nearest_net, every_depth, torch.optim.Adam(nearest_net.parameters(), lr=3e-3))
# targets = by_area
# which = min(range(len(label)), key=lambda i: (at_8[i], label[i].sum()))
# with torch.no_grad():
#     both = {"area": trained["Adam, every depth"][0], "nearest": nearest_net}
#     seen = {how: side_logits(net, image)[3][which, 0].sigmoid() for how, net in both.items()}
# maps(seen | {"mask": label[which]}, window=(0, 1), title="Stride 8, the slice with the smallest tumour")
# ```
#
# On `area`: with `nearest` the small tumour has no target at stride 8, and the network learns to answer nothing there.
#
# </details>
