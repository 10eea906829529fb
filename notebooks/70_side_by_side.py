# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Side by side: any backbone, any supervision, any loss
#
# Each of the five papers combines a network, a supervision and a loss. Here you vary these three one at a time. You
# will see
#
# - which combinations are possible, and why the others are not;
# - the same supervision on backbones that its paper did not use;
# - how much systems differ when only one of the three changes.
#
# Everything runs on one dataset of phantom nodules, 64 × 64 pixels, or on slices of your own: `data="…"` names a folder
# in the Decathlon's layout. Needs a CPU and about six minutes, because it trains dozens of small networks; with
# `smoke=True` less than a minute. Reading takes half an hour. Words such as *backbone*, *level* and *supervision* are
# in the [glossary](../site/pages/glossary.md).

# %% tags=["parameters"]
steps: int = 100  # training steps of every combination
seeds: int = 2  # trainings per combination, each from other initial weights
width: int = 8  # channels of the finest level of every backbone
data: str = ""  # a dataset folder to use instead of the phantoms, one slice per case; all its labels become one
smoke: bool = False  # a minute at most: three backbones, two steps, one seed

# %%
from dataclasses import replace
from functools import partial

import numpy as np
import torch

import dsnotes
from dsnotes.data import Case, phantoms
from dsnotes.data.crops import read_crops
from dsnotes.data.preprocess import hu_window
from dsnotes.losses import cross_entropy, soft_dice
from dsnotes.metrics import smallest_difference
from dsnotes.supervision import MultiScale, Restoration, TwoPathway, loss_terms, supervise
from dsnotes.supervision.multi_scale import ExponentialLogAndEntropy, entropy_and_dice
from dsnotes.supervision.plain import foreground
from dsnotes.supervision.pseudo_labels import PseudoLabels
from dsnotes.supervision.targets import probabilities
from dsnotes.training.settings import Settings
from dsnotes.training.system import System
from dsnotes.viewers import Guess, Table, boxes, explore, maps, progress
from dsnotes.viewers.maps import draw

if smoke:
    steps, seeds, width = 2, 1, 4
if data:
    volumes, _ = read_crops(data, size=(1, 64, 64), most=60 if not smoke else 8)
    cases = [Case(v.name, v.image[0], v.label[0], v.spacing[1:]) for v in volumes]
else:
    cases = list(map(hu_window(-1000, 400), phantoms.nodules(60 if not smoke else 8, seed=0)))
held_out = len(cases) // 3
test, train = cases[:held_out], cases[held_out:]
print(f"{len(train)} images to train on, {len(test)} held out: {test[0].name} … {test[-1].name}")

# %% [markdown]
# ## 1. Backbone, loss and supervision
#
# *Five minutes.*
#
# A **backbone** provides levels: feature maps at several strides. The backbone of any system works.

# %%
backbones = ["unet-2d", "unet++", "fcn", "attention-unet", "v-net"]
backbones = backbones[:3] if smoke else backbones
examples = {name: dsnotes.build(name, width=width, dims=2).network.backbone for name in backbones}
Table(
    {"backbone": name, "parameters": sum(p.numel() for p in b.parameters())}
    | {"levels": ", ".join(f"{at} ({level.channels})" for at, level in b.levels.items())}
    for name, b in examples.items()
)


# %% [markdown]
# A **loss** compares one prediction with one target.


# %%
def dice_alone(logits, t):
    return soft_dice(foreground(probabilities(logits)), foreground(t), over_batch=True)


losses = {
    "CE": cross_entropy,
    "Dice": dice_alone,
    "CE + Dice": entropy_and_dice,
    "exp-log": ExponentialLogAndEntropy((1.0,), None),
}

# %% [markdown]
# A **supervision** determines where the network is compared, and with what. Two of them accept any loss; the other
# three, taken from papers, have a fixed one. "Its own features" uses a tenth of the published weight λ = 9: with batch
# norm and the published weight, a training as short as ours would end on the plateau of [50_mu_net](50_mu_net.ipynb),
# section 7. **Before running:** which of these does not work on every backbone?

# %%
supervisions = {
    "the output": lambda loss: MultiScale(weights=(1.0,), levels=("stride1",), loss=loss),
    "every level": lambda loss: MultiScale(loss=loss),
    "two pathways": partial(TwoPathway),
    "the image too": partial(Restoration),
    "its own features": partial(PseudoLabels, "seg", features=0.9),
}
own = {
    "two pathways": ("Dice", "its weights α balance Dice losses"),
    "the image too": ("CE", "its ratio 10 : 1 weights two cross-entropies"),
    "its own features": ("CE + Dice", "it adds half a cross-entropy to Dice for pairs of soft predictions"),
}


def objective(supervision, loss):
    """The objective, or a ValueError that gives the reason why there is none."""
    if supervision not in own:
        return supervisions[supervision](losses[loss])
    if loss != own[supervision][0]:
        raise ValueError(f"always uses {own[supervision][0]}: {own[supervision][1]}")
    return supervisions[supervision]()


# %% [markdown]
# ## 2. Which combinations are possible
#
# *Five minutes, of which one runs.*
#
# Every combination is built and evaluated on one batch. An impossible one raises an error with the reason.


# %%
def terms_or_reason(backbone, supervision, loss):
    """The names of a combination's terms, or the reason why it is impossible."""
    try:
        goal = objective(supervision, loss)
        network = supervise(dsnotes.build(backbone, width=width, dims=2).network.backbone, goal)
        image = torch.from_numpy(np.stack([case.image for case in train[:2]]))[:, None]
        label = torch.from_numpy(np.stack([case.label for case in train[:2]]).astype(np.int64))
        return ", ".join(loss_terms(goal, network, {"image": image, "label": label}))
    except (ValueError, KeyError) as error:
        return error


cells = {}
for place in progress([(b, s, loss) for b in backbones for s in supervisions for loss in losses], of="combinations"):
    cells[place] = terms_or_reason(*place)
reasons = {place: str(cell) for place, cell in cells.items() if isinstance(cell, Exception)}
print(f"{len(cells) - len(reasons)} of {len(cells)} combinations are possible")
Table(
    {"backbone": b}
    | {s: f"{sum((b, s, loss) not in reasons for loss in losses)} of {len(losses)} losses" for s in supervisions}
    for b in backbones
)

# %%
why = {}
for (backbone, supervision, _), reason in reasons.items():
    why.setdefault((supervision, reason), []).append(backbone)
Table({"supervision": s, "on": ", ".join(dict.fromkeys(on)), "impossible because": r} for (s, r), on in why.items())

# %%
assert all((b, s, "CE + Dice") not in reasons for b in backbones for s in ("the output",))
assert all(any((b, s, loss) not in reasons for b in backbones for loss in losses) for s in supervisions)

# %% [markdown]
# ## 3. One change at a time
#
# *Fifteen minutes, of which ten run.*
#
# First we vary the backbone and the supervision, each supervision with the loss "CE + Dice" or its own; then, on the
# plain U-Net, the supervision and the loss. **Before running:** which of the three makes the largest difference?

# %%
matters = Guess("What changes the mean Dice most?", ["backbones", "supervisions", "losses", "seeds"])


# %%
def trained(backbone, supervision, loss, seed):
    """Dice of every held-out nodule."""
    torch.manual_seed(seed)
    goal = objective(supervision, loss)
    network = supervise(dsnotes.build(backbone, width=width, dims=2).network.backbone, goal)
    budget = Settings(patch=(64, 64), batch=4, epochs=1, iterations=steps, lr=2e-3)
    net = System(f"{backbone}, {supervision}", network, goal, settings=replace(budget, foreground=0.67))
    dsnotes.fit(net, train, seed=seed, progress=False)
    p = [dsnotes.predict(net, case)[-1] for case in test]
    seen[backbone, supervision, loss] = p[0]
    scores = [
        dsnotes.score((one >= 0.5).astype(np.uint8), c.label, spacing=c.spacing) for one, c in zip(p, test, strict=True)
    ]
    return [score["dice"] for score in scores]


def usual(supervision):
    return own.get(supervision, ("CE + Dice",))[0]


first = {(b, s, usual(s)) for b in backbones for s in supervisions}
second = {(backbones[0], s, loss) for s in supervisions for loss in losses}
wanted = sorted((first | second) - set(reasons))
dices, seen = {}, {}
for place in progress(wanted):
    dices[place] = [trained(*place, seed) for seed in range(seeds)]


# %%
def matrix(places):
    """Mean Dice over nodules and seeds; NaN where a combination is impossible."""
    return np.array([[np.mean(dices[p]) if p in dices else np.nan for p in row] for row in places])


by_backbone = matrix([[(b, s, usual(s)) for s in supervisions] for b in backbones])
by_loss = matrix([[(backbones[0], s, loss) for s in supervisions] for loss in losses])
maps(
    {"every backbone": by_backbone, f"every loss, on {backbones[0]}": by_loss},
    names={
        "every backbone": (backbones, list(supervisions)),
        f"every loss, on {backbones[0]}": (list(losses), list(supervisions)),
    },
    colours="heat",
    title=f"Mean Dice of {len(test)} images; white where impossible",
)

# %%
named = [(b, by_backbone[i]) for i, b in enumerate(backbones)]
named += [(f"{backbones[0]}, {loss}", by_loss[i]) for i, loss in enumerate(losses)]
Table(
    {"row": name} | {s: f"{x:.3f}" if np.isfinite(x) else "—" for s, x in zip(supervisions, values, strict=True)}
    for name, values in named
)

# %%
boxes(
    {b: {s: np.mean(dices[b, s, usual(s)], 0) for s in supervisions if (b, s, usual(s)) in dices} for b in backbones},
    y="Dice, mean over seeds",
    title=f"{len(test)} images, {seeds} seed{'s' * (seeds > 1)}, {steps} steps",
    limits=(0, 1),
)

# %%
spread = {
    "backbones": np.nanmax(by_backbone, 0) - np.nanmin(by_backbone, 0),
    "supervisions": np.nanmax(by_backbone, 1) - np.nanmin(by_backbone, 1),
    "losses": np.nanmax(by_loss, 0) - np.nanmin(by_loss, 0),
    "seeds": np.array([np.ptp(np.mean(values, 1)) for values in dices.values()]),
}
Table({"varied": what, "range of the mean Dice": float(np.nanmean(gaps))} for what, gaps in spread.items())

# %%
mean_range = {what: float(np.nanmean(gaps)) for what, gaps in spread.items()}
most = max(mean_range, key=mean_range.get)
matters.compare(most, f"It changes it by {mean_range[most]:.3f}; another seed alone by {mean_range['seeds']:.3f}.")

# %% [markdown]
# **What could this show?** For every supervision on the plain U-Net, the difference from supervising the output alone,
# and the smallest mean difference that a paired test over the images finds with a probability of 80 %. A mean below it
# is no evidence, and neither is one below the effect of another seed.

# %%
alone = np.mean(dices[backbones[0], "the output", usual("the output")], 0)
against = {s: np.mean(dices[place], 0) - alone for s in supervisions if (place := (backbones[0], s, usual(s))) in dices}
Table(
    {"supervision": s, "minus the output alone": d.mean(), "smallest found": smallest_difference(d.std(ddof=1), len(d))}
    for s, d in against.items()
    if s != "the output"
)

# %% [markdown]
# **Side by side.** One held-out image, under every combination that was trained (the last seed). In a browser, choose.


# %%
def combination(backbone, supervision):
    """Image, prediction, truth."""
    loss = usual(supervision)
    if (backbone, supervision, loss) not in seen:
        return draw({"impossible": np.full((64, 64), np.nan)}, window=(0, 1), title=f"{backbone}: {supervision}")
    found = dices[backbone, supervision, loss][-1][0]
    shown = {"image": test[0].image, "prediction": seen[backbone, supervision, loss], "truth": test[0].label}
    return draw(shown, window=(0, 1), title=f"{backbone}, {supervision}, {loss}: Dice {found:.2f} of this image")


explore(
    combination,
    {"backbone": backbones, "supervision": list(supervisions)},
    stills=[{"supervision": "the output"}, {"supervision": "every level"}],
    alt="The prediction of",
)

# %%
assert all(0 <= np.mean(values) <= 1 for values in dices.values())
assert set(dices).isdisjoint(reasons)

# %% [markdown]
# ## 4. A backbone of your own
#
# *Five minutes.*
#
# A backbone need not come from this library. Here is a plain `nn.Sequential`, which knows nothing of levels. `wrap`
# takes one of its modules as a decoder level: number 2, whose map is half as fine as the image. The output is the level
# of stride 1. **Before running:** how many terms will `MultiScale` have?

# %%
how_many = Guess("How many terms?", ["1", "2", "3"])

# %%
net = torch.nn.Sequential(
    torch.nn.Conv2d(1, width, 3, padding=1),
    torch.nn.MaxPool2d(2),
    torch.nn.Conv2d(width, 2 * width, 3, padding=1),
    torch.nn.Upsample(scale_factor=2),
    torch.nn.Conv2d(2 * width, 1, 1),
)
before = net[2].weight.clone()
backbone = dsnotes.wrap(net, classes=2, levels={"stride2": "2"})
system = dsnotes.system("sequential", backbone, MultiScale(), patch=(64, 64), batch=4)
history = dsnotes.fit(system, train, epochs=1, iterations=2, progress=False)
Table([{name: f"{history[-1][name]:.3f}" for name in ("loss", "stride1", "stride2")}])

# %%
assert np.isclose(history[-1]["loss"], history[-1]["stride1"] + history[-1]["stride2"])
assert not torch.equal(net[2].weight, before)
how_many.compare("2", "One for the output, one for the level that we named.")

# %% [markdown]
# Two, and two steps have moved the weights of the network that we brought: what is wrapped is trained itself, not a
# copy. [Bring your own](../site/pages/bring_your_own.md) does the same with a network of MONAI, with losses and with
# data.
#
# ## What we saw, and what we did not
#
# - **Shown:** which combinations are possible, and the reason for each that is not; a supervision does not depend on
#   its paper's network.
# - **Compare with the row "seeds" of the last table:** a change with no larger effect on the mean Dice than another
#   seed has no demonstrated effect.
# - **Not shown:** which supervision is best. This is one size of network, one dataset and a few minutes; `dsnotes
#   sweep` runs the same comparison on real data, with folds.
#
# > **Use it / do not / unknown.** *Use* this notebook to see what is possible with your backbone, and how much a seed
# > alone changes. *Do not* choose a supervision by it: with twenty images and two seeds only differences above those of
# > section 3's last table could be seen. *Unknown:* which supervision is best on your data; `dsnotes sweep` asks that,
# > with folds and seeds.
#
# ## Read next
#
# - Isensee et al. 2024, *nnU-Net Revisited: A Call for Rigorous Validation in 3D Medical Image Segmentation*,
#   <https://arxiv.org/abs/2404.09556>: how much of the published progress is the baseline's budget.
# - Lee, Xie, Gallagher, Zhang, Tu 2015, *Deeply-Supervised Nets*, <https://arxiv.org/abs/1409.5185>: where it began.
#
# ## Exercises
#
# 1. Add a supervision: `MultiScale(weights=(.5, .5), levels=("stride1", "stride4"))`. On which backbones is it
#    possible?
#
# <details><summary>A hint</summary>
#
# A backbone's `levels` name what a head can read; `supervise` raises a `KeyError` or `ValueError` where a level is
# missing.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# goal, possible = MultiScale(weights=(0.5, 0.5), levels=("stride1", "stride4")), {}
# for name in backbones:
#     try:
#         supervise(dsnotes.build(name, width=width, dims=2).network.backbone, goal)
#         possible[name] = True
#     except (KeyError, ValueError) as error:
#         possible[name] = str(error)[:90]
# print(possible)
# assert possible["unet-2d"] is True
# ```
#
# </details>
#
# 2. Which supervision costs most time per step on the plain U-Net, and why?
#
# <details><summary>A hint</summary>
#
# Count forward passes: "its own features" shows the network the mask too.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# import time
#
# image = torch.from_numpy(np.stack([case.image for case in train[:2]]))[:, None]
# label = torch.from_numpy(np.stack([case.label for case in train[:2]]).astype(np.int64))
# for s in supervisions:
#     goal = objective(s, usual(s))
#     network = supervise(dsnotes.build("unet-2d", width=width).network.backbone, goal)
#     began = time.process_time()
#     for _ in range(3):
#         sum(loss_terms(goal, network, {"image": image, "label": label}).values()).backward()
#     print(f"{s}: {(time.process_time() - began) / 3:.3f} s")
# ```
#
# </details>
