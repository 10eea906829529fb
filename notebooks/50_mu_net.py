# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # µ-Net: the features of the mask are the label
#
# Deep supervision compares a deep layer's prediction with a downsampled mask. This paper objects that the two differ in
# meaning: the layer's map has passed through many convolutions, the small mask through none. So it gives the *mask* to
# the network as an input, and uses the features computed from the mask as labels for the features computed from the
# image. You will
#
# - build by hand, and check against the library, the pass of the mask, a second decoder made of the encoder's own
#   kernels, and the eight terms of the loss, one after the other;
# - look at the *semantic difference*, and at the features of the mask level by level;
# - measure how similar such labels are to the features that learn from them, which the paper's *Similarity Principle*
#   wants "similar but not identical", with pure noise as a control;
# - see how batch norm changes the effect of such a loss weight, and how long training can stay on a plateau;
# - find that a network which marks nothing still gets a quarter of the full score;
# - train Table 4's six systems with several seeds, check with Table 5 whether fewer epochs make up for more expensive
#   ones, and move through these trainings with a slider on the weights $\lambda$ and $\eta$.
#
# Paper: Yuan, Xu, Tian, Wang, Zhan, Lukasiewicz 2023, *µ-Net: Medical image segmentation using efficient and effective
# deep supervision*, <https://doi.org/10.1016/j.compbiomed.2023.106963>. The authors trained networks of 64 to 1024
# channels for hours; here we use 8 to 128 channels and phantoms, or your own images: `data="…"` names a folder in the
# Decathlon's layout. Needs a CPU and about eight minutes; with `smoke=True` less than one. Reading takes an hour; the
# time of every section is for reading and running together. Words such as *side output* and *backbone* are in the
# [glossary](../site/pages/glossary.md).

# %% tags=["parameters"]
epochs: int = 15  # maximum per training
seeds: int = 3  # trainings per system, each from other initial weights
weights: str = "3 5 2 2 1 1"  # α β a b λ η of the losses, or the paper's for brats, cardiac, spleen or liver
rows: str = "unet-deep unet-auto mu-net-seg mu-net-rec"  # of Table 4, trained in addition to U-Net and µ-Net-Hyb
steps: int = 900  # of each long run of section 7, which is evaluated three times
data: str = ""  # a dataset folder to use instead of the phantoms, such as data/ACDC; all its labels become one
smoke: bool = False  # a minute at most: everything small, one seed

# %%
import copy
import time
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import dsnotes
from dsnotes import runs
from dsnotes.data import Case, phantoms
from dsnotes.data.crops import read_crops
from dsnotes.metrics import holm, linear_cka, paired_t_test, smallest_difference
from dsnotes.papers import mu_net
from dsnotes.runs.verdict import brief_rows, stored
from dsnotes.supervision import downsample_target, loss_terms
from dsnotes.supervision.pseudo_labels import as_image, two_passes
from dsnotes.training.settings import twice_best
from dsnotes.viewers import (
    Comparison,
    Guess,
    SecondDecoder,
    Table,
    TrainingMovie,
    architecture,
    boxes,
    curves,
    explore,
    features,
    maps,
    progress,
    side_by_side,
    style,
)
from dsnotes.viewers.forest_plot import forest_plot

patients, tested, validated, each = (24, 10, 4, 4) if not smoke else (5, 2, 1, 2)
if smoke:
    epochs, seeds, steps = 2, 1, 6

# %%
with torch.device("meta"):  # the published size, without its memory
    paper = dsnotes.build("mu-net-hyb").network
places = [*paper.backbone.sides(), "stride16"]
compared_with = [
    Comparison("stride1", "S(X)", "the mask G", "α, BCE/2 + 1 − Dice"),
    Comparison("stride1", "S(G)", "the mask G", "β, the same"),
    Comparison("stride1", "S(X)", "S(G), R(G)", "1, the same"),
    Comparison("second", "R(X)", "the image X", "b, BCE"),
    Comparison("second", "R(G)", "the mask G", "a, BCE"),
    *(Comparison(at, "features of X", "of G, in S and in R", "λ, η: squared") for at in places),
]
tied = SecondDecoder("R (tied)", tuple(level.channels for level in paper.backbone.sides().values()))
architecture(paper, compared_with, second=tied, title="µ-Net as published: X is the image, G the mask as an input")

# %% [markdown]
# ## 1. Slices of an organ
#
# *Three minutes.*
#
# As in the paper, we use transverse slices with one grey channel, drop empty slices, scale grey values to z-scores, and
# split by patients (here phantoms with kidneys) into training, validation and test. Kidney and tumour are one label.

# %%
if data:
    raw, names = read_crops(data, size=(16, 64, 64), most=patients)
    tested, validated = max(1, 10 * len(raw) // 24), max(1, len(raw) // 6)
else:
    raw, names = phantoms.kidneys(patients, seed=0, size=(24, 64, 64)), {1: "kidney", 2: "tumour"}
dsnotes.show(raw[0], names=names, window="soft" if not data else None)


# %%
def slices(case, n):
    """`n` evenly spaced slices with the organ, each a 2-D case."""
    with_organ = np.flatnonzero((case.label > 0).any((1, 2)))
    chosen = with_organ[np.unique(np.linspace(0, len(with_organ) - 1, n).round().astype(int))]
    cut = case.image[chosen] if data else np.clip(case.image[chosen], -200, 300)
    scaled = [(x - x.mean()) / x.std() for x in cut]
    masks = (case.label[chosen] > 0).astype(np.uint8)
    return [Case(f"{case.name}-{z}", x, y, case.spacing[1:]) for z, x, y in zip(chosen, scaled, masks, strict=True)]


test = [slices(case, each + 2) for case in raw[:tested]]
val = [one for case in raw[tested : tested + validated] for one in slices(case, each)]
train = [one for case in raw[tested + validated :] for one in slices(case, each)]
print(f"{len(train)} slices train, {len(val)} validate, {sum(map(len, test))} of {tested} patients test")
print(f"{np.mean([one.label.mean() for one in train]):.1%} of their pixels are the organ")

# %% [markdown]
# ## 2. A score that rewards empty predictions, and a stopping rule that relies on it
#
# *Three minutes.*
#
# The paper scores Dice, PPV, sensitivity and IoU, each with $\varepsilon = 1$ added to numerator and denominator.
# Training stops at twice the number of the best epoch, measured by the mean of the four. **Before running:** a network
# marks nothing at all. What are its four scores?

# %%
nothing = Guess("What is the mean of the four scores of a network that marks nothing?")

# %%
four = ("dice", "ppv", "sensitivity", "iou")
one = test[0][len(test[0]) // 2]
silent = dsnotes.score(np.zeros_like(one.label), one.label, spacing=one.spacing, eps=1)
print(", ".join(f"{name} {silent[name]:.3f}" for name in four), f"-> mean {np.mean([silent[m] for m in four]):.3f}")
assert silent["ppv"] == 1
nothing.compare(float(np.mean([silent[m] for m in four])), "Its PPV is (0 + 1) / (0 + 1), the others are almost 0.")

# %% [markdown]
# Its PPV is $(0 + 1) / (0 + 1)$, perfect. So an empty prediction scores about a quarter, more than the first poor
# predictions that follow it, and the "best so far" may be an epoch in which nothing was found. If the first epoch is
# the best, the rule ends the run after the second:

# %%
assert twice_best([0.29, 0.29])
assert not twice_best([0.29, 0.35])

# %% [markdown]
# With thousands of images per epoch this is unlikely; with few it happens. We apply the rule as published, but never
# before half of the allowed epochs.
#
# ## 3. Two passes, two decoders, eight terms
#
# *Fifteen minutes.*
#
# Let $S$ be the segmentation decoder and $R$ the restoring one, each on top of the encoder; $X$ is the image and $G$
# the mask as an input image. Everything the paper adds to a U-Net can be built on one screen each.
#
# **The pass of the mask.** $S(G)$ is the same network with the mask as its input. In training each pass is normalised
# by its own batch; the *running* statistics used at test time must come from images alone, because no mask is available
# then. By hand we lend the second pass a copy of them:

# %%
hyb, plain = "mu-net-hyb", "unet-2d"
torch.manual_seed(0)
start = dsnotes.build(hyb, width=8)
x = torch.from_numpy(np.stack([one.image for one in train[:4]]))[:, None]
y = torch.from_numpy(np.stack([one.label for one in train[:4]])).long()
g = y[:, None].float()  # the mask as an image: 0 and 1 in one channel


def mask_pass_by_hand(network, g):
    """S(G) and R(G), with the running statistics left as they were."""
    copies = {name: buffer.clone() for name, buffer in network.named_buffers()}
    return torch.func.functional_call(network, copies, (g,))


# %%
network, same = (copy.deepcopy(start.network).train() for _ in range(2))
on_x, on_g = network(x), mask_pass_by_hand(network, g)
for name, ours in on_x.features.items():
    print(f"{name:9} features of the image {tuple(ours.shape)}, of the mask {tuple(on_g.features[name].shape)}")
_, by_library = two_passes(same, x, as_image(y, 2, x))
assert torch.allclose(on_g.logits, by_library.logits)
assert all(torch.allclose(on_g.features[name], f) for name, f in by_library.features.items())
assert all(torch.equal(a, b) for a, b in zip(network.buffers(), same.buffers(), strict=True) if a.is_floating_point())

# %% [markdown]
# **The second decoder.** Where the encoder convolves with a kernel $w$, $R$ convolves *transposed* with the same $w$:
# from the bottleneck upwards, level by level, first with the second kernel of the level and then with the first. Only
# biases and norms are its own. A transposed convolution is the adjoint of the convolution, its backward pass, not its
# inverse.


# %%
class TiedByHand(nn.Module):
    """R: the encoder's kernels, transposed, in the opposite order."""

    def __init__(self, backbone):
        super().__init__()
        blocks = [*backbone.encoder, backbone.bottleneck]
        self.pairs = [[m for m in block.modules() if isinstance(m, nn.Conv2d)] for block in blocks]  # no parameters
        self.bias_b = nn.ParameterList(torch.zeros(b.in_channels) for _, b in self.pairs)
        self.bias_a = nn.ParameterList(torch.zeros(a.in_channels) for a, _ in self.pairs)
        self.norm_b = nn.ModuleList(nn.BatchNorm2d(b.in_channels) for _, b in self.pairs)
        self.norm_a = nn.ModuleList(nn.BatchNorm2d(a.in_channels) for a, _ in self.pairs[1:])

    def forward(self, z):
        maps = {f"stride{2 ** (len(self.pairs) - 1)}": z}  # the bottleneck, which S and R share
        for level in reversed(range(len(self.pairs))):
            a, b = self.pairs[level]
            z = functional.conv_transpose2d(z, b.weight, self.bias_b[level], padding=1)
            z = functional.relu(self.norm_b[level](z))  # (B, widths[level], H / 2^level, W / 2^level)
            if level < len(self.pairs) - 1:
                maps[f"stride{2**level}"] = z
            z = functional.conv_transpose2d(z, a.weight, self.bias_a[level], padding=1)
            if level:
                z = functional.relu(self.norm_a[level - 1](z))
                z = functional.interpolate(z, scale_factor=2, mode="nearest")  # to the level above
        return z, maps  # z: logits of the restored image


# %%
r = TiedByHand(network.backbone)
r.load_state_dict(network.heads["tied"].state_dict())  # our names are the library's
restored, r_maps = r.train()(network.backbone.encode(x).bottleneck)
print("R(X)", tuple(restored.shape), {name: tuple(m.shape[1:]) for name, m in r_maps.items()})
assert torch.allclose(restored, on_x.restored, atol=1e-5)
assert all(torch.allclose(r_maps[name], m, atol=1e-5) for name, m in on_x.restored_features.items())
kernel = network.backbone.encoder[0][0][0].weight  # its gradient is a sum over both of its uses
pull = [torch.autograd.grad(z.square().mean(), kernel, retain_graph=True)[0] for z in (restored, on_x.restored)]
assert torch.allclose(*pull, rtol=1e-3, atol=1e-6)

# %% [markdown]
# **The eight terms.** With $S_i$ and $R_i$ the features at level $i$ and $L_{BD}$ = cross-entropy / 2 + 1 − Dice, the
# hybrid's loss is
#
# $\alpha L_{BD}(S(X), G) + \beta L_{BD}(S(G), G) + a\,\mathrm{BCE}(R(G), G) + b\,\mathrm{BCE}(R(X), X)$
# $+ L_{BD}(S(X), S(G)) + L_{BD}(S(X), R(G))$
# $+ \lambda \sum_i \mathrm{MSE}(S_i(X), S_i(G)) + \eta \sum_i \mathrm{MSE}(S_i(X), R_i(G))$.
#
# In the fourth term $X$ is scaled to 0 … 1, as a cross-entropy needs. The published equations contain errors, such as
# the logarithm on the wrong argument; these terms follow the paper's text. The outputs computed from the mask are
# treated as labels and get no gradient from these comparisons: this is our choice, since the paper does not say.
#
# The paper searched the weights for each dataset on a grid of 1 … 10 (Fig. 5); here `weights` is a parameter. Its
# default is what the paper found for the spleen, an organ in CT like ours, but with $\lambda = \eta = 1$, the lowest
# value of that grid. Sections 7 and 8 train both.

# %%
greek = {"output": "α", "mask": "β", "restored_mask": "a", "restored_image": "b"} | {
    "features": "λ",
    "restored_features": "η",
}
chosen = dict(zip(greek, mu_net.PRESETS.get(weights) or map(float, weights.split()), strict=True))
presets = {name: dict(zip(greek, values, strict=True)) for name, values in mu_net.PRESETS.items()}
Table(
    {"found for": name} | {greek[term]: f"{x:g}" for term, x in of.items()}
    for name, of in (presets | {"this run": chosen}).items()
)

# %% [markdown]
# Now the terms are added one after the other: the plain segmentation first, then what the mask's pass brings, then what
# the second decoder brings. **Before running:** which of them is the largest at the start?

# %%
largest = Guess("Which term is the largest before training?")


# %%
def bce(logits, t):
    return -(t * functional.logsigmoid(logits) + (1 - t) * functional.logsigmoid(-logits)).mean()


def l_bd_by_hand(logits, t):
    """Cross-entropy / 2 + 1 − Dice, the Dice of every image with a plain denominator."""
    p = logits.sigmoid()
    overlap, size = 2 * (p * t).sum((2, 3)), p.sum((2, 3)) + t.sum((2, 3))  # (B, 1)
    return bce(logits, t) / 2 + (1 - (overlap + 1e-5) / (size + 1e-5)).mean()


def distance(ours, labels):
    """Σ over the levels of the mean squared difference; labels get no gradient."""
    return sum((ours[name] - labels[name].detach()).square().mean() for name in ours)


# %%
w, low, high = chosen, x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
eight = {
    "output": w["output"] * l_bd_by_hand(on_x.logits, g),
    "mask": w["mask"] * l_bd_by_hand(on_g.logits, g),
    "agree": l_bd_by_hand(on_x.logits, on_g.logits.sigmoid().detach()),
    "features": w["features"] * distance(on_x.features, on_g.features),
    "restored mask": w["restored_mask"] * bce(on_g.restored, g),
    "agree restored": l_bd_by_hand(on_x.logits, on_g.restored.sigmoid().detach()),
    "restored features": w["restored_features"] * distance(on_x.features, on_g.restored_features),
    "restored image": w["restored_image"] * bce(on_x.restored, (x - low) / (high - low)),
}

# %%
goal = replace(start.objective, **chosen)
library = loss_terms(goal, same, {"image": x, "label": y})
kernels, added, total = [net.backbone.encoder[0][0][0].weight for net in (network, same)], [], 0.0
for name, term in eight.items():
    assert torch.allclose(term, library[name], rtol=1e-4), name
    pulls = [
        torch.autograd.grad(t, k, retain_graph=True)[0] for t, k in zip((term, library[name]), kernels, strict=True)
    ]
    assert torch.allclose(*pulls, rtol=1e-2, atol=1e-5), name
    total = total + term
    added += [{"+ term": name, "value": term.item(), "sum so far": total.item(), "gradient": pulls[0].norm().item()}]
Table(added, caption="Untrained; the gradient is its norm at the encoder's first kernel")

# %%
assert list(eight) == list(library)
most, pulling = max(eight, key=lambda name: eight[name].item()), max(added, key=lambda row: row["gradient"])
largest.compare(most, f"But the largest gradient at the encoder's first kernel is that of '{pulling['+ term']}'.")

# %% [markdown]
# The effect of a weight of 8 depends on the magnitude of the features, and the paper does not say which norm its
# network has. **Before running:** below are the gradients of the terms of U-Net-Deep with the spleen's loss weights,
# untrained, with batch norm and without any norm. In which network does the feature term outweigh the output's, and in
# which is it smaller?


# %%
def gradient_norms(system, x, y, weight=None):
    """Norm of each term's gradient at one weight, by default that of the encoder's first convolution."""
    net = copy.deepcopy(system.network).train()
    terms = loss_terms(system.objective, net, {"image": x, "label": y})
    weight = net.backbone.encoder[0][0][0].weight if weight is None else net.get_parameter(weight)
    return {name: torch.autograd.grad(t, weight, retain_graph=True)[0].norm().item() for name, t in terms.items()}


few = [torch.from_numpy(np.stack([getattr(one, what) for one in train[:8]])) for what in ("image", "label")]
starts = {}
for norm in ("batch", "none"):
    torch.manual_seed(0)
    starts[norm] = dsnotes.build("unet-deep", width=8, preset="spleen", norm=norm)
pull = {norm: gradient_norms(s, few[0][:, None], few[1].long()) for norm, s in starts.items()}
Table({"norm": norm, **of} for norm, of in pull.items())

# %%
times = {norm: of["features"] / of["output"] for norm, of in pull.items()}
print(f"features against output: × {times['batch']:.2f} with batch norm, × {times['none']:.4f} without")
assert times["batch"] > 10 * times["none"]

# %% [markdown]
# With batch norm every compared map has unit variance, however small the activations were; without a norm they shrink
# from layer to layer, and their squared distance with them. So the choice of norm changes the effect of $\lambda$, and
# a published $\lambda$ without its norm is incomplete. `preset="spleen-batch-norm"` is the spleen's with $\lambda$ and
# $\eta$ divided by ten; `benchmarks/mu_net_weights.py` shows how that was found, on real hearts.

# %%
budget = replace(mu_net.SETTINGS, patch=(64, 64), epochs=epochs, lr=5e-3, stop="never")
quiet = {"amp": False, "progress": False}
films = {}  # of the runs with seed 0
l_bd = {"cross_entropy": 0.5, "squared": False, "over_batch": False}  # the plain U-Net on the paper's own L_BD, alone


def over(history):
    """The rule "2 × best epoch", but not before half of the epochs."""
    return len(history) >= epochs // 2 and twice_best(history["val_score"])


def trained(name, seed, **other):
    """A row of Table 4 after training: the system, its history, and the processor seconds that it took."""
    torch.manual_seed(seed)
    system = dsnotes.build(name, width=8)
    weights = l_bd if name == plain else chosen | other
    system = replace(system, objective=replace(system.objective, **weights))
    film = TrainingMovie(system, val[len(val) // 2], then=over)
    began = time.process_time()
    history = dsnotes.fit(system, train, val, settings=budget, seed=seed, on_epoch=film if seed == 0 else over, **quiet)
    if seed == 0:
        films[name, *other.values()] = film
    return system, history, time.process_time() - began


torch.manual_seed(0)
dsnotes.fit(dsnotes.build(hyb, width=8), train[:4], val[:4], settings=budget, epochs=1, **quiet)  # warm-up, not timed
untrained = dsnotes.build(hyb, width=8)
found = {(name, 0): trained(name, 0) for name in progress((hyb, plain))}
system, history, _ = found[hyb, 0]
curves.plot(history, title="µ-Net-Hyb")

# %%
last = {name: history[-1][name] for name in ("output", "features", "restored features")}
print(f"the last epoch's loss is {history[-1]['loss']:.1f}; of it", {k: round(v, 2) for k, v in last.items()})

# %%
films[hyb,].animate()

# %% [markdown]
# ## 4. The semantic difference, and the features of the mask
#
# *Five minutes.*
#
# On the left is a deep map of the decoder; in the middle the downsampled mask, with which usual deep supervision
# compares that depth; on the right the same channel when the mask is the input. **Before running:** which of the other
# two is more like the first?

# %%
image = torch.from_numpy(np.stack([one.image for of in test for one in of]))[:, None]
label = torch.from_numpy(np.stack([one.label for of in test for one in of])).long()
grey = as_image(label, 2, image)


@torch.no_grad()
def passes(system):
    """The outputs on the image and on the mask, with the batch's own statistics as in training."""
    return two_passes(copy.deepcopy(system.network).train(), image, grey)


on_image, on_mask = passes(system)
level, i = "stride4", 2
small = {name: downsample_target(label, m.shape[2:], channels=1, how="area") for name, m in on_image.features.items()}
channel = int(on_image.features[level][i].flatten(1).std(1).argmax())
maps(
    {"the image's features": on_image.features[level][i, channel]}
    | {"the mask made small": small[level][i, 0], "the mask's features": on_mask.features[level][i, channel]},
    window="each",
    title=f"{level}, channel {channel}",
)

# %% [markdown]
# The small mask shows only *where* the organ is. A channel of the network encodes something else as well. With the mask
# as input, the network's features are of the same kind.
#
# Now all levels: the image through $S$, the mask through $S$, and the mask through $R$. Both decoders start from the
# same deepest map.

# %%
features(
    {"S, image": on_image.features, "S, mask": on_mask.features, "R, mask": on_mask.restored_features},
    image=i,
    channels={name: int(m[i].flatten(1).std(1).argmax()) for name, m in on_image.features.items()},
)

# %%
maps(
    {
        "image": {"input": image[i, 0], "restored": on_image.restored.sigmoid()[i, 0]},
        "mask": {"input": grey[i, 0], "restored": on_mask.restored.sigmoid()[i, 0]}
        | {"segmented": on_mask.logits.sigmoid()[i, 0]},
    },
    window="each",
    title="The outputs of both passes",
)

# %% [markdown]
# ## 5. A decoder made of the encoder's kernels
#
# *Five minutes.*
#
# A transposed convolution is the adjoint,
# $\langle \mathrm{conv}(u), v \rangle = \langle u, \mathrm{conv}^T(v) \rangle$, here in double precision:

# %%
tied, kernel = system.network.heads["tied"], system.network.backbone.encoder[2][0][0].weight.detach().double()
u, v = torch.randn(1, kernel.shape[1], 16, 16).double(), torch.randn(1, kernel.shape[0], 16, 16).double()
there = (functional.conv2d(u, kernel, padding=1) * v).sum()
back = (u * functional.conv_transpose2d(v, kernel, padding=1)).sum()
print(f"<conv(u), v> = {there:.9f}, <u, conv_T(v)> = {back:.9f}")
assert torch.isclose(there, back)

# %% [markdown]
# **Before running:** one encoder kernel is multiplied by 1.5, while the encoder's features are kept unchanged. Which of
# the two decoders changes its output?

# %%
turned = copy.deepcopy(system.network).eval()
with torch.no_grad():
    seen = turned.backbone(image)
    before, segmented = turned.heads["tied"](seen, image)["restored"].sigmoid(), turned.backbone(image).logits
    turned.backbone.encoder[2][0][0].weight *= 1.5
    after = turned.heads["tied"](seen, image)["restored"].sigmoid()
maps(
    {"image": image[i, 0], "restored": before[i, 0], "restored after": after[i, 0], "change": (after - before)[i, 0]},
    window="each",
)

# %%
own_kernels = [name for name, p in tied.named_parameters() if p.ndim > 1]
print(f"restored values move by up to {(after - before).abs().max():.3f}; kernels of R itself: {own_kernels}")
assert not torch.equal(after, before)
assert own_kernels == []
with torch.device("meta"):
    counts = {n: sum(p.numel() for p in dsnotes.build(n).network.parameters()) for n in (plain, hyb, "unet-auto")}
print("at the paper's widths:", {name: f"{count:,}" for name, count in counts.items()})
assert counts[hyb] - counts[plain] == 8_833

# %% [markdown]
# $R$ does, because it shares the encoder's kernels: it adds only biases and norms, 8,833 parameters to 31 million. The
# autoencoder of U-Net-Auto, which it replaces, adds 28 million. The paper expects $R$ to give the encoder's first
# layers a short path to a loss. Which of the losses have a large gradient there?

# %%
untrained = replace(untrained, objective=system.objective)
Table(
    {"": when, **gradient_norms(s, image[:8], label[:8])}
    for when, s in {"first weights": untrained, "trained": system}.items()
)

# %% [markdown]
# Before training the restored mask and the restored image have the largest gradients, thirteen and five times the
# output's. Afterwards the norms of all terms but `agree` and `agree restored` lie between .18 and .31, the output's
# among them. So there is a short path, and it matters most early in training.
#
# ## 6. Similar, but not identical?
#
# *Ten minutes.*
#
# How similar are the image's features and their labels? We use two measures. The *distance* is the mean squared
# difference divided by the label's mean square (an all-zero map has 1). *CKA* (centred kernel alignment) is 1 where two
# layers encode the same at the same places, up to a rotation and scaling of the channels.
#
# A network can satisfy both trivially: if it ignores its input, image and mask have the same features. So each number
# has a control, the features of **pure noise**, which has nothing in common with the image. Only the mask's excess over
# the noise is evidence of common meaning. Two networks are controls as well: the plain U-Net, trained by $L_{BD}$
# alone, never had a mask as input; the hybrid with $\lambda = \eta = 0$ had, but compared no features. **Before
# running:** what should the noise's numbers be in a network that depends on its input?

# %%
for _ in progress(["λ = η = 0"]):
    found["λ = η = 0", 0] = trained(hyb, 0, features=0.0, restored_features=0.0)
noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))


def cka_of(ours, theirs):
    """CKA of two maps, pixel by pixel."""
    return linear_cka(*(x.movedim(1, -1).flatten(0, -2).numpy() for x in (ours, theirs)))


def compared(s, name):
    """One level of one system: the image's features against every candidate label, and against those of noise."""
    x, g = passes(s)
    with torch.no_grad():
        noisy = copy.deepcopy(s.network).train()(noise)
    ours, labels = x.features[name], {"S(mask)": g.features[name], "R(mask)": g.restored_features.get(name)}
    labels["S(noise)"] = noisy.features[name]
    cka = {"small mask": cka_of(ours, small[name])} | {k: cka_of(ours, t) for k, t in labels.items() if t is not None}
    far = {k: (functional.mse_loss(ours, t) / t.square().mean()).item() for k, t in labels.items() if t is not None}
    return {f"CKA {k}": v for k, v in cka.items()} | {f"distance {k}": v for k, v in far.items()}


states = {"Hyb, first weights": untrained, "U-Net, L_BD alone": found[plain, 0][0]}
states |= {"Hyb, λ = η = 0": found["λ = η = 0", 0][0], "Hyb, trained": system}
similarity = {(state, name): compared(s, name) for state, s in states.items() for name in small}
Table([{"level": name, "network": state} | row for (state, name), row in similarity.items()])

# %%
curves.lines(
    {
        f"{state}: {what}": {name: similarity[state, name][f"CKA S({what})"] for name in small}
        for state in ("U-Net, L_BD alone", "Hyb, λ = η = 0", "Hyb, trained")
        for what in ("mask", "noise")
    },
    y="CKA with the image's features",
    title="Similarity to the image's features: of the mask, and of noise",
)


# %%
def mean(state, what):
    """Over the decoder's levels, the deepest map left out: S and R share it."""
    return np.mean([similarity[state, name][what] for name in list(small)[:-1]])


for state in states:
    print(f"{state:20}", ", ".join(f"{what} {mean(state, what):.2f}" for what in similarity[state, "stride1"]))

# %% [markdown]
# Before training the features in the decoder are hardly similar, although both passes go through the same number of
# convolutions: training, not equal depth, makes them similar. Afterwards the hybrid's features of image and mask have a
# CKA of .65, averaged over the levels, but those of image and *noise* have .24: part of the similarity is there
# whatever the input. The mask's excess over the noise is .41. It is .06 in the U-Net that never saw a mask, and .27 in
# the hybrid that saw masks but compared no features. So training with the mask as an input makes the features alike.
# Whether the feature terms add to it, these trainings of one seed do not show.

# %%
if not smoke:
    beyond = {state: mean(state, "CKA S(mask)") - mean(state, "CKA S(noise)") for state in states}
    print({state: round(x, 2) for state, x in beyond.items()})
    assert min(beyond["Hyb, trained"], beyond["Hyb, λ = η = 0"]) > beyond["U-Net, L_BD alone"] + 0.1
    assert mean("Hyb, trained", "CKA S(noise)") > 0.1, "noise alone gives some of the CKA"

# %% [markdown]
# ## 7. Long runs, evaluated three times
#
# *Five minutes, of which three run.*
#
# What happens with the published weights? Three networks train for the same number of steps, at a constant learning
# rate: U-Net-Deep with the spleen's weights, where $\lambda = 8$; the same with $\lambda$ divided by ten; and the U-Net
# on $L_{BD}$. Each is *one* run, evaluated after a third, two thirds and all of its steps. **Before running:** which
# numbers would distinguish a network on a plateau from one that learns slowly?

# %%
long = replace(budget, epochs=6, iterations=steps // 6, lr=2e-3, schedule="constant")
runs_of = {"U-Net, L_BD": (plain, "brats"), "Deep, λ = 8": ("unet-deep", "spleen")}
runs_of |= {"Deep, λ = 0.8": ("unet-deep", "spleen-batch-norm")}
looks, marked = [], {}


def evaluate(history, s, shown):
    """After every second epoch, add the validation Dice and the similarity of the features to `looks`."""
    if len(history) % 2 == 0:
        row = {"run": shown, "steps": len(history) * steps // 6, "Dice": history[-1]["val_dice"]}
        looks.append(row | {k: v for k, v in compared(s, "stride8").items() if "S(" in k})


def watched(name, preset, shown):
    """One training, evaluated three times."""
    torch.manual_seed(1)
    s = dsnotes.build(name, width=8, **({} if name == plain else {"preset": preset}))
    s = replace(s, objective=replace(s.objective, **l_bd)) if name == plain else s
    history = dsnotes.fit(s, train, val, settings=long, seed=1, on_epoch=lambda h: evaluate(h, s, shown), **quiet)
    marked[shown] = {(e + 1) * steps // 6: x for e, x in enumerate(history["val_dice"])}


for shown, (name, preset) in progress(runs_of.items()):
    watched(name, preset, shown)
Table(looks, caption="At stride 8; distances divided by the label's mean square")

# %%
curves.lines(marked, x="step", y="Dice in validation", title="Three runs")

# %% [markdown]
# The U-Net has a Dice of .96 at the first evaluation and stays there. U-Net-Deep with $\lambda = 8$ has .87, .94 and
# .94, and its features at stride 8 are nearly as similar to those of *noise* (CKA .98) as to those of the mask (.99):
# features that ignore their input make the squared error vanish, and the feature term rewards that. With a tenth of it
# noise has a CKA of .36 at first, and the Dice is .92, .89 and .96. The run with $\lambda = 8$ is on a plateau: that is
# not its final result, and a training that stops there says nothing about the method's end result. How long it lasts
# depends on the seed and on $\lambda$: on real hearts, with three seeds, the published weights are still behind when a
# tenth of them has caught up with the plain U-Net (`benchmarks/results/mu_net_weights.md`).

# %% [markdown]
# ## 8. Tables 4 and 5
#
# *Fifteen minutes, of which six run.*
#
# All rows are trained with the same loss weights, slices and stopping rule. Two more rows test the feature terms: the
# hybrid without them ($\lambda = \eta = 0$; the second decoder, the pass of the mask and the agreement of the outputs
# stay), and the hybrid with all weights as published for the spleen.
#
# **What can this show?** A paired test finds a mean difference that is large enough beside the spread of the
# differences over the patients. We do not know that spread yet. If it is as large as the spread of one system's scores,
# the smallest mean difference that is found with a probability of 80 % is:


# %%
def scored(system, patient):
    """The four metrics of one patient: the mean over the slices."""
    labels = [dsnotes.to_label(dsnotes.predict(system, one)) for one in patient]
    each = [dsnotes.score(p, one.label, spacing=one.spacing, eps=1) for p, one in zip(labels, patient, strict=True)]
    return {metric: float(np.mean([figures[metric] for figures in each])) for metric in four}


before = [scored(system, patient)["dice"] for patient in test]
if len(test) > 1:
    spread = np.std(before, ddof=1)
    print(f"Dice of one system: spread {spread:.3f} over {len(test)} patients, ", end="")
    print(f"smallest difference {smallest_difference(spread, len(test)):.3f}; the paper's gain on the spleen is .083")

# %% [markdown]
# **Before running:** what do you expect of $\lambda$ and $\eta$ at 0, at 1, and at 8 and 6?

# %%
wins = Guess("Which weights give the hybrid the best Dice?", ["λ = η = 0", "those of this run", "as published"])

# %%
others = {"hyb, λ = η = 0": {"features": 0.0, "restored_features": 0.0}, "hyb, as for the spleen": presets["spleen"]}
found["hyb, λ = η = 0", 0] = found.pop(("λ = η = 0", 0))
table = [plain, *(name for name in rows.split() if name not in (plain, hyb)), hyb, *others]
for name, seed in progress(key for key in product(table, range(seeds)) if key not in found):
    found[name, seed] = trained(hyb if name in others else name, seed, **others.get(name, {}))


# %%
results = {key: [scored(s, patient) for patient in test] for key, (s, _, _) in found.items()}


def of(name, metric):
    """One metric of one row, as (seeds, patients)."""
    return np.array([[patient[metric] for patient in results[name, seed]] for seed in range(seeds)])


boxes(
    {m: {name: of(name, m).mean(0) for name in table if name not in others} for m in ("dice", "sensitivity")},
    y="of one patient, mean over seeds",
    title=f"{tested} patients, {seeds} seed{'s' * (seeds > 1)}, at most {epochs} epochs",
    limits=(0, 1),
)

# %%
boxes(
    {metric: {name: of(name, metric).mean(0) for name in (hyb, *others)} for metric in four},
    y="of one patient, mean over seeds",
    title="The hybrid at other weights of its features",
    limits=(0, 1),
)

# %%
dice = {name: of(name, "dice") for name in table}
pairs = [(hyb, name) for name in table if name != hyb]
pairs += [(a, b) for a, b in (("unet-auto", "unet-deep"), ("mu-net-rec", "mu-net-seg")) if {a, b} <= set(table)]
tests = {pair: paired_t_test(dice[pair[0]].mean(0), dice[pair[1]].mean(0)) for pair in pairs}
corrected = dict(zip(pairs, holm([t.p for t in tests.values()]), strict=True))
Table(
    [
        {"Dice of": a, "minus": b, "mean": f"{tests[a, b].difference:+.3f}", "p": corrected[a, b]}
        | {"per seed": " ".join(f"{d:+.3f}" for d in (dice[a] - dice[b]).mean(1))}
        for a, b in pairs
    ],
    caption=f"{tested} patients; paired t-test over patients on the means of {seeds} seeds, after Holm.",
)

# %% [markdown]
# The patient on whom hybrid and U-Net differ most, side by side (seed 0, the middle slice):

# %%
patient = int(np.abs((dice[hyb] - dice[plain]).mean(0)).argmax())
middle_slice = test[patient][len(test[patient]) // 2]
side_by_side(middle_slice, {n: dsnotes.to_label(dsnotes.predict(found[n, 0][0], middle_slice)) for n in (plain, hyb)})

# %%
apart = {b: dice[hyb] - dice[b] for a, b in pairs if a == hyb}
Table(
    [
        {"hybrid minus": name, "mean": d.mean(), "smallest found, patients": smallest_difference(o.std(ddof=1), len(o))}
        | ({"smallest found, seeds": smallest_difference(d.mean(1).std(ddof=1), len(d))} if seeds > 1 else {})
        for name, d in apart.items()
        for o in [d.mean(0)]
        if len(o) > 1
    ],
    caption="With the true spread of the differences: a mean below the smallest found is no evidence",
)

# %%
means = {"λ = η = 0": dice["hyb, λ = η = 0"].mean(), "those of this run": dice[hyb].mean()}
means["as published"] = dice["hyb, as for the spleen"].mean()
wins.compare(max(means, key=means.get), "Dice " + ", ".join(f"{m:.2f} ({name})" for name, m in means.items()) + ".")

# %% [markdown]
# **Through the training.** One validation slice of seed 0, after every epoch, with each of the three weightings. In a
# browser, move the sliders.

# %%
watched_runs = {
    "0, 0": ("hyb, λ = η = 0", films[hyb, 0.0, 0.0]),
    f"{chosen['features']:g}, {chosen['restored_features']:g}": (hyb, films[hyb,]),
    "8, 6 as published": ("hyb, as for the spleen", films[hyb, *presets["spleen"].values()]),
}


def at_epoch(weights, epoch):
    """Validation Dice of all weightings with the chosen one in front, and its prediction after the chosen epoch."""
    with style.look():
        figure = style.sheet(9.0, 2.9)
        axes = figure.subplots(1, 3, width_ratios=(2.2, 1, 1))
        for number, (name, (row, _)) in enumerate(watched_runs.items()):
            y = found[row, 0][1]["val_dice"]
            front = 2.4 if name == weights else 0.9
            axes[0].plot(range(1, len(y) + 1), y, **style.stroke(number), linewidth=front, label=f"λ, η = {name}")
        film = watched_runs[weights][1]
        shown = film.frames["output"][min(epoch, len(film.epochs)) - 1] / 255
        axes[0].axvline(min(epoch, len(film.epochs)), color=style.FAINT, linewidth=0.8)
        axes[0].set(xlabel="epoch", ylim=(0, 1))
        axes[0].xaxis.get_major_locator().set_params(integer=True)
        axes[0].set_title("Dice in validation", loc="left")
        axes[0].legend(loc="lower right")
        for one, values, title in zip(axes[1:], (shown, film.case.label), ("prediction", "truth"), strict=True):
            one.imshow(values, cmap="viridis", vmin=0, vmax=1)
            one.set(xticks=[], yticks=[], title=title)
    return figure


explore(
    at_epoch,
    {"weights": list(watched_runs), "epoch": range(1, epochs + 1)},
    stills=[
        {"weights": name, "epoch": at}
        for name, at in zip(list(watched_runs)[1:], (epochs, epochs // 3 + 1), strict=False)
    ],
    alt="Validation Dice and prediction at λ, η and epoch:",
)

# %% [markdown]
# **Time.** `fit` measures the columns of Table 5: Avg.T, the time per epoch, times the number of epochs gives Tot.T. We
# add processor seconds, which do not depend on other programs on the machine, and a milestone that varies less than the
# best epoch: the first epoch with a validation Dice of .8.

# %%
histories = {name: [found[name, seed][1] for seed in range(seeds)] for name in table}
spent = {name: [found[name, seed][2] for seed in range(seeds)] for name in table}
reached = {
    name: [next((r["epoch"] for r in h if r["val_dice"] >= 0.8), None) for h in of] for name, of in histories.items()
}
per_epoch = {n: np.mean([t / len(h) for t, h in zip(spent[n], histories[n], strict=True)]) for n in table}
Table(
    [
        {
            "system": name,
            "best epoch": " ".join(str(h.best_epoch) for h in of),
            "ran": " ".join(str(len(h)) for h in of),
        }
        | {"Dice .8 in": " ".join(str(e or "-") for e in reached[name])}
        | {"Avg.T, s": np.mean([h.seconds_per_epoch for h in of]), "Tot.T, s": np.mean([h.total_seconds for h in of])}
        | {"processor, s": np.mean(spent[name]), "× U-Net per epoch": per_epoch[name] / per_epoch[plain]}
        for name, of in histories.items()
    ],
    caption=f"Epochs per seed; {epochs} is the limit, and a run that ends there may not have converged.",
)

# %%
curves.lines(
    {name: {e + 1: x for e, x in enumerate(found[name, 0][1]["val_dice"])} for name in (plain, hyb, *others)},
    x="epoch",
    y="Dice in validation",
    title="Seed 0",
)

# %%
fewer = [len(a) < len(b) for a, b in zip(histories[hyb], histories[plain], strict=True)]
cheaper = [a < b for a, b in zip(spent[hyb], spent[plain], strict=True)]
price = per_epoch[hyb] / per_epoch[plain]
print(f"an epoch of Hyb costs {price:.2f} of U-Net's: it must end in {1 / price:.0%} of the epochs to be cheaper")
print(f"fewer epochs than U-Net: {sum(fewer)} of {seeds} seeds; less processor time: {sum(cheaper)} of {seeds}")

# %% [markdown]
# ## 9. The paper's tables beside ours
#
# *Five minutes.*
#
# In the paper the hybrid needs fewer epochs than the plain U-Net. **Before running:** one of its epochs takes 2.9 to
# 3.8 times as long. On how many of the paper's four datasets does it finish earlier?

# %%
paper_table = mu_net.TABLES[5]
hours = {name: dict(zip(paper_table.columns, row, strict=True)) for name, row in paper_table.rows.items()}
earlier = [d for d in mu_net.PRESETS if hours[hyb][f"{d} hours"] < hours[plain][f"{d} hours"]]
sooner = [d for d in mu_net.PRESETS if hours[hyb][f"{d} epochs"] < hours[plain][f"{d} epochs"]]
print(f"fewer epochs on {', '.join(sooner)}; less time on {', '.join(earlier)}")
assert (len(sooner), earlier) == (4, ["liver"])

# %%
dataset = weights if weights in mu_net.PRESETS else "spleen"
accuracy = mu_net.TABLES[4]
theirs = {name: dict(zip(accuracy.columns, row, strict=True)) for name, row in accuracy.rows.items()}
beside = []
for name in (n for n in table if n in theirs):
    paper = {what: hours[name][f"{dataset} {what}"] for what in ("hours an epoch", "epochs", "hours")}
    base = {what: hours[plain][f"{dataset} {what}"] for what in paper}
    beside += [
        {"system": name, "of": f"the paper, {dataset}"}
        | {m: theirs[name][f"{dataset} {m}"] for m in four}
        | {"epochs": str(int(paper["epochs"])), "× U-Net per epoch": paper["hours an epoch"] / base["hours an epoch"]}
        | {"× U-Net in total": paper["hours"] / base["hours"]},
        {"system": name, "of": "ours"}
        | {m: of(name, m).mean() for m in four}
        | {"epochs": f"{np.mean([len(h) for h in histories[name]]):.1f}"}
        | {"× U-Net per epoch": per_epoch[name] / per_epoch[plain]}
        | {"× U-Net in total": np.mean(spent[name]) / np.mean(spent[plain])},
    ]
Table(beside, caption="Same columns, other patients, other budget: compare the differences, not the numbers.")

# %% [markdown]
# **On real images.** A stored study with three seeds on hearts (Sunnybrook cine MR, CC0): 18 patients train, 6 are
# reported (`benchmarks/mu_net_weights.py`; its tables are `benchmarks/results/mu_net_weights.md`, 600 steps, and
# `mu_net_weights_900.md`, trained anew for 900). Dice of each seed, and their mean:
#
# | system | 600 steps | | 900 steps | |
# |---|---|---|---|---|
# | U-Net on $L_{BD}$ | .872 .761 .855 | .829 | .858 .800 .879 | .846 |
# | hybrid without feature terms, $\lambda = \eta = 0$ | – | – | .866 .885 .875 | .875 |
# | hybrid, $\lambda$ and $\eta$ divided by ten | .804 .818 .812 | .811 | .862 .839 .820 | .841 |
# | U-Net-Deep, $\lambda$ divided by ten | .841 .821 .832 | .831 | .882 .839 .783 | .835 |
# | hybrid, $\lambda = 9$, $\eta = 6$ as printed | – | – | .787 .000 .650 | .479 |
# | U-Net-Deep, $\lambda = 9$ as printed | .786 .595 .343 | .575 | .830 .875 .573 | .759 |
#
# After 900 steps U-Net-Deep as printed is near the U-Net in two of three seeds; the hybrid as printed has not found the
# heart in one. Divided by ten, $\lambda$ and $\eta$ do better, but the hybrid has a higher Dice without feature terms
# in every seed. Six patients and three seeds do not tell the first four rows apart.
#
# A second study asks of every variant of the paper whether it helps: the same hearts, 30 patients in three folds,
# nnU-Net's plain 2-D network, 400 steps, three seeds (`sweeps/verdict-pseudo-labels-cardiac.yml`), with $\lambda$ and
# $\eta$ divided by ten, as chosen on six of these patients. The first row is $L_{BD}$ alone. **Before running:** a
# variant's training takes 51 to 74 s, $L_{BD}$'s 29 s. Which variants earn that?

# %%
study = stored("pseudo-labels-cardiac")
Table(brief_rows(study), caption="could have shown: the smallest difference found in 4 of 5 repetitions.")

# %%
found = study.effects()
assert all(effect.verdict().startswith("unknown") for effect in found.values())
assert min(found["pseudo-labels, deep"].by_seed) > 0 > max(found["pseudo-labels, auto"].by_seed)
forest_plot(found, reference=study.first, title=study.text)

# %% [markdown]
# None has shown a gain with nine trainings a row, though every run learns. The deep variant is ahead in every seed
# (+.012; 16 patients better, 7 worse), *auto*, with its autoencoder beside the network, is behind in every seed (−.029;
# 26 of 30 patients worse). Both signs could be chance: the intervals reach from −.004 to .027 and from −.065 to .007.

# %% [markdown]
# **At test time.** All of this is for training only. The deployed network is the plain U-Net, bit for bit:

# %%
bare = dsnotes.build(plain, width=8).network.eval()
bare.load_state_dict(system.network.deployed().state_dict())
with torch.no_grad():
    assert torch.equal(bare(image).logits, system.network.eval()(image).logits)
print(f"{sum(p.numel() for p in system.network.parameters()):,} parameters in training,", end=" ")
print(f"{sum(p.numel() for p in bare.parameters()):,} deployed")

# %% [markdown]
# ## 10. Other weights
#
# *Two minutes.*
#
# Fig. 5 of the paper varies each weight from 2 to 9 and plots the mean of the four scores. Here each set of weights is
# one run of this notebook, and a sweep runs many of them. Saved as `fig-5.yml` and started by `dsnotes sweep
# fig-5.yml`, this varies $\lambda$, with several runs at once if the machine has enough processors:
#
# ```yaml
# notebook: notebooks/50_mu_net.py
# parameters: {rows: ""}
# grid: {weights: [3 5 2 2 2 1, 3 5 2 2 4 1, 3 5 2 2 6 1, 3 5 2 2 8 1]}
# ```
#
# Every run records the mean that the paper plots:

# %%
runs.record(
    {
        f"{case.name} seed {seed}": results[hyb, seed][k]
        | {"avg.m": float(np.mean(list(results[hyb, seed][k].values())))}
        for seed in range(seeds)
        for k, case in enumerate(raw[:tested])
    },
    weights=" ".join(f"{x:g}" for x in chosen.values()),
    best_epochs=[h.best_epoch for h in histories[hyb]],
)

# %%
average = {name: np.mean([of(name, metric) for metric in four]) for name in (plain, hyb, *others)}
print("avg.m:", ", ".join(f"{name} {x:.3f}" for name, x in average.items()))

# %% [markdown]
# ## What we saw, and what we did not
#
# - **Shown:** $R$ consists of adjoints of the encoder's convolutions and adds no kernel; the pass of the mask does not
#   change the running statistics; the deployed network is the plain U-Net, bit for bit. With $\varepsilon = 1$ a
#   network that marks nothing scores about a quarter, and the rule "2 × best epoch" may end a run on that.
# - **A loss weight depends on the norm:** before training and with the spleen's $\lambda = 8$, the feature term's
#   gradient at the encoder's first convolution is 140 times the output's with batch norm, and a third of it without.
# - **The semantic difference:** after training the image's features are more similar to the mask's (CKA .65) than to
#   the small mask (.39). Noise gives .24. The mask's excess over noise is .41 in the hybrid, .27 in the hybrid without
#   feature terms and .06 in a U-Net that never saw a mask: the mask as an input does most of it, and one seed does not
#   show what the feature terms add. The equal number of convolutions is not the cause: before training the excess is
#   .01.
# - **A plateau:** in one run the published weights had a Dice of .87, .94 and .94 after 300, 600 and 900 steps, the
#   U-Net .96 already after 300. On real hearts and three seeds, U-Net-Deep with the published weights is .25 behind the
#   U-Net after 600 steps and .09 after 900; the hybrid, with $\lambda$ and $\eta$ divided by ten, is .02 and .005
#   behind.
# - **Not shown, with three seeds of 15 epochs on phantoms:** that the whole of µ-Net helps. Of the rows of Table 4,
#   the hybrid and U-Net-Deep had the best mean Dice (both .82; U-Net .75 on $L_{BD}$). The hybrid's difference from the
#   U-Net was +.22, +.12 and −.12, from U-Net-Deep +.00, +.06 and −.06, from itself without feature terms
#   ($\lambda = \eta = 0$) −.04, +.01 and +.15: the sign changes with the seed. With the weights published for the
#   spleen its Dice was .14.
# - **Not what the paper says:** by its own Table 5 the hybrid needs fewer epochs than U-Net on all four datasets, but
#   less time on only one. Ours needed fewer epochs in none of three seeds, and an epoch cost two to three times
#   U-Net's, as in the paper. It may be efficient compared with other deeply supervised networks, but not with a plain
#   one.
# - **The stopping rule of section 2 did fail:** with the spleen's weights two of three hybrids were stopped in epoch 7,
#   with epochs 1 and 3 as their best.
# - **Open:** all of this after hours of training with 64 to 1024 channels; `mu_net.SETTINGS` holds the paper's
#   settings.
#
# > **Use it / do not / unknown.** *Do not* use it to save time: an epoch costs two to three times the U-Net's, and it
# > needed no fewer of them. *Unknown:* whether it segments better after a long training. Here the hybrid was .07 ahead
# > of the plain U-Net on phantoms, where three seeds like these can show only differences of .56 or more, and .015
# > behind $L_{BD}$ alone on real hearts (95 %: −.049 to .019); the deep variant was .012 ahead (−.004 to .027) there,
# > and .011 behind in the smaller study above. If you try one, divide the published $\lambda$ and $\eta$ by ten where
# > your network has batch norm.
#
# ## Read next
#
# - Zhou, Siddiquee, Tajbakhsh, Liang 2018, *UNet++: A Nested U-Net Architecture for Medical Image Segmentation*,
#   <https://arxiv.org/abs/1807.10165>: where $L_{BD}$ comes from, and the rival that supervises at every depth.
# - Kornblith, Norouzi, Lee, Hinton 2019, *Similarity of Neural Network Representations Revisited*,
#   <https://arxiv.org/abs/1905.00414>: CKA, and what it can and cannot tell.
# - Romero et al. 2015, *FitNets: Hints for Thin Deep Nets*, <https://arxiv.org/abs/1412.6550>: features as labels for
#   features, ten years earlier.
#
# ## Exercises
#
# 1. `detach_targets=False` lets gradients into the labels. Do the image's features move towards the mask's, or the
#    reverse? Compare the gradient of the feature term with respect to both.
#
# <details><summary>A hint</summary>
#
# `distance` of section 3 without `.detach()`, and `torch.autograd.grad` with respect to a map of each pass.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# literal = replace(goal, detach_targets=False)
# pulls = {}
# for name, objective in {"labels": goal, "literal": literal}.items():
#     term = loss_terms(objective, same, {"image": x, "label": y})["features"]
#     pulls[name] = torch.autograd.grad(term, same.backbone.encoder[0][0][0].weight)[0]
# print({name: round(pull.norm().item(), 2) for name, pull in pulls.items()})
# assert not torch.allclose(pulls["labels"], pulls["literal"])
# ```
#
# Both passes then move: the derivative with respect to $S_i(G)$ is minus that with respect to $S_i(X)$, level by level.
# So both meet half-way, and the quickest way for both is to become small or constant.
#
# </details>
#
# 2. Which of the five levels carries the feature term before training, and which after?
#
# <details><summary>A hint</summary>
#
# The sum in `distance` runs over the levels; leave it out.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# for when, s in {"first weights": start, "trained": system}.items():
#     net = copy.deepcopy(s.network).train()
#     seen, label_maps = net(x).features, mask_pass_by_hand(net, g).features
#     each_level = {name: (seen[name] - label_maps[name]).square().mean().item() for name in seen}
#     print(when, {name: round(value, 3) for name, value in each_level.items()})
#     assert np.isclose(sum(each_level.values()), distance(seen, label_maps).item(), rtol=1e-4)
# ```
#
# </details>
