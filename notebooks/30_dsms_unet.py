# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # DSMS U-Net: a second decoder that restores the image
#
# A pancreas is thin, a tumour in it is small, and the deepest map of a U-Net is sixteen times coarser than the image.
# This paper adds two parts: a decoder that *restores the image* from the deepest map, and convolutions of *several
# sizes* on every shortcut. You will
#
# - see what the restoration decoder recovers from a map of 1/16 the size, and measure what it does not: by frequency,
#   at edges, and in the tumour;
# - find the part of its loss that no network can reduce;
# - measure the receptive field of the multi-scale module with gradients;
# - test whether the *scales* help or merely the *width*, with a control that the paper lacks;
# - train Table 1's five systems with several seeds, and compare the paper's claim with its own table.
#
# Paper: Wang, Wang, Xu 2020, *Tumor Segmentation Based on Deeply Supervised Multi-Scale U-Net*. The authors trained on
# 283 patients of the Decathlon's pancreas set and give no channel counts; 64 to 1024 is the classic choice. Here we use
# 8 to 128 channels and phantoms. Needs a CPU and about seven minutes; with `smoke=True` less than one.

# %% tags=["parameters"]
steps: int = 500  # training steps of the main network
table_steps: int = 300  # training steps of each of the six systems that are compared
seeds: int = 3  # trainings per system, each from other initial weights
smoke: bool = False  # a minute at most: everything small, one seed

# %%
import copy
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch.nn import functional

import dsnotes
from dsnotes.data import phantoms
from dsnotes.data.preprocess import hu_window
from dsnotes.losses import binary_entropy, min_max, restoration_bce
from dsnotes.metrics.compare import holm, paired_t_test
from dsnotes.networks.dsms_unet import KERNELS, DSMSUNet, ParallelConvs
from dsnotes.papers import dsms_unet
from dsnotes.supervision import loss_terms
from dsnotes.viewers import Table, boxes, curves, maps, progress

patients, held_out, epochs = (36, 12, 10) if not smoke else (5, 2, 2)
if smoke:
    steps, table_steps, seeds = 10, 4, 1

# %% [markdown]
# ## 1. A thin organ, a small tumour
#
# The phantom patients have a pancreas, and a stomach, bowel and vessels of similar grey values. As in the paper, organ
# and tumour are one label; the coloured overlay shows the tumour within it.

# %%
raw = phantoms.abdomen(patients, seed=0)
middle = [tuple(round(i) for i in case.extras["tumours"][0]["centre"]) for case in raw]
dsnotes.show(raw[0], soft=raw[0].extras["alpha"], names={1: "pancreas with tumour"}, window="soft", at=middle[0])

# %%
cases = [hu_window(-160, 240)(case) for case in raw]  # 400 HU become 0 … 1
test, train = cases[:held_out], cases[held_out:]
organ, tumour = (np.mean([(case.extras[key] >= 0.5).mean() for case in raw]) for key in ("organ_alpha", "alpha"))
print(f"{len(train)} patients train, {len(test)} test; {raw[0].image.shape} voxels per patient")
print(f"pancreas with tumour: {organ:.1%} of all voxels, tumour alone: {tumour:.2%}")

# %% [markdown]
# ## 2. Two ideas, one class
#
# Each idea can be used without the other: `{no module, KCM, MSC}` on the shortcuts × `{with, without}` restoration
# decoder. MSC is the paper's module of parallel 1×1, 3×3 and 5×5 convolutions; KCM, its control, has three 3×3
# convolutions instead. **Before running:** KCM is meant to rule out that the greater width alone helps. Does it have as
# many weights?

# %%
cells = {
    "unet-2d": {"dice": 0.0},  # cross-entropy alone, like the others
    "mscm-unet": {},
    "kcm-unet": {},
    "drs-unet": {},
    "kcmdrs-unet": {},
    "dsmsc-unet": {},
    "kcmdrs-unet, as large": {"like": "msc"},
}
counts = {}
with torch.device("meta"):  # at the paper's 64 … 1024 channels, without the memory
    for cell, options in cells.items():
        counts[cell] = sum(p.numel() for p in dsnotes.build(cell.split(",")[0], **options).network.parameters())
Table([{"system": cell, "parameters": f"{count:,}"} for cell, count in counts.items()])

# %%
assert (counts["drs-unet"], counts["kcmdrs-unet"], counts["dsmsc-unet"]) == (40_101_314, 50_557_634, 53_342_914)
assert abs(counts["kcmdrs-unet, as large"] / counts["dsmsc-unet"] - 1) < 0.002

# %% [markdown]
# No: for each pair of channels it has 3 · 9 = 27 weights where MSC has 1 + 9 + 25 = 35, which makes 2.8 million fewer
# in total. If MSC beats KCM, the reason may still be the number of weights. The last row is the control of equal size:
# KCM with wider branches, `like="msc"`.
#
# ## 3. A loss that never reaches zero
#
# The loss is ten times the cross-entropy between mask and segmentation, plus once the cross-entropy between *image* and
# restoration. **Before running:** a pixel has the grey value 0.5, and the network predicts 0.5. What is its
# cross-entropy?

# %%
p = torch.linspace(0.01, 0.99, 99)
costs = {t: -t * p.log() - (1 - t) * (1 - p).log() for t in (0.0, 0.2, 0.5)}
curves.lines(
    {f"pixel of grey {t}": dict(zip(p.tolist(), cost.tolist(), strict=True)) for t, cost in costs.items()},
    x="restored value",
    y="cross-entropy",
    title="The minimum is at the right value, but above zero",
)

# %%
through_tumour = list(zip(test, (at[0] for at in middle), strict=False))  # a patient, and a slice of the tumour
image = torch.from_numpy(np.stack([case.image[z] for case, z in through_tumour]))[:, None]
label = torch.from_numpy(np.stack([case.label[z] for case, z in through_tumour])).long()
image = min_max(image)  # as the supervision does: each slice scaled by its own minimum and maximum
perfect = image.logit(eps=1e-6)
bce, floor = functional.binary_cross_entropy_with_logits(perfect, image), binary_entropy(image)
print(f"cross-entropy of a perfect restoration {bce:.3f}, of which entropy of the grey values {floor:.3f}")
assert abs(restoration_bce(perfect, image)) < 1e-4 < floor

# %% [markdown]
# This floor does not depend on the network, so its gradient is zero. The library subtracts it from the reported term,
# so that `restoration` goes to 0 when the image is restored.
#
# ## 4. Training
#
# The paper says little about its training, but it mentions *gradient accumulation*: the gradients of several small
# batches are added before each update. **Before running:** do two halves of a batch, accumulated, give the same
# gradient as the whole batch?

# %%
torch.manual_seed(0)
batch = {"image": image, "label": label}


def gradient(system, parts):
    """The gradient of all weights, summed over `parts` pieces of the batch."""
    system.network.zero_grad()
    for piece in range(parts):
        some = {name: value.tensor_split(parts)[piece] for name, value in batch.items()}
        (sum(loss_terms(system.objective, system.network, some).values()) / parts).backward()
    return torch.cat([w.grad.flatten() for w in system.network.parameters()])


for norm in ("batch", "instance"):
    system = dsnotes.build("dsmsc-unet", width=4, norm=norm)
    whole, halves = gradient(system, 1), gradient(system, 2)
    print(f"{norm:8} norm: the two differ by {(halves - whole).norm() / whole.norm():.1e} of the gradient's length")
    assert ((halves - whole).norm() < 1e-3 * whole.norm()) == (norm == "instance")

# %% [markdown]
# Not with batch normalisation: each half is normalised by its own statistics. (Batch normalisation is our choice; the
# paper does not say.) Accumulation saves memory, but the statistics remain those of a small batch. `dsms_unet.SETTINGS`
# accumulates four batches of four; these small images need no accumulation.

# %%
torch.manual_seed(0)
system = dsnotes.build("dsmsc-unet", width=8)
budget = replace(
    dsms_unet.SETTINGS,
    patch=test[0].image.shape[1:],
    accumulate=1,
    epochs=epochs,
    lr=3e-3,
    schedule="poly",
    foreground=0.67,
)
run = {"settings": budget, "progress": False}
history = dsnotes.fit(system, train, iterations=steps // epochs, on_epoch=curves.live(title="DSMSC U-Net"), **run)

# %% [markdown]
# The mask's term has the factor ten. **Before running:** which of the two terms has the larger gradient at the encoder,
# and does the restoration catch up by the end?


# %%
def gradient_norms(system):
    """Norm of each term's gradient at the encoder's weights."""
    network = copy.deepcopy(system.network).train()  # a copy: batch norm must not learn from these patients
    terms, encoder = loss_terms(system.objective, network, batch), list(network.backbone.encoder.parameters())
    grads = {name: torch.autograd.grad(term, encoder, retain_graph=True) for name, term in terms.items()}
    return {name: torch.cat([g.flatten() for g in grad]).norm().item() for name, grad in grads.items()}


torch.manual_seed(0)
at_encoder = {"untrained": gradient_norms(dsnotes.build("dsmsc-unet", width=8)), "trained": gradient_norms(system)}
Table([{"": when, **{f"gradient of the {name}": x for name, x in terms.items()}} for when, terms in at_encoder.items()])

# %%
ratios = {when: terms["segmentation"] / terms["restoration"] for when, terms in at_encoder.items()}
print("mask / restoration:", ", ".join(f"{when} {ratio:.0f}" for when, ratio in ratios.items()))
assert smoke or min(ratios.values()) > 3

# %% [markdown]
# The mask's, at the beginning and at the end: the restoration has little influence on the encoder.
#
# ## 5. What is restored from 1/16
#
# The restoration decoder has no shortcuts: its only input is the deepest map. **Before running:** with the channels
# used here, how many numbers does the deepest map have per pixel of the image? And with 1024 channels?

# %%
with torch.no_grad():
    restored = system.network.eval()(image).restored.sigmoid()
    deepest = system.network.backbone(image).bottleneck
print(f"{tuple(deepest.shape[1:])} numbers for {tuple(image.shape[2:])} pixels:", end=" ")
print(f"{deepest[0].numel() / image[0].numel()} numbers per pixel; with 1024 channels {1024 / 16**2}")

# %%
shown = {f"patient {i}": i for i in range(min(4, held_out))}
maps(
    {
        "image": {name: image[i, 0] for name, i in shown.items()},
        "restored": {name: restored[i, 0] for name, i in shown.items()},
    },
    window=(0, 1),
)

# %%
maps(
    {"restored minus image": {name: (restored - image)[i, 0] for name, i in shown.items()}},
    window=(-0.5, 0.5),
    title="Grey: no difference. Black: restored too dark. White: too bright",
)

# %% [markdown]
# With 1024 channels the deepest map has four numbers per pixel: enough to store the image four times. What is missing
# from a restoration would then be due to training, not to capacity. Here it may be either.
#
# **By frequency.** With *one* number per 16 × 16 pixels, no wave with a period below 32 pixels can be restored. How
# fine are the waves that are? For comparison we take the image averaged over cells of 16 and of 4 pixels and
# interpolated back; and, without using the image at all, the average of the training patients at the same height.
# **Before running:** what could the average patient share with this one that is finer than the grid of the deepest map?

# %%
n, mm = image.shape[-1], test[0].spacing[-1]
turns = torch.fft.fftfreq(n) * n
ring = (turns[:, None] ** 2 + turns**2).sqrt().round().long()
hann = torch.hann_window(n)[:, None] * torch.hann_window(n)  # a slice is not periodic: fade its borders


def power(x):
    """Σ |Fourier coefficient|² in rings of equal frequency, 1 … n / 2 waves across the image."""
    squares = (torch.fft.fft2(x * hann).abs() ** 2).sum((0, 1))
    return torch.zeros(int(ring.max()) + 1).index_add(0, ring.flatten(), squares.flatten())[1 : n // 2 + 1]


def share_restored(y):
    """The share of the image's power that `y` restores: 1 - power(y - image) / power(image)."""
    return dict(zip(range(1, n // 2 + 1), (1 - power(y - image) / power(image)).tolist(), strict=True))


# %%
average = np.mean([case.image for case in train], axis=0)
typical = torch.from_numpy(np.stack([average[z] for _, z in through_tumour]))[:, None]
share = {"restored from 1/16": share_restored(restored), "the average patient": share_restored(typical)}
for cell in (16, 4):
    small = functional.avg_pool2d(image, cell)
    blurred = functional.interpolate(small, size=(n, n), mode="bicubic")
    share[f"averaged over {cell} × {cell}"] = share_restored(blurred)
curves.lines(
    share,
    x=f"waves across the image ({n * mm:.0f} mm)",
    y="share of the image's power",
    title="What is restored, by frequency",
)

# %%
half = {name: [k for k, part in waves.items() if part <= 0.5] for name, waves in share.items()}
finest = {name: min(below, default=n // 2 + 1) - 1 for name, below in half.items()}
for name, k in finest.items():
    print(
        f"{name:22} more than half restored up to {k:2} waves", f"= {n / k:.0f} pixels, {n * mm / k:.0f} mm" * (k > 0)
    )
high = power(image)[n // 4 :].sum() / power(image).sum()
print(f"waves shorter than four pixels hold {high:.1%} of the image's power")

# %%
low, fine = range(2, 12), range(n // 4, n // 2 + 1)
beyond = [np.mean([share["restored from 1/16"][k] - share["the average patient"][k] for k in ks]) for ks in (low, fine)]
print(f"restored minus average patient: {beyond[0]:+.2f} at 2 … 11 waves, {beyond[1]:+.2f} at {n // 4} … {n // 2}")
assert smoke or beyond[0] > 0 > beyond[1]

# %% [markdown]
# The restoration extends to far higher frequencies than one number per cell allows. But so does the average patient,
# computed without this image: spine and great vessels are in similar places in everyone, and a decoder can *memorise*
# them. What the deepest map adds about this patient are the coarser waves; the finest edges are restored worse than by
# the average patient. All phantoms are positioned alike, which favours the average patient; real patients are not.
#
# **At edges.** Sort all pixels by the steepness of the image. **Before running:** where is the restoration's error
# larger: in the smoothest tenth or in the steepest tenth?

# %%
smooth = functional.avg_pool2d(functional.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
steep = sum(g**2 for g in torch.gradient(smooth, dim=(2, 3))).sqrt().flatten()
squared = ((restored - image) ** 2).flatten()
tenth = (10 * steep.argsort().argsort() // len(steep)).clamp(max=9)
wrong = {int(k) + 1: squared[tenth == k].mean().sqrt().item() for k in range(10)}
curves.lines(
    {"root mean square error": wrong},
    x="tenth of the pixels, by steepness",
    y="error (1 is the whole grey scale)",
    title="Restored worst at edges",
)
print(f"the steepest tenth holds {squared[tenth == 9].sum() / squared.sum():.0%} of the squared error")

# %%
assert smoke or wrong[10] > 1.5 * wrong[1]

# %% [markdown]
# In the steepest tenth. The difference images above show edges, and the gas in the bowel, whose position differs
# between patients.
#
# **In the tumour.** Does the deepest map represent the tumour at all? With phantoms we can test it: raise the grey
# values of the tumour by 40 HU, towards those of the gland, and see whether the restored image changes by as much in
# the same place.


# %%
@torch.no_grad()
def restoration(volume):
    """All slices of a volume restored, each in its own range of grey values."""
    x = torch.from_numpy(volume)[:, None]
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return (system.network(x).restored.sigmoid() * (high - low) + low)[:, 0].numpy()


def around(volume, at):
    """The slice through `at`, and 32 × 32 pixels of it."""
    y, x = (min(max(i - 16, 0), n - 32) for i in at[1:])
    return volume[at[0], y : y + 32, x : x + 32]


added = [0.1 * case.extras["alpha"].astype(np.float32) for case in test]  # 40 of the window's 400 HU
restored_change = [
    restoration(case.image + more) - restoration(case.image) for case, more in zip(test, added, strict=True)
]
maps(
    {
        row: {name: 400 * around(change[i], middle[i]) for name, i in shown.items()}
        for row, change in {"change of the image": added, "change of the restoration": restored_change}.items()
    },
    window=(0, 40),
    title="Change in HU",
)

# %%
kept = [float(b[a >= 0.05].sum() / a[a >= 0.05].sum()) for a, b in zip(added, restored_change, strict=True)]
each = " ".join(f"{part:.0%}" for part in kept)
print(f"within the tumour {np.mean(kept):.0%} of the change is restored; per patient: {each}")
assert smoke or np.mean(kept) < 0.5

# %% [markdown]
# Hardly: instead, a larger area around it, often the whole organ, brightens a little. The deepest map encodes that
# there is an organ, and its overall brightness. That may help to find a pancreas, but it does not represent a small
# tumour.
#
# ## 6. The receptive field of the modules
#
# Take one pixel of a module's output, and compute by the gradient which input pixels it depends on. **Before running:**
# MSC has a 5 × 5 branch. By how many pixels of the *image* does that widen the receptive field at the shortcut of
# stride 8?


# %%
def input_gradient(output, x, at):
    """|gradient| of the output pixel `at` with respect to `x`, summed over channels and images."""
    pixel = output[:, :, at, at].sum()
    return torch.autograd.grad(pixel, x, retain_graph=True)[0].abs().sum((0, 1))


torch.manual_seed(0)
views = {}
for name in ("kcm", "msc"):
    module = ParallelConvs(32, kernels=KERNELS[name], dims=2).eval()
    x = torch.randn(64, 32, 9, 9, requires_grad=True)
    view = input_gradient(module(x), x, 4)
    views[f"{name.upper()} {KERNELS[name]}"] = view / view.max()
maps(views, window=(0, 1), colours="heat", title="Input pixels that one output pixel depends on")

# %%
reach = {name: int((view.sum(0) > 0).sum()) for name, view in views.items()}
print(reach)
assert list(reach.values()) == [3, 5]

# %% [markdown]
# A pixel of a shortcut at stride $s$ is $s$ image pixels wide, and the encoder adds a receptive field around it.

# %%
torch.manual_seed(0)
x = torch.randn(16, 1, 176, 176, requires_grad=True)
rows = {}
for name in ("kcm", "msc"):
    net = DSMSUNet(width=4, module=name).eval()
    features = net(x)
    for level, (stride, seen) in enumerate(features.encoder.items()):
        row = rows.setdefault(stride, {"shortcut": stride})
        for what, output in {"the encoder's map": seen, f"through {name.upper()}": net.skips[level](seen)}.items():
            row[what] = int((input_gradient(output, x, seen.shape[-1] // 2).sum(0) > 0).sum())
deep = int((input_gradient(features.bottleneck, x, 5).sum(0) > 0).sum())
Table(rows.values(), caption=f"Pixels of the image that one pixel sees across. One of the deepest map sees {deep}.")

# %%
for stride, row in rows.items():
    assert row["through MSC"] - row["through KCM"] == 2 * int(stride.removeprefix("stride"))
assert deep > rows["stride8"]["through MSC"]

# %% [markdown]
# MSC's receptive field is two pixels of its own level wider than KCM's: 16 pixels of the image at stride 8. But that
# shortcut is joined with features from the deepest map, whose receptive field is wider than either: the "global
# information" that the paper expects from the module is available without it.
#
# ## 7. The scales, or the width?
#
# We compare Table 1's five systems and, as the sixth, the control of equal size. All use the same patients and the same
# number of steps, and are trained with cross-entropy on patches of 64 × 64 (whole slices have so few foreground pixels
# that a short training ends at "all background"). There are several seeds, because one run proves little. To the
# table's three metrics we add a fourth: the paper says that the multi-scale module has "a more apparent effect on tumor
# segmentation", so we measure how much of the *tumour* is found.

# %%
rivals = {"fcn": {}} | {cell: cells[cell] for cell in counts if cell not in ("mscm-unet", "kcm-unet")}
paper_table = dsms_unet.TABLES[1]
metrics = (*paper_table.columns, "tumour found")
small = run | {"settings": replace(budget, patch=(64, 64))}


def scored(label, case):
    """The metrics of one patient."""
    found = label[case.extras["alpha"] >= 0.5] > 0
    return dsnotes.score(label, case.label, spacing=case.spacing) | {"tumour found": float(found.mean())}


def trained_and_scored(cell, seed):
    """One row of metrics for every held-out patient."""
    torch.manual_seed(seed)
    system = dsnotes.build(cell.split(",")[0], width=8, **rivals[cell])
    dsnotes.fit(system, train, iterations=table_steps // epochs, seed=seed, **small)
    return [scored(dsnotes.to_label(dsnotes.predict(system, case)), case) for case in test]


results = {cell: [] for cell in rivals}
for cell, seed in progress(product(rivals, range(seeds))):
    results[cell].append(trained_and_scored(cell, seed))


# %%
def of(cell, metric):
    """One metric of one system, as (seeds, patients)."""
    return np.array([[row[metric] for row in scores] for scores in results[cell]])


boxes(
    {metric: {cell: of(cell, metric).mean(0) for cell in rivals} for metric in metrics},
    y="of one patient, mean over seeds",
    title=f"{len(test)} held-out patients, {seeds} seeds, {table_steps} steps each",
    limits=(0, 1),
)

# %% [markdown]
# A paired test over patients compares the full system with each of the others. It uses the means over the seeds, and
# the twenty p-values are corrected for their number (Holm). Such a test covers the variation between patients, not
# between seeds, so the table also lists the differences per seed. First we check that each training has got past the
# start: cross-entropy first drives the network to predict background everywhere, and a short training may end there.

# %%
silent = {cell: int((of(cell, "sensitivity").max(1) == 0).sum()) for cell in rivals}
print(f"trainings (of {seeds}) that mark nothing in any patient: {silent}")

# %%
full = "dsmsc-unet"
others = [cell for cell in rivals if cell != full]
tests = {(cell, m): paired_t_test(of(full, m).mean(0), of(cell, m).mean(0)) for cell in others for m in metrics}
corrected = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
Table(
    [
        {"dsmsc-unet minus": cell, "of": m, "mean": f"{tests[cell, m].difference:+.3f}"}
        | {"per seed": " ".join(f"{d:+.3f}" for d in (of(full, m) - of(cell, m)).mean(1)), "p": corrected[cell, m]}
        for cell, m in tests
    ],
    caption=f"{len(test)} patients, {seeds} seeds; p of a paired t-test on the seeds' means, after Holm.",
)

# %% [markdown]
# Read both columns. A difference whose sign changes from seed to seed is due to the initial weights, however small its
# p: twelve patients scored by the same three networks are not thirty-six independent observations. And a training that
# marks nothing gives every patient the same score; a system with such a training should not be compared.
#
# ## 8. The claim, and the paper's own table
#
# The paper writes "DSMSC U-Net improve all the three indexes", but not over which system. **Before running:** by the
# paper's own table, over how many of the other four does it improve all three?

# %%
ours = {cell: [of(cell, m).mean() for m in paper_table.columns] for cell in paper_table.rows}
Table(
    [
        {"system": cell, "of": whose} | dict(zip(paper_table.columns, row[cell], strict=True))
        for cell in paper_table.rows
        for whose, row in {"the paper": paper_table.rows, "ours": ours}.items()
    ],
    caption="Same columns, other patients, other budget: compare the differences, not the numbers.",
)

# %%
improved = {}
for whose, table in {"the paper": paper_table.rows, "ours": ours}.items():
    gains = {cell: np.subtract(table[full], row).round(4) for cell, row in table.items() if cell != full}
    improved[whose] = [cell for cell, gain in gains.items() if (gain > 0).all()]
    print(f"{whose}: improves all three over {', '.join(improved[whose]) or 'none'}")
    for cell, gain in gains.items():
        print(f"    over {cell:12}", ", ".join(f"{m} {g:+.4f}" for m, g in zip(paper_table.columns, gain, strict=True)))
assert improved["the paper"] == ["unet-2d", "drs-unet"]

# %% [markdown]
# Over two of the four: the best Dice is that of the *control*, the best PPV that of FCN. Over the control, the scales
# bring +.011 in sensitivity and cost .005 in Dice; and the control has fewer weights.
#
# One more observation. For a single prediction, Dice is the harmonic mean of PPV and sensitivity; over many
# predictions, the mean Dice is at most the harmonic mean of the mean PPV and the mean sensitivity. How far below that
# bound does it lie?

# %%
below = {
    whose: [2 / (1 / ppv + 1 / sensitivity) - dice for dice, ppv, sensitivity in table.values()]
    for whose, table in {"the paper": paper_table.rows, "ours": ours}.items()
}
for whose, gaps in below.items():
    print(f"{whose}: mean Dice lies {min(gaps):.3f} … {max(gaps):.3f} below its bound")

# %% [markdown]
# ## What we saw, and what we did not
#
# - **Shown:** cross-entropy against grey values has a floor, which the reported term leaves out. MSC's receptive field
#   is two pixels of its level wider than KCM's, and narrower than the deepest map's. Gradients accumulated over two
#   halves of a batch equal those of the whole batch only without batch normalisation.
# - **What is restored from 1/16:** what all patients share, in fine detail; of what differs between patients, the
#   coarser waves; of a change within a tumour, about an eighth. A decoder can restore the image without the tumour, and
#   at 10 : 1 it has little influence on the encoder.
# - **Not what the paper says:** by its own table the full system improves all three metrics over two of the four
#   others. The best Dice is its control's, although that has 27 weights where the module has 35. And the published mean
#   Dice lies .06 to .07 below its bound, ours .004 to .007: this needs cases that differ far more than ours, or another
#   way of averaging; the paper does not say.
# - **The scales, or the width?** Neither, on our phantoms. In the run that gave these numbers, the five U-Nets had a
#   mean Dice between .83 and .84 (FCN .57): the full system was .031 *below* the plain U-Net with one seed, .009 and
#   .004 above it with the others, and .001 to .012 below the control of equal size with each. Apart from those to FCN,
#   the one difference with a small p and the same sign in every seed is a sensitivity .016 *lower* than that control's.
#   What a restoration decoder and several scales do for a harder organ, longer training and 283 patients remains open;
#   `dsms_unet.SETTINGS` holds the paper's settings.
#
# ## Exercises
#
# 1. Give the restoration the same weight as the mask: `dsnotes.build("dsmsc-unet", ratio=1.0, width=8)`. Which
#    frequencies are now restored that were not before? Does the segmentation get worse?
# 2. Restore with `loss="l1"` instead of cross-entropy. Look at the edges: which restoration would you give to a
#    radiologist, and does the segmentation change?
