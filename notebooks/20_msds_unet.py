# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # MSDS-UNet: two pathways of deep supervision
#
# This notebook segments lung tumours of every scale in chest CT, following one paper step by step. You will
#
# - segment the lungs, and find that the obvious way cuts off most tumours attached to their walls;
# - build its new parts by hand, the global and the local side outputs, their soft fusion and one step of GradNorm, and
#   check them against the library, numbers and gradient;
# - follow the shapes through the network for the paper's own patch, without using a gigabyte of memory;
# - see what each of its four side outputs predicts for a small, a medium and a large tumour;
# - train it with every objective of Table 3 and every choice of side outputs ("sides") of Tables 4 and 5, with two
#   seeds each, and use a paired test to see which differences are real;
# - vary the threshold, clean up the prediction, and score slices with and without a tumour, as Tables 10 to 12 do.
#
# Paper: Yang, Wu, Li, Cao, Zaiane 2021, *MSDS-UNet: A multi-scale deeply supervised 3D U-Net for automatic segmentation
# of lung tumor in CT*, <https://doi.org/10.1016/j.compmedimag.2021.101957>. The authors trained 26 million weights for
# 200 epochs on patches of 128³ from 220 and 422 patients; here the network has eight channels at full size and is
# trained on phantoms with voxels of 4 mm, or on your own volumes: `data="…"` names a folder in the Decathlon's layout.
# Needs a CPU and about nine minutes; with `smoke=True` less than one. The time of every section is for reading and
# running together. Read [10_one_idea](10_one_idea.ipynb) first if *side output* is new to you; it and other words are
# in the [glossary](../site/pages/glossary.md).

# %% tags=["parameters"]
steps: int = 300  # training steps of the main network
ablation_steps: int = 96  # training steps of each of the eleven systems that are compared
seeds: int = 2  # trainings per system, each from other initial weights
data: str = ""  # a dataset folder of volumes to use from section 3 on instead of the phantoms; its labels become one
smoke: bool = False  # a minute at most: few patients, few steps, one seed of three systems

# %%
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import dsnotes
from dsnotes.data import Case, phantoms
from dsnotes.data.crops import read_crops
from dsnotes.data.lungs import lung_mask, uncropped_label, within_lungs
from dsnotes.data.patches import crop
from dsnotes.data.preprocess import hu_window
from dsnotes.inference import at_thresholds
from dsnotes.metrics import (
    holm,
    paired_t_test,
    slice_dice,
    slice_scores,
    smallest_difference,
    tumour_scale,
    tumour_scores,
)
from dsnotes.papers import msds_unet
from dsnotes.runs.verdict import brief_rows, stored
from dsnotes.supervision import loss_terms
from dsnotes.supervision.gradnorm import GradNorm
from dsnotes.supervision.targets import probabilities
from dsnotes.supervision.two_pathway import fuse
from dsnotes.training.gradnorm_step import GradNormStep
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
)
from dsnotes.viewers.maps import draw

patients, held_out = (30, 8) if not smoke else (7, 3)
patch, window = (32, 32, 32), (64, 64, 64)
if smoke:
    steps, ablation_steps, seeds = 6, 3, 1

# %%
with torch.device("meta"):  # the published size, without its memory
    paper = dsnotes.build("msds-unet").network
compared = [Comparison("stride1", "z₄ = l₄: the output", "mask y", "2 × 0.4 (1 − Dice)")]
compared += [Comparison("stride1", "soft fusion: Σ α z", "mask y", "1 − Dice")]
for m, stride in {3: 2, 2: 4, 1: 8}.items():
    name = chr(0x2080 + m)  # a small number
    compared += [Comparison(f"stride{stride}", f"z{name}: 1×1×1 conv, ×{stride} up", "mask y", "0.2 (1 − Dice)")]
    compared += [
        Comparison(f"stride{stride}", f"l{name}: 3×3×3, 1×1×1 conv", f"y{name}: mask at 1/{stride}", "0.2 (1 − Dice)")
    ]
architecture(paper, compared, title="MSDS-UNet as published: every side at full size (z) and at its own size (l)")

# %% [markdown]
# ## 1. The lung mask, and what it leaves out
#
# *Ten minutes.*
#
# "Both training and testing processes use the data after lung segmentation", the paper says, without more detail. The
# obvious way needs no network: air is dark; dark voxels connected to the sides of a slice are the air around the
# patient; the largest regions that remain are the lungs. **Before running:** a lung tumour is not dark. Which tumours
# does such a mask keep: those free in the lung, those at the chest wall (pleura), or those at the mediastinum?

# %%
raw = phantoms.lung(patients, seed=0)
chest = raw[0]
bare = lung_mask(chest.image, spacing=chest.spacing, closing=0)
found = replace(chest, label=np.where(chest.label > 0, 2, bare))
dsnotes.show(found, names={1: "lung found", 2: "tumour"}, window="lung")


# %%
def share_kept(mask_of):
    """The share of each site's tumour voxels inside `mask_of(case)`, over all patients."""
    inside, whole = {}, {}
    for case in progress(raw, of="patients"):
        mask = mask_of(case)
        for tumour in case.extras["tumours"]:
            voxels = mask[case.extras["components"] == tumour["component"]]
            inside[tumour["site"]] = inside.get(tumour["site"], 0) + int((voxels > 0).sum())
            whole[tumour["site"]] = whole.get(tumour["site"], 0) + len(voxels)
    return {site: inside[site] / whole[site] for site in ("free", "mediastinum", "pleura")}


# %%
kept = {
    "the lungs' air": share_kept(lambda c: lung_mask(c.image, spacing=c.spacing, closing=0)),
    "closed by a ball of 8 mm": share_kept(lambda c: lung_mask(c.image, spacing=c.spacing)),
    "with a margin of 20 mm": share_kept(lambda c: within_lungs(c, crop=False).image > c.image.min()),
}
Table(
    [{"mask": mask} | shares for mask, shares in kept.items()], caption="Share of tumour voxels that each mask keeps."
)

# %% [markdown]
# A mask of the lungs' air leaves out nearly all tumours at a wall, and closing the mask helps little: a ball wide
# enough to close over such a tumour would also include the heart. A margin of 20 mm keeps the tumours, together with
# the wall beside them. The paper calls tumours "attached to the mediastinum and the chest wall" difficult, and its Fig.
# 2 shows one attached to the pleura; it does not say how much of them its own mask kept.

# %%
assert kept["the lungs' air"]["pleura"] < 0.2 < 0.5 < kept["the lungs' air"]["free"]
assert min(kept["with a margin of 20 mm"].values()) > 0.95

# %%
ready = [hu_window(-1000, 400)(within_lungs(case)) for case in progress(raw, of="patients")]
assert all(uncropped_label(cut).sum() == cut.label.sum() for cut in ready)  # no tumour lies outside a crop
test, train = ready[:held_out], ready[held_out:]
print(f"{chest.image.shape} voxels, cropped to {test[0].image.shape}; {(test[0].image > 0).mean():.0%} not blanked")
dsnotes.show(test[0], title="the network's input")

# %% [markdown]
# From here on these crops, or your own images, are what the network is trained on.

# %%
if data:
    ready, _ = read_crops(data, size=window, spacing=(3.0, 3.0, 3.0), most=patients)
    held_out = min(held_out, max(2, len(ready) // 3))
    test, train = ready[:held_out], ready[held_out:]
    dsnotes.show(test[0], title="the network's input")

# %% [markdown]
# ## 2. The network, with the paper's shapes
#
# *Twenty minutes.*
#
# A tensor on PyTorch's `meta` device has a shape and no content, so the paper's 128³ patch passes through all 26
# million weights at once. **Before running:** how large is the deepest map, and how many of the weights belong to the
# deep supervision?

# %%
with torch.device("meta"):
    outputs = paper(torch.empty(1, 1, 128, 128, 128))
sizes = {name: tuple(maps_at.shape[1:]) for name, maps_at in outputs.features.items()}
Table(
    [
        {
            "level": name,
            "decoder features": str(size),
            "local side": str(tuple(outputs.side_outputs[name].shape[1:])) if name in outputs.side_outputs else None,
            "global side": str(tuple(outputs.upsampled[name].shape[1:])) if name in outputs.upsampled else None,
        }
        for name, size in sizes.items()
    ],
    caption="(channels, depth, height, width); as we read the paper, stride1 is its side 4 and stride8 its side 1.",
)

# %%
weights = {part: sum(p.numel() for p in module.parameters()) for part, module in paper.heads.items()}
total = sum(p.numel() for p in paper.parameters())
print(f"{total:,} weights, of them in the global heads {weights['global']:,}, in the local ones {weights['local']:,}")
assert sizes["stride16"][1:] == (8, 8, 8)
assert round(total / 1e6, 2) == msds_unet.TABLES[13].rows["msds-unet"][1]
assert round((total - sum(weights.values())) / 1e6, 2) == msds_unet.TABLES[13].rows["res-unet-3d"][1]

# %% [markdown]
# Each of the four decoder levels has two side outputs. The *local* one, $l_m$, predicts at the level's own size and is
# compared with the mask $y_m$ downsampled to that size. The *global* one, $z_m$, is brought to full size by a learned
# upsampling and compared with the mask $y$ itself: each side on its own (*hard* fusion), and their weighted sum (*soft*
# fusion). At side 4 both are the network's output. The $\alpha_m$ are the weights of the sides and add up to 1;
# $\lambda_1$ and $\lambda_2$ are 1 here. All sides are logits; $d$ applies the sigmoid first.
#
# $$\mathcal L = \sum_m \alpha_m\, d(y, z_m) \;+\; \lambda_1\, d\big(y, \textstyle\sum_m \alpha_m z_m\big)
# \;+\; \lambda_2 \sum_m \alpha_m\, d(y_m, l_m), \qquad d = 1 - \mathrm{Dice}$$
#
# The number of weights matches because we fitted it: the paper gives neither widths nor depths, and ours, with local
# branches of six channels, were chosen to meet its 26.38 and 26.45 million. The number of layers does not match: 33 and
# 45 here, 59 and 62 in the paper. The numbering of the sides is our interpretation. The paper lists the weights "from
# the shallow layer to the high layer" and calls (124) better because "coarser" sides matter, which makes 4 the finest;
# but it wants the "shallow hidden layers" 1 and 2 for small tumours that deep layers have lost, which makes 4 the
# coarsest. `numbering="1 is the output"` selects the second reading.
#
# We correct three errors in the published equations. As published, training would minimise the Dice itself. The soft
# fusion sums *probabilities* before a last sigmoid. And in a patch without tumour the Dice is 0 whatever the network
# predicts, so it has no gradient there, although six of seven patches in the paper's Table 9 have no tumour. For those
# the library uses the Dice of the *background* (`empty="printed"` keeps the equation). (The paper also penalises the
# weights; here that is Adam's weight decay.) **Before running:** what is the lowest value that the sigmoid of a
# probability can take?

# %%
print(f"sigmoid(0) = {torch.tensor(0.0).sigmoid():.3f}, sigmoid(1) = {torch.tensor(1.0).sigmoid():.3f}")

# %% [markdown]
# Read literally, the fused map could never predict background: no voxel could fall below one half.
#
# **By hand.** The new parts are two small heads per level, a sum, and three sums of losses:


# %%
class SidesByHand(nn.Module):
    """Both side outputs of the coarse decoder levels; the finest is the network's output."""

    def __init__(self, levels, width=6):
        super().__init__()
        self.globals, self.locals = nn.ModuleDict(), nn.ModuleDict()
        for name, level in levels.items():
            c, s = level.channels, level.stride[0]
            up = nn.ConvTranspose3d(1, 1, 2 * s, stride=s, padding=s // 2)  # learned upsampling by s
            self.globals[name] = nn.Sequential(nn.Conv3d(c, 1, 1), up)
            block = nn.Sequential(nn.Conv3d(c, width, 3, padding=1), nn.BatchNorm3d(width), nn.ReLU())
            self.locals[name] = nn.Sequential(block, nn.Conv3d(width, 1, 1))

    def forward(self, features):
        z, own = {"stride1": features.logits}, {"stride1": features.logits}
        for name in self.globals:
            z[name] = self.globals[name](features.decoder[name])  # (B, 1, *full size)
            own[name] = self.locals[name](features.decoder[name])  # (B, 1, *the level's size)
        return z, own


# %%
def d(logits, y):
    """1 - Dice per image; for an image without tumour the Dice of the background."""
    p, space = logits.sigmoid(), (1, 2, 3, 4)
    marked, both, n = p.sum(space), (p * y).sum(space), y[0].numel()
    dice = 2 * both / (marked + y.sum(space))
    background = 2 * (n - marked) / (2 * n - marked)  # of 1 - p with a target of ones
    return (1 - torch.where(y.sum(space) > 0, dice, background)).mean()


def loss_by_hand(z, own, y, alpha):
    """Hard and soft fusion and the local losses: (L, {level: its hard plus its local loss})."""
    nearest = {name: functional.interpolate(y, own[name].shape[2:], mode="nearest-exact") for name in own}
    hard = {name: d(z[name], y) for name in z}
    local = {name: d(own[name], nearest[name]) for name in own}
    soft = d(sum(alpha[name] * z[name] for name in z), y)  # a sum of logits, then one sigmoid inside d
    tasks = {name: hard[name] + local[name] for name in z}
    return soft + sum(alpha[name] * task for name, task in tasks.items()), tasks


# %% [markdown]
# With the library's weights in our heads, on a patch of two tumours, all numbers and gradients must agree:

# %%
torch.manual_seed(0)
small = dsnotes.build("msds-unet", width=4)
network, alpha = small.network.eval(), small.objective.weights(small.network.backbone)
ours = SidesByHand({name: level for name, level in network.backbone.sides().items() if name != "stride1"}).eval()
ours.globals.load_state_dict(network.heads["global"].branches.state_dict())
ours.locals.load_state_dict(network.heads["local"].branches.state_dict())
batch = dsnotes.data.patches.draw_batch(
    train, patch=patch, batch=2, foreground=1.0, generator=torch.Generator().manual_seed(0)
)
features, y = network.backbone(batch["image"]), batch["label"][:, None].float()
z, own = ours(features)
for name in z:
    shapes = [tuple(maps[name].shape[1:]) for maps in (features.decoder, z, own)]
    print("{:8} decoder {!s:18} z {!s:18} own size {!s}".format(name, *shapes))

# %%
by_hand, tasks = loss_by_hand(z, own, y, alpha)
library = sum(loss_terms(small.objective, network, batch).values())
print(f"by hand {by_hand:.6f}, the library {library:.6f}")
assert torch.allclose(by_hand, library, rtol=1e-4)
outputs = network(batch["image"])
assert torch.allclose(sum(alpha[name] * z[name] for name in z), fuse(outputs), atol=1e-5)
weights = list(network.backbone.parameters())
gradients = [torch.autograd.grad(loss, weights, retain_graph=True) for loss in (by_hand, library)]
assert all(torch.allclose(a, b, atol=1e-4, rtol=1e-3) for a, b in zip(*gradients, strict=True))

# %% [markdown]
# **One step of GradNorm**, for MSDS-UNet-GM. Each side is a task with the loss $L_m$ = hard + local. Its *pull* $G_m$
# is the norm of the gradient of $\alpha_m L_m$ at the last layer that all sides share, $r_m$ how much of its first loss
# is left, relative to the others. The weights take a step that brings every pull nearer to $\bar G\, r_m^{\,a}$, the
# target. [21_gradnorm](21_gradnorm.ipynb) explains and tests the rule; here is the step on these numbers:


# %%
def gradnorm_step(alpha, losses, first, norms, optimiser, asymmetry=1.5):
    """Change `alpha` in place; `norms` are those of the unweighted losses."""
    rates = losses / first
    pull = alpha * norms
    target = (pull.mean() * (rates / rates.mean()) ** asymmetry).detach()  # a constant
    (alpha.grad,) = torch.autograd.grad((pull - target).abs().sum(), alpha)
    optimiser.step()
    with torch.no_grad():
        alpha.clamp_(min=1e-3)
        alpha /= alpha.sum()


shared = GradNormStep(small, msds_unet.SETTINGS).shared
norms = torch.stack([torch.autograd.grad(task, shared, retain_graph=True)[0].norm() for task in tasks.values()])
losses, first = torch.stack(list(tasks.values())).detach(), torch.tensor([1.6, 1.8, 2.0, 1.9])
balanced = torch.full((4,), 0.25, requires_grad=True)
theirs = GradNorm(tuple(tasks))
theirs.first_losses = first
gradnorm_step(balanced, losses, first, norms, torch.optim.Adam([balanced], lr=0.025))
theirs.update(losses, norms)
assert torch.allclose(balanced, theirs.weights, atol=1e-6)
Table(
    [
        {"side": name, "L": task.item(), "norm of its gradient": n.item(), "α after one step from 1/4": a}
        for (name, task), n, a in zip(tasks.items(), norms, balanced.tolist(), strict=True)
    ]
)

# %% [markdown]
# ## 3. Training
#
# *Five minutes, of which three run.*
#
# Patches are centred on a random tumour voxel, which nearly always lies in a large tumour. So that the network sees
# small ones too, it is trained on a block around each tumour as well as on the whole chests.

# %%
voxels = {}
for tumour in (t for case in train for t in case.extras["tumours"]):
    scale = tumour_scale(tumour["diameter_mm"])
    voxels[scale] = voxels.get(scale, 0) + tumour["volume_mm3"]
print({scale: f"{volume / sum(voxels.values()):.1%} of all tumour" for scale, volume in voxels.items()})


def block(case, tumour, n=40):
    """40³ voxels around one tumour, as a case."""
    start = tuple(round(c) - n // 2 for c in tumour["centre"])
    image, label = (crop(a, start, (n, n, n), pad=0) for a in (case.image, case.label))
    return Case(f"{case.name}-{tumour['component']}", image, label, case.spacing)


blocks = [block(case, tumour) for case in train for tumour in case.extras["tumours"]]

# %% [markdown]
# This is the same network with 8 instead of 30 channels at full size. The settings are the paper's, except where a
# training of a few minutes needs others.

# %%
budget = replace(
    msds_unet.SETTINGS,
    patch=patch if not smoke else (16, 32, 32),
    batch=2 if not smoke else 1,
    epochs=12 if not smoke else 2,
    lr=1e-2,
    schedule="poly",
    foreground=0.8,
)
run = {"settings": budget, "progress": False}
torch.manual_seed(0)
system = dsnotes.build("msds-unet", width=8 if not smoke else 4)
largest = max(test[0].extras["tumours"], key=lambda tumour: tumour["volume_mm3"])
film = TrainingMovie(system, block(test[0], largest, n=32), then=curves.live(title="MSDS-UNet, nine terms"))
history = dsnotes.fit(system, train + blocks, iterations=steps // budget.epochs, on_epoch=film, **run)

# %% [markdown]
# The local side outputs of one held-out tumour, after every epoch:

# %%
film.show()

# %%
film.animate()

# %% [markdown]
# ## 4. What each side predicts for tumours of each scale
#
# *Ten minutes.*
#
# The paper has tables for large, medium and small tumours but does not give the limits; here a tumour is small below 17
# mm and large from 30 mm on. At test time the paper averages the four upsampled sides and their soft fusion. **Before
# running:** a voxel of side 1 (stride 8) is 32 mm wide here. What will it predict for a small tumour?


# %%
def with_answer(of_outputs):
    """The same trained network with another of its outputs as the prediction."""
    return replace(system, deploy=lambda outputs: probabilities(of_outputs(outputs)))


sides = ("stride8", "stride4", "stride2", "stride1")
outputs_of = {f"side {4 - i}": with_answer(lambda o, s=s: o.upsampled[s]) for i, s in enumerate(reversed(sides))}
outputs_of = dict(reversed(outputs_of.items())) | {
    "soft fusion": with_answer(fuse),
    "average": system,
}
finds = Guess("Which output finds the small tumours best?", list(outputs_of))
probabilities_of = {
    name: [dsnotes.predict(one, case, patch=window) for case in test]
    for name, one in progress(outputs_of.items(), of="outputs")
}

# %%
first_of = {}
for number, case in enumerate(test):
    for tumour in case.extras["tumours"]:
        scale = tumour_scale(tumour["diameter_mm"])
        first_of.setdefault(scale, (number, [round(c) for c in tumour["centre"]]))
present = [scale for scale in ("small", "medium", "large") if scale in first_of]


def close_up(volume, z, y, x):
    return crop(np.asarray(volume[z], float), (y - 13, x - 13), (26, 26), pad=0.0)


rows = {}
for scale in present:
    number, at = first_of[scale]
    rows[scale] = {"image": close_up(test[number].image, *at)}
    rows[scale] |= {name: close_up(ps[number][0], *at) for name, ps in probabilities_of.items()}
    rows[scale]["truth"] = close_up(test[number].label, *at)
maps(rows, window=(0, 1), title="The slice through one tumour of each scale")


# %%
def by_scale(labels):
    """{scale: Dice of each of its tumours} over the held-out patients."""
    pairs = zip(labels, test, strict=True)
    scores = [one for p, case in pairs for one in tumour_scores(p, case.label, spacing=case.spacing)]
    return {scale: [s.dice for s in scores if s.scale == scale] for scale in present}


labels = {name: [dsnotes.to_label(p) for p in ps] for name, ps in probabilities_of.items()}
scales = {name: by_scale(ps) for name, ps in labels.items()}
boxes(
    {scale: {name: scales[name][scale] for name in scales} for scale in present},
    y="Dice of one tumour",
    title=f"{sum(map(len, scales['average'].values()))} tumours of {len(test)} held-out patients",
    limits=(0, 1),
)

# %%
mean = {name: {scale: float(np.mean(d)) for scale, d in of.items()} for name, of in scales.items()}
if "small" in present:
    finds.compare(max(mean, key=lambda name: mean[name]["small"]))
Table([{"output": name} | of for name, of in mean.items()], caption="Mean Dice of a tumour.")

# %% [markdown]
# The soft fusion adds the sides' logits with the weights α. The slider changes the weight of side 4 in that sum, after
# training; the other three share the rest. **Before sliding:** at which weight is the fused map best?

# %%
with torch.no_grad():
    seen = system.network.eval()(torch.from_numpy(film.case.image)[None, None])


def fused(alpha):
    """The soft fusion of the filmed tumour with this weight of side 4."""
    rest = (1 - alpha) / 3
    logits = sum((alpha if name == "stride1" else rest) * z for name, z in seen.upsampled.items())
    p, truth = logits[0, 0].sigmoid(), torch.from_numpy(film.case.label)
    dice = dsnotes.score((p > 0.5).byte().numpy(), film.case.label, spacing=film.case.spacing)["dice"]
    panels = {f"side {m}": seen.upsampled[f"stride{2 ** (4 - m)}"][0, 0, film.at].sigmoid() for m in (1, 2, 3, 4)}
    panels |= {"fused": p[film.at], "truth": truth[film.at]}
    return draw(panels, window=(0, 1), colours="heat", title=f"α of side 4 is {alpha:g}: Dice of the fusion {dice:.3f}")


explore(
    fused,
    {"alpha": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)},
    stills=[{"alpha": a} for a in (0.0, 0.4, 1.0)],
    alt="The fusion of a lung tumour's four sides, by the weight of side 4:",
)

# %%
dice = [dsnotes.score(p, c.label, spacing=c.spacing)["dice"] for p, c in zip(labels["average"], test, strict=True)]
print(f"mean Dice of {len(test)} held-out patients: {np.mean(dice):.3f}, from {min(dice):.2f} to {max(dice):.2f}")
assert smoke or data or all(mean["side 1"][scale] < mean["side 4"][scale] for scale in ("medium", "large"))
assert smoke or data or all(mean["average"][scale] < mean["side 4"][scale] for scale in mean["average"])
assert smoke or data or np.mean(dice) > 0.5
worst = int(np.argmin(dice))
dsnotes.show(test[worst], prediction=labels["average"][worst], title="the patient with the lowest Dice")

# %% [markdown]
# ## 5. Every objective, every choice of sides
#
# *Fifteen minutes, of which five run.*
#
# Table 3 varies the objective, Tables 4 and 5 the sides; "all" with sides (1234) is a row of both. For a given seed,
# all systems have the same initial backbone weights, the same batches (from whole chests) and the same number of steps.
# **Before running:** the paper's eleven rows lie within 0.024 of each other. With ten patients whose Dice differs by
# several tenths, can you detect that?

# %%
spread = np.std(dice, ddof=1)
print(f"If differences spread as much as the scores above ({spread:.3f}), the smallest that a paired test of")
print(f"{len(test)} patients finds in four of five studies is {smallest_difference(spread, len(test)):.3f}")
published = [row[0] for number in (3, 4, 5) for row in msds_unet.TABLES[number].rows.values()]
print(f"the paper's rows lie within {max(published) - min(published):.3f}")

# %%
detect = Guess("How far apart will two trainings of one and the same system be (Dice)?")
variants = {f"{name}, (1234)": {"objective": name} for name in msds_unet.TABLES[3].rows}
variants |= {f"all, {name}": {"sides": name} for number in (4, 5) for name in msds_unet.TABLES[number].rows}
if smoke:
    variants = {name: variants[name] for name in ("none, (1234)", "all, (1234)", "all, (4)")}


def trained(options, seed):
    torch.manual_seed(seed)
    net = dsnotes.build("msds-unet", width=8 if not smoke else 4, **options)
    checks = replace(budget, epochs=6 if not smoke else 2, validation_iterations=4 if not smoke else 2)
    each = {"iterations": max(ablation_steps // checks.epochs, 1), "seed": seed, "progress": False}
    past = dsnotes.fit(net, train, test, settings=checks, **each)
    return past["val_dice"], [dsnotes.to_label(dsnotes.predict(net, case, patch=window)) for case in test]


runs = {name: [] for name in variants}
for name, seed in progress(product(variants, range(seeds))):
    runs[name].append(trained(variants[name], seed))


# %%
def figures(name, key):
    """(seeds, patients) of one metric."""
    found = [predicted for _, predicted in runs[name]]
    return np.array(
        [[dsnotes.score(p, c.label, spacing=c.spacing)[key] for p, c in zip(ps, test, strict=True)] for ps in found]
    )


dices = {name: figures(name, "dice") for name in runs}
boxes(
    {name.replace(", ", "\n"): {"": d.mean(0)} for name, d in dices.items()},
    y="Dice, mean over seeds",
    title=f"{len(test)} patients, {seeds} seed{'s' * (seeds > 1)}, {ablation_steps} steps each",
    limits=(0, 1),
)

# %% [markdown]
# A paired test compares two systems patient by patient, so that an easy patient is easy for both. The paper tests each
# of the other rows against its full model at a level of 0.05. Ten such tests give half a significant row on average by
# chance alone; Holm's correction takes this into account.

# %%
full = "all, (1234)"
tests = {name: paired_t_test(dices[full].mean(0), d.mean(0)) for name, d in dices.items() if name != full}
corrected = dict(zip(tests, holm([t.p for t in tests.values()]), strict=True))
paper_rows = {f"{name}, (1234)": row for name, row in msds_unet.TABLES[3].rows.items()}
paper_rows |= {f"all, {name}": row for number in (4, 5) for name, row in msds_unet.TABLES[number].rows.items()}
Table(
    [
        {
            "objective, sides": name,
            "paper: Dice": paper_rows[name][0],
            "ours: Dice": d.mean(),
            "per seed": " ".join(f"{mean:.3f}" for mean in d.mean(1)),
            "sensitivity, paper": paper_rows[name][1],
            "sensitivity, ours": figures(name, "sensitivity").mean(),
            "full minus this": tests[name].difference if name in tests else None,
            "p": tests[name].p if name in tests else None,
            "p after Holm": corrected.get(name),
        }
        for name, d in dices.items()
    ],
    caption="Tables 3, 4 and 5; other patients, other budget: compare the differences, not the numbers.",
)

# %%
spread = max(abs(np.diff(d.mean(1))).max(initial=0) for d in dices.values())
apart = max(d.mean() for d in dices.values()) - min(d.mean() for d in dices.values())
below = [name for name, p in corrected.items() if p < 0.05]
print(f"best minus worst system {apart:.3f}; two seeds of one system differ by up to {spread:.3f}")
detect.compare(float(spread), "The largest difference between two seeds of one system.")
differences = {name: dices[full].mean(0) - d.mean(0) for name, d in dices.items() if name != full}
least = [smallest_difference(d.std(ddof=1), len(d)) for d in differences.values() if len(d) > 1]
print(f"with their true spread, these tests find differences from {min(least):.3f} to {max(least):.3f}, by row")
print(f"different from {full!r} at 0.05 after Holm: {below or 'none'}")

# %% [markdown]
# **Before you believe a small p-value:** write out the objective "all" for the single side (4). Its hard, soft and
# local parts are the same term.

# %%
pair = {"image": torch.from_numpy(blocks[0].image[None, None, :32, :32, :32])}
pair["label"] = torch.from_numpy(blocks[0].label[None, :32, :32, :32]).long()
totals = []
for options in ({"objective": "none"}, {"sides": "(4)"}):
    torch.manual_seed(0)
    one = dsnotes.build("msds-unet", width=4, **options)
    totals.append(sum(loss_terms(one.objective, one.network, pair).values()).item())
print(f"loss of 'none' {totals[0]:.4f}, of 'all, (4)' {totals[1]:.4f}")
assert np.isclose(totals[1], 3 * totals[0])
if {"none, (1234)", "all, (4)"} <= set(dices):
    twins = paired_t_test(dices["all, (4)"].mean(0), dices["none, (1234)"].mean(0))
    print(f"the same system twice: {twins.difference:+.3f} Dice apart, p = {twins.p:.2g}")

# %% [markdown]
# It is three times the same loss, and a factor makes almost no difference to Adam (only through its ε and the weight
# decay): these two rows are **one system**, trained twice from the same initial weights. Training amplifies the
# smallest difference, so the two trained networks differ. The test over patients correctly finds that these two
# *trained networks* differ; it says nothing about the *method*, which would need many trainings. As we read them, the
# paper's tables contain the same pair: 0.649 (no deep supervision) and 0.653 (side 4).

# %% [markdown]
# The same patient by two of the systems:

# %%
pair = {name: runs[name][0][1] for name in ("none, (1234)", full)}
most = int(np.argmax([(a != b).sum() for a, b in zip(*pair.values(), strict=True)]))
side_by_side(test[most], {name: labels_of[most] for name, labels_of in pair.items()}, names={1: "tumour"})

# %% [markdown]
# **On real images.** The study is prepared: sarcomas in CT, three folds, three seeds
# (`sweeps/verdict-two-pathway-sarcoma.yml`); `make verdict` runs it, and then its results appear here.

# %%
study = stored("two-pathway-sarcoma")
Table(brief_rows(study), caption=f"{study.runs} of {study.planned} runs are stored")

# %% [markdown]
# ## 6. Small, medium and large, by sides
#
# *Five minutes.*
#
# These are Tables 6 to 8. The paper finds that small tumours need all four sides, and large ones three.

# %%
by_sides = {name.removeprefix("all, "): [by_scale(ps) for _, ps in runs[name]] for name in runs if "all, " in name}
rows = []
for scale, number in {"small": 8, "medium": 7, "large": 6}.items():
    if scale not in present:
        continue
    theirs = {name: row[0] for name, row in msds_unet.TABLES[number].rows.items() if name in by_sides}
    ours = {name: float(np.mean([np.mean(seed[scale]) for seed in by_sides[name]])) for name in by_sides}
    rows += [{"scale": scale, "of": "the paper"} | theirs, {"scale": scale, "of": "ours"} | ours]
Table(rows, caption="Mean Dice: per patient in the paper, per tumour here, since a phantom has several.")

# %% [markdown]
# The paper's Figs. 9 and 10 show slices of two small tumours where side (4) alone and sides (34) have a Dice of zero
# but all four do not. **Before running:** if such slices are *selected*, what do they prove?

# %%
wanted = [name for name in ("(4)", "(34)", "(1234)") if f"all, {name}" in runs]


def of_slices(name):
    """The Dice of every tumour slice of the held-out patients, from the first seed."""
    found = runs[f"all, {name}"][0][1]
    dice_of = [slice_dice(found[n], c.label) for n, c in enumerate(test)]
    return [(n, z, d) for n, c in enumerate(test) for z, d in enumerate(dice_of[n]) if c.label[z].any()]


each = {name: of_slices(name) for name in wanted}
missed = {name: {(n, z) for n, z, d in each[name] if d == 0} for name in wanted}
print({name: f"{len(those)} of {len(each[name])} tumour slices have a Dice of 0" for name, those in missed.items()})
only_full = sorted(set.intersection(*(missed[name] for name in wanted[:-1])) - missed[wanted[-1]])
only_others = sorted(missed[wanted[-1]] - set.union(*(missed[name] for name in wanted[:-1])))
print(f"found only by all four sides: {len(only_full)} slices; only by the others: {len(only_others)}")

# %%
if chosen := [*only_full[:2], *only_others[:2]]:
    maps(
        {
            f"patient {n}, slice {z}": {"image": test[n].image[z]}
            | {f"sides {name}": runs[f"all, {name}"][0][1][n][z] for name in wanted}
            | {"truth": test[n].label[z]}
            for n, z in chosen
        },
        window=(0, 1),
        title="As Figs. 9 and 10: first slices that only all four sides find, then slices that only the others find",
    )

# %% [markdown]
# There are slices of both kinds. Two selected tumours show that a difference is possible; only a count over all slices
# shows its direction, and only several trainings show whether it is reproducible.

# %% [markdown]
# ## 7. Does it learn faster?
#
# *Two minutes.*
#
# In the paper's Figure 12, MSDS-UNet converges much faster than the same network without deep supervision.

# %%
pace = {
    name: {e: float(v) for e, v in enumerate(np.mean([past for past, _ in runs[name]], axis=0), 1)}
    for name in ("none, (1234)", full)
}
curves.lines(
    {"no deep supervision": pace["none, (1234)"], "all four sides": pace[full]},
    x="epoch",
    y="Dice on held-out patches",
)

# %% [markdown]
# ## 8. The choice of threshold
#
# *Five minutes.*
#
# Table 12 raises the threshold above one half and adds "morphological operations" without describing them; here they
# are an opening by a ball of one voxel and the removal of components below four voxels. **Before running:** which error
# grows with the threshold, and which shrinks?

# %%
cleaning = {"threshold only": {}, "cleaned up": {"voxels": 4, "opening": 1}}
rows, truths = [], [case.label for case in test]
for cleaned, how in cleaning.items():
    swept = [at_thresholds(p, **how) for p in probabilities_of["average"]]
    for t in swept[0]:
        found = slice_scores([(one[t], truth) for one, truth in zip(swept, truths, strict=True)])
        each = [dsnotes.score(one[t], c.label, spacing=c.spacing)["dice"] for one, c in zip(swept, test, strict=True)]
        rows.append(
            {"": cleaned, "threshold": t, "mean Dice": np.mean(each), "median Dice": np.median(each)}
            | {"false positive slices": found.false_positives, "false negative slices": found.false_negatives}
            | {"paper: mean Dice": msds_unet.TABLES[12].rows[str(t)][0]}
        )
ps = [p[0] for p in probabilities_of["average"]]
soft = [2 * (p * t).sum() / (p.sum() + t.sum()) for p, t in zip(ps, truths, strict=True)]
rows.append(
    {"": "no threshold", "mean Dice": np.mean(soft), "median Dice": np.median(soft)}
    | {"paper: mean Dice": msds_unet.TABLES[12].rows["none"][0]}
)
Table(rows, caption="Table 12. Without a threshold: the soft Dice of the probabilities.")

# %%
for cleaned in cleaning:
    errors = [row for row in rows if row[""] == cleaned]
    assert (np.diff([row["false positive slices"] for row in errors]) <= 0).all()
    assert (np.diff([row["false negative slices"] for row in errors]) >= 0).all()

# %% [markdown]
# ## 9. Slices with and without a tumour
#
# *Five minutes.*
#
# Table 10 scores the slices with a tumour, Table 11 all slices, and there every Dice is lower. **Before running:** a
# slice that is correctly left empty has no Dice (0 / 0). If such slices are left out, what makes Table 11 worse than
# Table 10?

# %%
rows, scored = [], {f"main network, {steps} steps": labels["average"]} | {name: runs[name][0][1] for name in pace}
for name, predicted in scored.items():
    for only in (True, False):
        scores = slice_scores(zip(predicted, truths, strict=True), only_tumour=only)
        rows.append({"system": name, "over": "slices with a tumour" if only else "all slices"} | scores._asdict())
Table(rows, caption="As Tables 10 and 11; false positives and negatives are counted over all slices in both.")

# %% [markdown]
# A slice with only false positives counts as 0 here. If the paper averaged like this, each Dice of Table 11 would be
# that of Table 10 times the share of tumour slices among the scored slices, so the published numbers can be checked
# without a network. The number of tumour slices is our inference: Table 9 counts *patches*, but has 121 per patient,
# which is the number of slices in a CT of this set. **Before running:** the Dice could agree by chance. Which other
# columns could refute this reading?

# %%
slices = sum(row[1] for name, row in msds_unet.TABLES[9].rows.items() if "test" in name)
rows = []
for name, row in msds_unet.TABLES[10].rows.items():
    share, theirs = slices / (slices + row[4]), msds_unet.TABLES[11].rows[name]
    expected = {"Dice": row[0] * share, "sensitivity": row[1], "precision": row[2] * share}
    published = dict(zip(("Dice", "sensitivity", "precision"), theirs, strict=False))
    rows += [{"system": name, "of": "our reading"} | expected, {"system": name, "of": "published"} | published]
Table(rows, caption="Table 11 as our reading predicts it, and as published.")

# %%
pairs = list(zip(rows[::2], rows[1::2], strict=True))
agree = {k: [a["system"] for a, b in pairs if abs(a[k] - b[k]) < 0.005] for k in ("Dice", "sensitivity", "precision")}
print(agree)
assert agree == {"Dice": ["res-unet-3d", "msds-unet", "msds-unet-gm"], "sensitivity": [], "precision": []}

# %% [markdown]
# The Dice of the authors' own three systems agrees, and nothing else does: by this reading their precision would be .54
# to .57 where .47 to .50 is published, and the sensitivity could not differ between the tables. So we do not know how
# Table 11 was averaged; our average is a choice.
#
# ## What we saw, and what we did not
#
# - **Shown:** a mask of the lungs' air loses nearly all tumour at a wall, and a margin of 20 mm recovers it. What we
#   wrote by hand, heads, fusion, losses and GradNorm's step, is what the library computes.
# - **Measured, with one training of 300 steps (seed 0), 33 tumours of eight patients:** side 1 has a Dice of .01 on
#   small tumours, .12 on medium and .39 on large ones; side 4, the output, .07, .63 and .88. Side 3 is ahead of it on
#   small ones (.15), level on medium ones (.63) and behind on large ones (.84). No output finds small tumours reliably
#   after so short a training.
# - **Not what the paper says:** the average of all sides, which the paper uses at test time, is worse here than side 4
#   alone, at every scale (.02, .56 and .85). A fusion of probabilities, as published, could not predict background; and
#   two rows of the paper's tables are, as we read them, one system.
# - **Not shown:** that deep supervision helps, that (124) is the best choice of sides, or that small tumours need four
#   of them. After the 96 steps of section 5 the outputs begin to look like tumours, but the mean Dice of a system lies
#   between .098 and .214, and two seeds of one system are up to .26 apart, more than the best and the worst system are.
#   Even so
#   four of the ten rows are below the full model after Holm's correction, among them (124), the paper's best: such a
#   test sees these networks, not the method. Without deep supervision the Dice is as high as with all of it (.17).
# - **Open:** all of this at the paper's size; `msds_unet.PREPROCESS` and `msds_unet.SETTINGS` hold the paper's
#   settings.
#
# [21_gradnorm](21_gradnorm.ipynb) adjusts α during training; [11_what_each_depth_sees](11_what_each_depth_sees.ipynb)
# measures what a side output of stride 8 can see.
#
# > **Use it / do not / unknown.** *Do not* average the sides at test time without a look at the output alone: here, and
# > with this budget, the output is better. *Unknown:* whether global and local side outputs make that output better.
# > The ablation above is too short to say, and on real images the study is prepared but not run. What they cost is
# > small: 0.3 % more weights, dropped after training. The plainest kind, a side output at each level's own size, does
# > help on hearts (+.015 Dice; [40_mss_unet](40_mss_unet.ipynb)).
#
# ## Read next
#
# - Dou et al. 2016, *3D deeply supervised network for automatic liver segmentation from CT volumes*,
#   <https://arxiv.org/abs/1607.00582>: global side outputs in 3-D, without the local ones.
# - Xie, Tu 2015, *Holistically-Nested Edge Detection*, <https://arxiv.org/abs/1504.06375>: learned fusion of side
#   outputs, the idea behind soft fusion.
# - Isensee et al. 2024, *nnU-Net Revisited*, <https://arxiv.org/abs/2404.09556>: what evidence for a new architecture
#   must look like.
#
# ## Exercises
#
# 1. Blank everything outside the lungs without a margin, `within_lungs(case, margin=0)`. Which share of the tumour
#    voxels is lost, and at which sites?
#
# <details><summary>A hint</summary>
#
# `share_kept` of section 1 takes any function from a case to a mask.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# def left_by(margin):
#     return share_kept(lambda c: within_lungs(c, margin=margin, crop=False).image > c.image.min())
#
#
# without, usual = left_by(0), left_by(20)
# print({site: f"{1 - without[site]:.0%} lost, with a margin of 20 mm {1 - usual[site]:.0%}" for site in without})
# assert without["pleura"] < usual["pleura"]
# ```
#
# Most of the tumour at a wall; a mean Dice over patients would hide it where the tumours in the middle of the lung are
# larger.
#
# </details>
#
# 2. Downsample the mask by area, `dsnotes.build("msds-unet", reduction="area")`. How many of the held-out tumours have
#    a target at stride 8 with each way?
#
# <details><summary>A hint</summary>
#
# `downsample_target(label, size, channels=1, how=…)` of each tumour alone; `extras["components"]` numbers them.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# from dsnotes.supervision import downsample_target
#
# kept_at_8 = {"nearest": 0, "area": 0}
# every = [(case, t) for case in test for t in case.extras["tumours"]]
# for case, tumour in every:
#     alone = torch.from_numpy((case.extras["components"] == tumour["component"]).astype(np.int64))[None]
#     size = tuple(max(n // 8, 1) for n in case.space)
#     for how in kept_at_8:
#         kept_at_8[how] += bool(downsample_target(alone, size, channels=1, how=how).any())
# print(f"of {len(every)} tumours have a target at stride 8: {kept_at_8}")
# assert kept_at_8["nearest"] <= kept_at_8["area"] == len(every)
# ```
#
# By area all have one, though a small tumour's is a voxel of a few percent; with the nearest voxel the small ones often
# have none.
#
# </details>
