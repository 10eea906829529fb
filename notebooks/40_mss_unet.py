# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # MSS U-Net: a segmentation loss at every level
#
# This notebook goes from a raw abdominal scan with thick slices to a cleaned-up segmentation of kidneys and their
# tumours, following one paper step by step. You will
#
# - resample scans with 6 mm slices to one grid and scale their grey values, as the paper does with KiTS19;
# - build the paper's three new parts by hand, the side heads, the targets of every level and the
#   *exponential-logarithmic* loss, and check them against the library, numbers and gradient;
# - see at which Dice values that loss has its largest and smallest slope;
# - find a rim of kidney that is not in the labels, in the targets of the released code;
# - train the network, look at the prediction of each level, and test its two ideas separately with several seeds;
# - correct it by anatomy: two kidneys at most, and no tumour without a kidney.
#
# Paper: Zhao, Jiang, Peña Queralta, Westerlund 2020, *Multi-Scale Supervised 3D U-Net for Kidneys and Kidney Tumor
# Segmentation*, <https://arxiv.org/abs/2004.08108>. The authors trained for five days on two large GPUs, with 30 to 320
# channels and patches of 192 × 192 × 48; here we use eight channels and phantoms, or your own images: `data="…"` names
# a folder in the Decathlon's layout with two labels. Needs a CPU and about ten minutes; with `smoke=True` less than
# one. Reading takes an hour; the time of every section is for reading and running together. Words such as *side output*
# and *stride* are in the [glossary](../site/pages/glossary.md).

# %% tags=["parameters"]
steps: int = 400  # training steps of the main network
ablation_steps: int = 60  # training steps of each of the four systems that are compared
seeds: int = 3  # trainings per system, each from other initial weights
data: str = ""  # a dataset folder with two labels to use instead of the phantoms, such as data/Task04_Hippocampus
smoke: bool = False  # a minute at most: everything small, one seed

# %%
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import dsnotes
from dsnotes.data import phantoms
from dsnotes.data.crops import read_crops
from dsnotes.data.preprocess import Preprocess, foreground_statistics
from dsnotes.inference import keep_kidneys
from dsnotes.losses import exponential_log
from dsnotes.metrics import smallest_difference
from dsnotes.papers import mss_unet
from dsnotes.runs.verdict import brief_rows, stored
from dsnotes.supervision import downsample_target, loss_terms
from dsnotes.viewers import (
    Comparison,
    Guess,
    Table,
    TrainingMovie,
    architecture,
    boxes,
    curves,
    explore,
    maps,
    progress,
    side_by_side,
    style,
)
from dsnotes.viewers.forest_plot import forest_plot

names = {1: "kidney", 2: "tumour"}
patients, grid = (36, (9.0, 3.125, 3.125)) if not smoke else (6, (18.0, 6.25, 6.25))
epochs = 20 if not smoke else 2
if smoke:
    steps, ablation_steps, seeds = 10, 4, 1

# %%
with torch.device("meta"):  # the published size, without its memory
    paper = dsnotes.build("mss-unet").network
weights = mss_unet.level_weights(5)
compared = [
    Comparison(level, "1×1×1 conv: 3 classes", f"label at this size ({how})", f"{weight:g} (exp-log + CE)")
    for level, weight, how in zip(paper.backbone.sides(), weights, ["as it is", *["reduced"] * 4], strict=True)
]
architecture(paper, compared, title="MSS U-Net as published: channels, strides, and what is compared with what")

# %% [markdown]
# ## 1. From the scanner to the network
#
# *Five minutes.*
#
# These are phantom patients, each with one or two tumours grown from a kidney. The slices are three times as thick as a
# pixel is wide: the scans are *anisotropic*, and the receptive field of a network that treats all axes alike would be
# much longer in one direction than in the others.

# %%
raw = phantoms.kidneys(patients, seed=0)
if data:
    raw, names = read_crops(data, size=(32, 48, 32), labels=2, most=patients)
    grid = raw[0].spacing
scan = raw[0]
print(f"{scan.image.shape} voxels of {[round(mm, 2) for mm in scan.spacing]} mm")
dsnotes.show(scan, names=names, window="soft" if not data else None)

# %% [markdown]
# Every scan is resampled to one spacing. Then the paper clips grey values to their 0.5th and 99.5th percentile, and
# scales them by the mean and the standard deviation of the foreground. In the released code the percentiles too are
# those *of the foreground of the training patients*, and so it is here. **Before running:** why the foreground's
# percentiles and not the image's? And why may the test patients not take part?

# %%
held_out = 10 if not smoke else 2
held_out = min(held_out, max(2, len(raw) // 3))
coarse = [Preprocess(spacing=grid)(case) for case in raw]
statistics = foreground_statistics(coarse[held_out:])
prepare = Preprocess(clip=statistics.percentiles, normalise=statistics.z_score)
test, train = [prepare(case) for case in coarse[:held_out]], [prepare(case) for case in coarse[held_out:]]
low, high = statistics.percentiles[0]
print(f"clipped to {low:.2f} … {high:.2f}; the paper's patients gave {-68.34} … {285.91} HU")
print(f"{test[0].image.shape} voxels, grey values from {test[0].image.min():.1f} to {test[0].image.max():.1f}")

# %% [markdown]
# Most of an image is air and fat, and a window chosen for *them* would compress kidney and tumour into a few grey
# values. And statistics from the test patients would leak into the training.
#
# ## 2. The loss, by hand
#
# *Ten minutes.*
#
# The loss of one level is
#
# $$L = \underbrace{0.4\,(-\ln D_\mathrm{kidney})^{0.3} + 0.6\,(-\ln D_\mathrm{tumour})^{0.3}}_{\text{exponential-log}}
# \;-\; \underbrace{\frac1n \sum_i w_{t_i} \ln p_{i,t_i}}_{\text{weighted cross-entropy}}, \qquad
# D_c = \frac{2 \sum_i p_{ic}\, t_{ic}}{\sum_i p_{ic}^2 + \sum_i t_{ic}^2}$$
#
# with the class weights $w$ = 0.28, 0.28 and 0.44 (background, kidney, tumour), $p$ the softmax of the logits and $t$ 0
# or 1. Written out:


# %%
def loss_by_hand(logits, t, *, eps=1e-5):
    """One level: exponential-log over the two foreground classes, plus the weighted cross-entropy."""
    p = logits.softmax(1)  # (B, 3, depth, height, width), like t
    everything = (0, 2, 3, 4)  # the batch too: one Dice per class
    overlap = (p * t).sum(everything)
    size = (p**2).sum(everything) + (t**2).sum(everything)
    dice = (2 * overlap + eps) / (size + eps)  # (3,)
    hardness = (-dice.log()).clamp(min=1e-6) ** 0.3  # the slope at a perfect Dice would be infinite
    exponential = 0.4 * hardness[1] + 0.6 * hardness[2]
    class_weights = torch.tensor([0.28, 0.28, 0.44]).view(1, 3, 1, 1, 1)
    entropy = -(class_weights * t * logits.log_softmax(1)).sum() / t[:, 0].numel()
    return exponential + entropy


# %% [markdown]
# The library's `ExponentialLogAndEntropy` must give the same number and the same gradient:

# %%
random = torch.Generator().manual_seed(0)
logits = torch.randn(2, 3, 8, 16, 16, generator=random, requires_grad=True)
some_label = torch.randint(0, 3, (2, 8, 16, 16), generator=random)
t = functional.one_hot(some_label, 3).movedim(-1, 1).float()
library = mss_unet.objective(3, 5).loss
print(f"by hand {loss_by_hand(logits, t):.6f}, the library {library(logits, t):.6f}; logits {tuple(logits.shape)}")
assert torch.allclose(loss_by_hand(logits, t), library(logits, t))
both = [torch.autograd.grad(loss(logits, t), logits)[0] for loss in (loss_by_hand, library)]
assert torch.allclose(*both, atol=1e-8)

# %% [markdown]
# The paper expects this loss to make the network pay "more attention" to "more difficult samples", those with a low
# $D$. So we look at the slope of $(-\ln D)^\gamma$ with respect to $D$. **Before running:** at which $D$ is the slope
# smallest: at 0, somewhere between, or at 1?

# %%
flattest = Guess("Where is the loss flattest?", ["D near 0", "in between", "D near 1"])


# %%
def tangent(D, exponent):
    """The loss over D, with its tangent at the chosen D."""
    x = torch.linspace(0.005, 0.995, 199)
    y, at = (-x.log()) ** exponent, (-np.log(D)) ** exponent
    slope = -exponent * (-np.log(D)) ** (exponent - 1) / D
    with style.look():
        figure = style.sheet(6.4, 3.0)
        axes = figure.subplots()
        axes.plot(x, y, color=style.BLUE, linewidth=1.8)
        axes.plot(x, at + slope * (x - D), color=style.VERMILION, linestyle="--")
        axes.plot([D], [at], "o", color=style.VERMILION)
        axes.set(xlabel="Dice D", ylabel=f"(−ln D)^{exponent:g}", ylim=(0, 2.2))
        axes.set_title(f"D = {D:g}: the slope is {slope:.2f}", loc="left")
    return figure


dice_values = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
explore(
    tangent,
    {"D": dice_values, "exponent": (0.3, 0.5, 1.0)},
    stills=[{"D": D} for D in (0.05, 0.5, 0.95)],
    alt="The exponential-logarithmic loss and its tangent:",
)

# %% [markdown]
# With the slider you can follow the tangent along the curve; a larger exponent makes it steeper at low $D$ and flat at
# high $D$. All slopes in one picture:

# %%
dices = torch.linspace(0.02, 0.99, 98, requires_grad=True)
slopes = {
    "exponential-log": torch.autograd.grad(((-dices.log()) ** 0.3).sum(), dices)[0].abs(),
    "1 - Dice": torch.autograd.grad((1 - dices).sum(), dices)[0].abs(),
}
at = dices.detach().tolist()
curves.lines(
    {name: dict(zip(at, slope.tolist(), strict=True)) for name, slope in slopes.items()},
    x="Dice",
    y="slope |d loss / d Dice|",
    title="The exponential-logarithmic loss is flattest in the middle",
)

# %%
weakest = at[int(slopes["exponential-log"].argmin())]
pull = {d: slopes["exponential-log"][int(np.argmin(np.abs(np.array(at) - d)))].item() for d in (0.05, 0.2, 0.95)}
print(f"flattest at D = {weakest:.2f}; slope at .05, .2 and .95: {', '.join(f'{p:.2f}' for p in pull.values())}")
assert abs(weakest - np.exp(-0.7)) < 0.02
assert pull[0.05] > pull[0.2] < pull[0.95]
flattest.compare("in between", f"At D = e^-0.7 = {np.exp(-0.7):.2f}.")

# %% [markdown]
# So a harder class gets the larger slope only below a Dice of about one half. Above it the slope grows again, and is
# larger for a kidney at 0.95 than for a tumour at 0.2. The paper intends that too: once the prediction is good, the
# loss should "decline dramatically". At a perfect prediction the slope is even infinite; the library clamps the Dice
# just below 1.

# %%
perfect = torch.zeros(1, 2, 8, 8)
perfect[:, 0, :4], perfect[:, 1, 4:] = 1, 1
prediction = perfect.clone().requires_grad_()
exponential_log(prediction, perfect).backward()
assert prediction.grad.isfinite().all()

# %% [markdown]
# ## 3. What the deep levels are compared with
#
# *Ten minutes.*
#
# Every decoder level predicts at its own size, so the label must be downsampled; the paper does not say
# how. The library's default takes the voxel nearest to the middle of each cell; `reduction="area"` takes the share of
# each class in the cell. Both fit on a few lines:


# %%
def nearest_by_hand(label, size):
    """The voxel nearest to the centre of each cell: (B, *space) class indices -> (B, *size)."""
    for axis, n in enumerate(size, start=1):
        cell = label.shape[axis] / n  # voxels per cell
        label = label.index_select(axis, ((torch.arange(n) + 0.5) * cell).floor().long())
    return label


def area_by_hand(label, size):
    """The share of each class in each cell: (B, *space) -> (B, 3, *size)."""
    share = functional.one_hot(label, 3).movedim(-1, 1).float()
    for axis, n in enumerate(size, start=2):
        share = share.unflatten(axis, (n, -1)).mean(axis + 1)
    return share


# %%
whole = torch.from_numpy(test[0].label.astype(np.int64))[None]
for stride in ((1, 2, 2), (2, 4, 4)):
    size = tuple(n // s for n, s in zip(whole.shape[1:], stride, strict=True))
    nearest, area = nearest_by_hand(whole, size), area_by_hand(whole, size)
    print(f"stride {stride}: {tuple(whole.shape)} becomes {tuple(nearest.shape)}, or shares {tuple(area.shape)}")
    assert torch.equal(functional.one_hot(nearest, 3).movedim(-1, 1), downsample_target(whole, size, channels=3).long())
    assert torch.allclose(area, downsample_target(whole, size, channels=3, how="area"))

# %% [markdown]
# The released code does neither: it interpolates the *class numbers* 0, 1, 2 and rounds. **Before running:** what lies
# half-way between background (0) and tumour (2)?

# %%
lonely = torch.from_numpy((test[0].label == 2).astype(np.int64) * 2)[None]  # the tumour alone, no kidney anywhere
size = tuple(n // 2 for n in lonely.shape[1:])
middle = int(np.argwhere(test[0].label == 2)[:, 0].mean()) // 2
ways = {how: downsample_target(lonely, size, channels=3, how=how)[0, 1] for how in ("nearest", "area", "official_code")}
maps(
    {f"class 1, {how}": kidney[middle] for how, kidney in ways.items()},
    title=f"{names[1]} (class 1) in the downsampled label of a {names[2]} (class 2) alone",
)

# %%
invented = {how: int((kidney > 0).sum()) for how, kidney in ways.items()}
print(f"voxels of {names[1]} that are not in the label: {invented}")
assert invented["nearest"] == invented["area"] == 0 < invented["official_code"]

# %% [markdown]
# The paper and its released code differ in three things: the level weights, the Dice denominator, and what the weighted
# cross-entropy is divided by. The paper's Eq. 2 is a mean over voxels; the code divides by the sum of the weights,
# which makes the cross-entropy 2.3 to 3.6 times as large relative to the Dice. The code also fixes what the paper
# leaves open, the downsampling of the label. The library has both versions as presets, `paper` (the default) and
# `official_code`:

# %%
presets = {name: mss_unet.objective(3, 5, preset=name) for name in mss_unet.PRESETS}
Table(
    [
        {
            "preset": name,
            "level weights, finest first": " ".join(f"{w:.1f}" for w in goal.weights),
            "Dice denominator": "Σp² + Σt²" if goal.loss.squared else "Σp + Σt",
            "cross-entropy over": "the sum of weights" if goal.loss.normalised else "the number of voxels",
            "label": goal.reduction,
        }
        for name, goal in presets.items()
    ]
)

# %% [markdown]
# ## 4. Side heads by hand, and training
#
# *Ten minutes, of which three run.*
#
# Strides and kernels follow from the grid: the thick axis is halved later and less
# often than the others. The network is the paper's with 8 instead of 30 channels and one level less; its settings are
# the paper's, except where a training of a few minutes needs others.

# %%
patch, halvings = test[0].image.shape, 4 if not smoke else 2
shape = {"classes": 3, "width": 8, "patch": patch, "spacing": test[0].spacing, "halvings": halvings}
torch.manual_seed(0)
system = dsnotes.build("mss-unet", **shape)
for name, level in system.network.backbone.sides().items():
    print(f"{name:9} {level.channels:4} channels, {[n // s for n, s in zip(patch, level.stride, strict=True)]} voxels")

# %% [markdown]
# The first of the paper's two ideas is the plainest deep supervision: a 1×1×1 convolution at every decoder level, a
# loss for each, and their weighted sum. By hand:


# %%
class SideHeadsByHand(nn.Module):
    """Class logits at the size of every decoder level."""

    def __init__(self, levels, classes):
        super().__init__()
        self.convs = nn.ModuleDict({name: nn.Conv3d(level.channels, classes, 1, bias=False) for name, level in levels})

    def forward(self, decoder_maps):
        return {name: conv(decoder_maps[name]) for name, conv in self.convs.items()}


def total_by_hand(sides, label, weights):
    """Σ weight · loss(side, label at the side's size)."""
    total = 0
    for (name, logits), weight in zip(sides.items(), weights, strict=True):
        reduced = nearest_by_hand(label, logits.shape[2:])
        loss = weight * loss_by_hand(logits, functional.one_hot(reduced, 3).movedim(-1, 1).float())
        print(f"{name:9} {tuple(logits.shape)!s:22} target {tuple(reduced.shape)!s:18} {loss:.4f}")
        total = total + loss
    return total


# %% [markdown]
# With the library's weights in our heads, loss and gradient must agree. (The library's finest head is the network's own
# output layer.)

# %%
batch = {"image": torch.from_numpy(np.stack([c.image for c in train[:2]]))[:, None]}
batch["label"] = torch.from_numpy(np.stack([c.label for c in train[:2]])).long()
network = system.network.eval()
heads = SideHeadsByHand(network.backbone.sides().items(), classes=3)
theirs = {"stride1": network.backbone.output} | dict(network.heads["sides"].branches.items())
for name, conv in heads.convs.items():
    conv.weight = theirs[name].weight  # the same parameter, so that both give it a gradient
by_hand = total_by_hand(heads(network.backbone(batch["image"]).decoder), batch["label"], system.objective.weights)
library = sum(loss_terms(system.objective, network, batch).values())
print(f"by hand {by_hand:.6f}, the library {library:.6f}")
assert torch.allclose(by_hand, library)
known = list(network.parameters())
pairs = zip(torch.autograd.grad(by_hand, known), torch.autograd.grad(library, known), strict=True)
assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)

# %%
budget = replace(mss_unet.SETTINGS, patch=patch, batch=2, epochs=epochs, lr=3e-3, schedule="poly", foreground=0.67)
run = {"settings": budget, "progress": False}
film = TrainingMovie(system, test[0], then=curves.live(title="MSS U-Net"))
history = dsnotes.fit(system, train, iterations=steps // epochs, on_epoch=film, **run)

# %% [markdown]
# The film shows every level's prediction of one held-out patient after each epoch; in a browser a slider steps through
# it.

# %%
film.show()

# %%
film.animate()

# %% [markdown]
# A coarse prediction has only a few voxels and is compared with a target of the same size. **Before running:** from
# which level on can you see where the tumour bulges from the kidney?

# %%
case = test[0]
with torch.no_grad():
    sides = system.network.eval()(torch.from_numpy(case.image)[None, None]).side_outputs
cut = int(np.argwhere(case.label == 2)[:, 0].mean())
foreground = {name: 1 - side.softmax(1)[0, 0] for name, side in sides.items()}
maps(
    {name: p[cut * p.shape[0] // patch[0]] for name, p in foreground.items()} | {"truth": case.label[cut] > 0},
    window=(0, 1),
    colours="heat",
    title="Probability of kidney or tumour, at every level",
)

# %% [markdown]
# ## 5. Held-out patients
#
# *Five minutes.*
#
# Prediction uses half-overlapping windows with Gaussian weights, averaged over all eight mirrored views, as the paper
# and its code do. (The paper also mentions Gaussian noise but gives no standard deviation; its code adds none, and
# neither do we: `dsnotes.predict(…, noise=0.1)` would.) Then we compute the six metrics of its Tables II and III, five
# ratios and a distance. **Before running:** one of the five ratios is almost uninformative. Which, and why?


# %%
def figures(labels):
    """A dict of all metrics for every held-out patient: "dice_kidney", "hausdorff_tumour" …"""
    return [dsnotes.score(p, c.label, spacing=c.spacing, labels=names) for p, c in zip(labels, test, strict=True)]


predictions = [
    dsnotes.to_label(dsnotes.predict(system, case, patch=patch, mirror=not smoke))
    for case in progress(test, of="predictions")
]
scores = figures(predictions)
ours = dict(zip(mss_unet.METRICS, ("dice", "iou", "accuracy", "ppv", "sensitivity", "hausdorff"), strict=True))
boxes(
    {
        metric: {organ: [row[f"{ours[metric]}_{organ}"] for row in scores] for organ in names.values()}
        for metric in mss_unet.METRICS[:5]
    },
    y="of one patient",
    title=f"{len(test)} held-out patients",
    limits=(0, 1),
)

# %%
kidney, tumour = (np.mean([row[f"dice_{organ}"] for row in scores]) for organ in names.values())
print(f"mean Dice of {len(test)} held-out patients: {names[1]} {kidney:.3f}, {names[2]} {tumour:.3f}")
assert smoke or data or (kidney >= 0.85 and tumour >= 0.5)

# %% [markdown]
# Accuracy is near one for both organs: most voxels are background. Now look at the worst patient, not at the mean.

# %%
worst = int(np.argmin([row[f"dice_{names[2]}"] for row in scores]))
said = f"the patient with the lowest Dice of {names[2]}"
dsnotes.show(test[worst], prediction=predictions[worst], names=names, title=said)

# %% [markdown]
# ## 6. Which of the two ideas helps?
#
# *Ten minutes, of which four run.*
#
# We train the same network four times: with neither idea (cross-entropy and Dice on
# the output, which is how we read the paper's *classic 3D U-Net*), with each alone, and with both. Data and number of
# steps are the same, with several seeds, because one run proves little.
#
# **What can this ablation show?** A paired test finds a mean difference that is large enough beside the spread of the
# differences. We do not know that spread yet; if the differences spread as much as the scores above, the smallest mean
# difference that is found with a probability of 80 % is:

# %%
for organ in names.values():
    spread = np.std([row[f"dice_{organ}"] for row in scores], ddof=1)
    print(f"{organ}: spread {spread:.3f}, smallest difference {smallest_difference(spread, len(test)):.3f}")
print(f"the paper reports gains of {0.969 - 0.962:.3f} (kidney) and {0.805 - 0.781:.3f} (tumour)")

# %%
variants = {
    "neither": (),
    "multi-scale": ("multi-scale",),
    "exp-log": ("exponential-log",),
    "both": mss_unet.STRATEGIES,
}


def trained_labels(strategies, seed):
    """The label maps of the held-out patients, after a short training."""
    torch.manual_seed(seed)
    net = dsnotes.build("mss-unet", strategies=strategies, **shape)
    dsnotes.fit(net, train, iterations=ablation_steps // epochs, seed=seed, **run)
    return [dsnotes.to_label(dsnotes.predict(net, case, patch=patch)) for case in test]


gain = Guess("By how much will both ideas together raise the mean Dice of the second label?")
predicted_by = {variant: [] for variant in variants}
for variant, seed in progress(product(variants, range(seeds))):
    predicted_by[variant].append(trained_labels(variants[variant], seed))
results = {variant: [figures(labels) for labels in of_seed] for variant, of_seed in predicted_by.items()}


# %%
def of(variant, key):
    """One metric of one system, as (seeds, patients); the distance is not finite where the organ was not found."""
    return np.array([[row[key] for row in patients] for patients in results[variant]])


boxes(
    {organ: {variant: of(variant, f"dice_{organ}").mean(0) for variant in variants} for organ in names.values()},
    y="Dice, mean over seeds",
    title=f"{len(test)} patients, {seeds} seed{'s' * (seeds > 1)}, {ablation_steps} steps each",
    limits=(0, 1),
)

# %% [markdown]
# With the true spread of the differences, over patients and over seeds:

# %%
Table(
    [
        {"minus neither": variant, "organ": organ, "mean": d.mean()}
        | {"per seed": " ".join(f"{one:+.3f}" for one in d.mean(1))}
        | {"smallest found, patients": smallest_difference(d.mean(0).std(ddof=1), d.shape[1])}
        | ({"smallest found, seeds": smallest_difference(d.mean(1).std(ddof=1), len(d))} if len(d) > 1 else {})
        for organ in names.values()
        for variant in variants
        if variant != "neither"
        for d in [of(variant, f"dice_{organ}") - of("neither", f"dice_{organ}")]
    ],
    caption="A mean below the smallest difference found is no evidence; neither is a sign that changes with the seed.",
)

# %%
raised = (of("both", f"dice_{names[2]}") - of("neither", f"dice_{names[2]}")).mean()
gain.compare(float(raised), f"Mean over {seeds} seed{'s' * (seeds > 1)} and {len(test)} patients.")

# %% [markdown]
# The patient on whom the two differ most, side by side:

# %%
apart = (of("both", f"dice_{names[2]}") - of("neither", f"dice_{names[2]}"))[0]
most = int(np.argmax(np.abs(apart)))
side_by_side(
    test[most], {variant: predicted_by[variant][0][most] for variant in ("neither", "both")}, names=names, window=None
)

# %% [markdown]
# **On real images.** The same two ideas on hearts in slices of MR (Sunnybrook, CC0; one organ), on nnU-Net's plain 2-D
# network: 30 patients in three folds, three seeds, 400 steps (`sweeps/verdict-multi-scale-cardiac.yml`). *none* is
# cross-entropy plus Dice at the output; *halving weights* are nnU-Net's, *MSS weights* the paper's. **Before
# running:** the whole ablation above saw ten patients. What will thirty and three seeds be able to show?

# %%
study = stored("multi-scale-cardiac")
Table(brief_rows(study), caption="Against none; could have shown: the smallest difference found in 4 of 5 repetitions.")

# %%
forest_plot(study.effects(), reference=study.first, title=study.text)

# %%
found = study.effects()
assert found["halving weights"].verdict().startswith("helps")
assert found["MSS weights"].verdict().startswith("unknown")

# %% [markdown]
# From .015 to .054, by row: where a gain changes from seed to seed, patients do not make up for it. In the figure a
# point is one seed, the square and its bar the mean over seeds with its 95 % interval.
#
# **And in 3-D:** hippocampi in MR, 160 patients in three folds, three seeds, 300 steps of nnU-Net's plain 3-D network
# (`sweeps/verdict-multi-scale-hippocampus.yml`). **Before running:** with five times as many patients, how much smaller
# a gain can be shown?

# %%
in_3d = stored("multi-scale-hippocampus")
Table(brief_rows(in_3d), caption="Hippocampi in 3-D, against none.")

# %%
forest_plot(in_3d.effects(), reference=in_3d.first, title=in_3d.text)

# %%
assert in_3d.effects()["halving weights"].verdict().startswith("unknown")
assert in_3d.effects()["MSS loss"].verdict().startswith("no difference larger than 0.009")

# %% [markdown]
# Not in every row: .025 instead of .015 for the halving weights, .023 instead of .021 for the paper's weights and loss,
# but .025 instead of .054 for its weights and .009 instead of .046 for its loss. The gain of the halving weights
# changes from seed to seed (+.008, −.005, +.008), and more patients do not make up for three seeds.

# %% [markdown]
# ## 7. Correction by anatomy
#
# *Five minutes.*
#
# A person has two kidneys at most, and a kidney tumour is attached to a kidney. `keep_kidneys` takes the connected
# components of kidney *and* tumour together, keeps the two largest that contain kidney, the second only if it has at
# least a tenth of the first's size, and drops the rest. The paper's literal rule, the two largest components of kidney
# alone whatever their size, is available as `literal=True`; it would remove a tumour that has replaced nearly all of
# its kidney, and keep a stray voxel as a second kidney. Here the rule is applied to the network of section 4 and to one
# of the short trainings of section 6. **Before running:** which of the two needs it, and can it make a prediction
# worse?


# %%
def cleaned_up(labels):
    """The label maps after the rule, and per patient the voxels dropped and the Dice gained."""
    cleaned = [keep_kidneys(label) for label in labels]
    assert all((c[c > 0] == p[c > 0]).all() for c, p in zip(cleaned, labels, strict=True))  # it never adds
    pairs = list(zip(figures(labels), figures(cleaned), strict=True))
    gained = {
        f"{organ}'s Dice": [b[f"dice_{organ}"] - a[f"dice_{organ}"] for a, b in pairs] for organ in names.values()
    }
    return cleaned, gained | {"dropped": [int((c != p).sum()) for c, p in zip(cleaned, labels, strict=True)]}


hasty = predicted_by["neither"][0]
rules = {f"{steps} steps": cleaned_up(predictions), f"{ablation_steps} steps, neither idea": cleaned_up(hasty)}
Table(
    {"network": network, "voxels dropped per patient": " ".join(map(str, did["dropped"]))}
    | {key: f"{np.mean(did[key]):+.4f}, worst {min(did[key]):+.4f}" for key in did if key != "dropped"}
    for network, (_, did) in rules.items()
)

# %%
cleaned, did = cleaned_up(hasty)
most = int(np.argmax(did["dropped"]))
dsnotes.show(test[most], prediction=hasty[most], names=names, title="short training, before the clean-up")
dsnotes.show(test[most], prediction=cleaned[most], names=names, title="short training, cleaned up")

# %% [markdown]
# After a longer training the rule changes little. And it can do harm: where a tumour was found but its kidney was not,
# the tumour is removed too.
#
# ## 8. The paper's tables beside ours
#
# *Five minutes.*
#
# These are Tables II (kidney) and III (tumour), as published for 42 patients of KiTS19, and ours. The Hausdorff
# distance is the mean over the patients in whom the organ was found. The paper counts the clean-up as the third of its
# strategies and compares all three with none of them; so do these rows. The last row of each organ has both ideas
# without the clean-up. **Before running:** which of the six metrics will the clean-up change most?

# %%
variants["both, cleaned up"] = mss_unet.STRATEGIES
results["both, cleaned up"] = [figures([keep_kidneys(label) for label in labels]) for labels in predicted_by["both"]]


# %%
def row_of(organ, variant):
    """Our line of a table: the means over patients and seeds, and the range of the seeds' means."""
    seed_means = of(variant, f"dice_{organ}").mean(1)
    means = {m: np.ma.masked_invalid(of(variant, f"{ours[m]}_{organ}")).mean() for m in mss_unet.METRICS}
    return means | {"Dice over seeds": f"{seed_means.min():.3f} … {seed_means.max():.3f}"}


rows = []
for organ, table in zip(names.values(), (mss_unet.TABLES[2], mss_unet.TABLES[3]), strict=True):
    for published, variant in {"classic-unet-3d": "neither", "mss-unet": "both, cleaned up"}.items():
        theirs = dict(zip(table.columns, table.rows[published], strict=True))
        rows += [{"organ": organ, "system": published, "of": "the paper"} | theirs]
        rows += [{"organ": organ, "system": published, "of": "ours"} | row_of(organ, variant)]
    rows += [{"organ": organ, "system": "mss-unet, not cleaned up", "of": "ours"} | row_of(organ, "both")]
Table(rows, caption="Same columns, other patients, other budget: compare the differences, not the numbers.")

# %%
gains = {
    (idea, organ): (of(idea, f"dice_{organ}") - of("neither", f"dice_{organ}")).mean(1)
    for idea in variants
    if idea != "neither"
    for organ in names.values()
}
Table(
    [
        {"idea": idea, "organ": organ, "Dice minus neither's, per seed": " ".join(f"{d:+.3f}" for d in gain)}
        | {"in every seed": "up" if (gain > 0).all() else "down" if (gain < 0).all() else "mixed"}
        for (idea, organ), gain in gains.items()
    ]
)

# %% [markdown]
# ## What we saw, and what we did not
#
# - **Shown:** heads, targets and loss by hand are what the library computes. The loss's slope is smallest at a Dice of
#   $e^{-0.7}$; the targets of the released code contain kidney that is not in the label; the clean-up never adds a
#   voxel.
# - **Not what the paper says:** "more attention" to difficult samples holds only below a Dice of one half. The deepest
#   map of the paper's own patch is 6 × 6 × 6, although the paper says "not smaller than" 8 × 8 × 8. And in its Table
#   III the tumour's *recall* is higher for the classic network (.810 against .802).
# - **Measured, with one training of 400 steps (seed 0), ten held-out patients:** a mean Dice of .92 for the kidney and
#   .67 for the tumour, whose Dice has a standard deviation of .31 over the patients. With that spread ten patients can
#   show only differences of .31 or more for the tumour, thirteen times the paper's gain.
# - **Measured, on ten phantoms with three seeds of 60 steps:** the two ideas together raised the tumour's Dice in every
#   seed (by .49, .05 and .36). That is the loss: alone it did nearly the same (.48, .00 and .39), which fits a loss
#   with the greater slope for an organ whose Dice is low. The loss alone changed the kidney's Dice by +.09, −.12 and
#   −.14, and multi-scale supervision alone changed its sign with the seed, too. Sixty steps are few: without either
#   idea the tumour's mean Dice ranged from .00 to .08, three seeds like these can show only differences of .7 or more,
#   and rounding alone can decide: both ideas raised seed 0's kidney by .12, but with the weights in PyTorch's default
#   memory format (`channels_last=False`) by .01.
# - **Open:** whether that still holds after a full training, five days on two GPUs with KiTS19; `mss_unet.SETTINGS`
#   holds the paper's settings.
#
# > **Use it / do not / unknown.** *Use* multi-scale supervision as a default: a 1×1×1 convolution per level costs next
# > to nothing. On hearts, with 30 patients and three seeds, nnU-Net's halving weights raised the mean Dice by .015
# > (95 %: .004 to .026), and the paper's weights and loss together by .023 (.007 to .038); p = .046 for either, near
# > the level. *No difference* larger than .009 comes from the loss alone in 3-D, on 160 hippocampi. *Unknown:* each of
# > the paper's two alone on hearts (+.008 and +.013, where only .05 could have been shown), the weights in 3-D (+.002
# > to +.004, only .025 could have been shown), and a long training. *Use* the clean-up only where both kidneys are in
# > the image.
#
# ## Read next
#
# - Wong, Moradi, Tang, Syeda-Mahmood 2018, *3D Segmentation with Exponential Logarithmic Loss for Highly Unbalanced
#   Object Sizes*, <https://arxiv.org/abs/1809.00076>: where the loss comes from.
# - Isensee, Jaeger, Kohl, Petersen, Maier-Hein 2021, *nnU-Net*, <https://arxiv.org/abs/1904.08128>: supervises every
#   level too, with weights that halve.
# - Heller et al. 2021, *The state of the art in kidney and kidney tumor segmentation in contrast-enhanced CT imaging:
#   results of the KiTS19 challenge*, <https://arxiv.org/abs/1912.01054>: what won, and by how much.
#
# ## Exercises
#
# 1. Give the levels equal weights. How does the loss of each level's head change, and which gradient grows?
#
# <details><summary>A hint</summary>
#
# `MultiScale` takes `weights`, one per level, finest first, and the loss as a function.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# from dsnotes.supervision import MultiScale
#
# levels = len(network.backbone.sides())
# equal = MultiScale(weights=(1 / levels,) * levels, loss=system.objective.loss, bias=False)
# bottleneck = list(network.backbone.encoder[-1].parameters())
# for name, goal in {"the paper's weights": system.objective, "equal weights": equal}.items():
#     terms = loss_terms(goal, network, batch)
#     gradient = torch.autograd.grad(sum(terms.values()), bottleneck)
#     print(name, {level: round(term.item(), 3) for level, term in terms.items()}, end=" ")
#     print(f"gradient at the bottleneck {sum(g.square().sum() for g in gradient).sqrt():.2e}")
# ```
#
# The terms of the coarse levels grow, and with them the gradient of the layers that only they are near to. To see
# whether the finest output suffers, train both with `dsnotes.fit` and several seeds, as in section 6.
#
# </details>
#
# 2. How many voxels of kidney do the targets of the released code invent around the tumours of all held-out patients,
#    level by level?
#
# <details><summary>A hint</summary>
#
# `downsample_target(…, how="official_code")`, of a label that holds the tumour alone, as in section 3.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# for stride in (2, 4):
#     found = 0
#     for case in test:
#         tumour_alone = torch.from_numpy((case.label == 2) * 2)[None].long()
#         size = tuple(max(n // stride, 1) for n in case.space)
#         found += int((downsample_target(tumour_alone, size, channels=3, how="official_code")[0, 1] > 0).sum())
#     print(f"at stride {stride}: {found} voxels of class 1 that no label holds")
#     assert found > 0 or stride > 2
# ```
#
# The tumour has a rim of class 1: interpolation passes through 1 on its way from 0 to 2.
#
# </details>
