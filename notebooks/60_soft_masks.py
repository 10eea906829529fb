# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Soft masks: how much of a pixel is nodule?
#
# A binary mask marks each pixel as nodule or not. A pixel at the edge may be one third nodule and two thirds lung, and
# neither label is right. This notebook makes labels that can express "one third". You will
#
# - measure the error of a binary edge on a phantom, where the true share of every pixel is known;
# - build the matting Laplacian of a 6 × 6 image by hand and solve it;
# - turn one mask, four readers' masks, or two measured diameters into a trimap, and a trimap into a soft mask;
# - measure where matting beats a plain blur, and by how much;
# - find out which Dice loss works with soft targets;
# - make a small set of softly labelled nodules, and accept or reject each of them on a contact sheet.
#
# Papers: Levin, Lischinski, Weiss 2007, *A Closed-Form Solution to Natural Image Matting*,
# <https://doi.org/10.1109/TPAMI.2007.1177>; used for nodules by Wang et al., <https://arxiv.org/abs/2007.14556>. Needs
# a CPU and less than a minute. Reading takes three quarters of an hour; the time of every section is for reading and
# running together. Words such as *trimap* and *soft mask* are in the [glossary](../site/pages/glossary.md).

# %% tags=["parameters"]
nodules: int = 60  # phantom nodules that the errors are averaged over
readers_folder: str = ""  # the masks of LIDC's four readers; empty: phantom readers and the stored result
smoke: bool = False  # a few nodules only

# %%
import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import dsnotes
from dsnotes.data import phantoms
from dsnotes.data.deeplesion import read_lesions, write_deeplesion
from dsnotes.losses import soft_dice
from dsnotes.metrics import agreement, dice, smallest_difference
from dsnotes.softmask import mask_from_recist, soft_mask, soft_masks, softened, trimap_from_annotators, trimap_from_mask
from dsnotes.softmask.nodule_set import make_set
from dsnotes.viewers import Guess, Table, accepted, boxes, contact_sheet, curves, explore, maps, progress
from dsnotes.viewers.maps import draw

if smoke:
    nodules = 8

# %% [markdown]
# ## 1. What a binary edge hides
#
# *Three minutes.*
#
# A phantom nodule is computed from a continuous shape, so the true share of nodule in every pixel is known: `alpha`.
# The scanner blurs it, and the image shows the blurred share, `seen`. That is the $\alpha$ of the equation that matting
# solves: image = $\alpha$ · lesion + (1 − $\alpha$) · background. **Before running:** in the pixels at the edge, how
# large is the mean error of a mask?

# %%
hidden = Guess("By how much is a binary mask off, on average, in the pixels at the edge?")

# %%
cases = phantoms.nodules(nodules, seed=0)
case = cases[0]
seen = case.extras["seen"]
dsnotes.show(case, soft=seen, window="lung", zoom=12, title="the share of nodule that the image shows")

# %%
error = np.abs(case.label - seen)
edge = (seen > 0.05) & (seen < 0.95)
print(
    f"the mask has {case.label.sum()} pixels; {edge.sum()} are part nodule, and off by {error[edge].mean():.2f} there"
)
assert edge.sum() > 50
assert error[edge].mean() > 0.1
hidden.compare(float(error[edge].mean()), "One half is the most, where a pixel is half nodule.")

# %% [markdown]
# ## 2. The Laplacian by hand
#
# *Ten minutes.*
#
# Matting assumes that in every small window the share is a linear function of the grey value: $\alpha \approx a I + b$.
# Choose the best $a$ and $b$ in each 3 × 3 window, with a small penalty $\epsilon a^2$ on steep lines. The remaining
# error is a quadratic energy $\alpha^\top L \alpha$, to which each window $w$, with the mean $\mu_w$ and the variance
# $\sigma_w^2$ of its grey values, contributes
#
# $$L_{ij} \mathrel{+}= \delta_{ij} - \tfrac19\Big(1 + \frac{(I_i-\mu_w)(I_j-\mu_w)}{\sigma_w^2 + \epsilon/9}\Big)$$
#
# for every two of its pixels $i$ and $j$ ($\delta_{ij}$ is 1 where they are the same, else 0). A 6 × 6 image has
# sixteen windows, and the code fits in nine lines.

# %%
tiny = np.clip(np.add.outer(np.arange(6.0), 0.4 * np.arange(6.0)) / 5 - 0.3, 0, 1)
eps, L = 1e-4, np.zeros((36, 36))
for row, column in itertools.product(range(4), range(4)):
    window = [(row + i) * 6 + column + j for i in range(3) for j in range(3)]
    grey = tiny.ravel()[window]
    centred = grey - grey.mean()
    L[np.ix_(window, window)] += np.eye(9) - (1 + np.outer(centred, centred) / (grey.var() + eps / 9)) / 9
assert np.allclose(L, L.T)
assert np.allclose(L.sum(1), 0)  # a constant has zero energy
assert np.linalg.eigvalsh(L).min() > -1e-9  # and no energy is negative

# %% [markdown]
# A *trimap* fixes some pixels: here the dark corner is background (−1), the bright corner is nodule (1), and the rest
# (0) is unknown. For the unknown pixels the energy is minimal where its derivative vanishes: a linear system. **Before
# running:** which picture will $\alpha$ look like?

# %%
trimap = np.zeros((6, 6), np.int8)
trimap[:2, :2], trimap[4:, 4:] = -1, 1
unknown = trimap.ravel() == 0
known = (trimap.ravel() == 1).astype(float)
by_hand = known.copy()
by_hand[unknown] = np.linalg.solve(L[np.ix_(unknown, unknown)], -L[unknown] @ known)
by_library = soft_mask(tiny, trimap, eps=eps)
maps({"image": tiny, "trimap": trimap, "α by hand": by_hand.reshape(6, 6), "α by dsnotes": by_library}, window="each")

# %%
difference = np.abs(np.clip(by_hand, 0, 1).reshape(6, 6) - by_library).max()
print(f"largest difference between the nine lines and the library: {difference:.1e}")
assert difference < 1e-4

# %% [markdown]
# $\alpha$ also has a gradient: how much does the share of an unknown pixel change when a known one does? By the linear
# system that is $-L_{uu}^{-1} L_{uk}$, and a small change of one known pixel must agree with it.

# %%
influence = np.linalg.solve(L[np.ix_(unknown, unknown)], -L[np.ix_(unknown, ~unknown)])  # (unknown, known)
raised = known.copy()
raised[35] += 1e-3
moved = np.linalg.solve(L[np.ix_(unknown, unknown)], -L[unknown] @ raised) - by_hand[unknown]
assert np.allclose(moved / 1e-3, influence[:, np.flatnonzero(~unknown).tolist().index(35)], atol=1e-6)
print(f"an unknown pixel's share is a weighted sum of the known ones; weights add up to {influence.sum(1).mean():.3f}")

# %% [markdown]
# ## 3. Three ways to a trimap
#
# *Five minutes.*
#
# A trimap needs the pixels that are certainly nodule and those that are certainly not. There are three ways to get
# them. (1) *One mask*: what is left after erosion is nodule, what lies outside after dilation is background. (2)
# *Several readers*: a pixel is certain where all agree. (3) *Two diameters*, as radiologists measure a lesion (RECIST):
# the GrabCut algorithm grows a mask from them, and then (1) applies.

# %%
axes = case.extras["recist"]
grown = mask_from_recist(case.image, axes["long_axis"], axes["short_axis"])
trimaps = {
    "one mask": trimap_from_mask(case.label, radius=3),
    "four readers": trimap_from_annotators(case.extras["readers"]),
    "two diameters": trimap_from_mask(grown, radius=3),
}
eps_of_noise = 9 * 0.033**2  # nine times the variance of the noise (33 of 1000 HU): eps / 9 is added to a variance
soft_by = {name: soft_mask(case.image, trimap, eps=eps_of_noise) for name, trimap in trimaps.items()}
middle = tuple(slice(int(c) - 14, int(c) + 14) for c in np.argwhere(case.label).mean(0))
maps(
    {
        "trimap": {name: trimap[middle] for name, trimap in trimaps.items()} | {"image": case.image[middle]},
        "soft mask": {name: mask[middle] for name, mask in soft_by.items()} | {"truth": seen[middle]},
    },
    window="each",
)

# %% [markdown]
# Readers who agree leave a thin band of unknown pixels, readers who disagree a wide one: the second trimap reflects how
# certain the *readers* were, the first has the same width everywhere.

# %%
for name, mask in soft_by.items():
    trimap = trimaps[name]
    assert (mask[trimap == 1] == 1).all()
    assert (mask[trimap == -1] == 0).all()
    print(
        f"{name:13}: mean error {np.abs(mask - seen).mean():.4f}, Dice at one half {dice(mask >= 0.5, case.label):.3f}"
    )

# %% [markdown]
# ## 4. Is a matted label closer to the truth?
#
# *Ten minutes.*
#
# In practice one softens a mask that *a person drew*, so we soften the first reader's. A fair baseline is a Gaussian
# blur of that mask: it is soft too, but does not use the image.
#
# **What can this show?** The differences between two labels of the same nodule are paired, and there are many nodules;
# the table below says which mean difference a paired test would find with a probability of 80 %. **Before running:**
# for which of the four kinds of nodule will the image help least?

# %%
least_help = Guess("For which kind does matting gain least over the blur?", sorted({c.extras["kind"] for c in cases}))

# %%
import cv2

drawn = [c.extras["readers"][0] for c in cases]
bands = [trimap_from_mask(mask, radius=3) for mask in drawn]
labels = {
    "binary": [mask.astype(np.float32) for mask in drawn],
    "dilated": [cv2.dilate(mask, np.ones((3, 3), np.uint8)).astype(np.float32) for mask in drawn],
    "blurred": [cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0) for mask in drawn],
    "matted": soft_masks([c.image for c in cases], bands, eps=eps_of_noise),
}
in_band = {
    name: np.array([np.abs(m - c.extras["seen"])[b == 0].mean() for m, c, b in zip(made, cases, bands, strict=True)])
    for name, made in labels.items()
}
kinds = np.array([c.extras["kind"] for c in cases])

# %%
boxes(
    {kind: {name: errors[kinds == kind] for name, errors in in_band.items()} for kind in dict.fromkeys(kinds)},
    y="mean error in the band",
    title="Error of each label against the share seen",
)

# %%
for name, errors in in_band.items():
    print(f"{name:8} {errors.mean():.4f} ± {errors.std(ddof=1):.4f}")
assert in_band["matted"].mean() < in_band["blurred"].mean() < in_band["binary"].mean()

# %%
gain = in_band["blurred"] - in_band["matted"]
gains = {str(kind): gain[kinds == kind] for kind in dict.fromkeys(kinds)}
Table(
    {"kind": kind, "nodules": len(g), "gain over the blur": g.mean()}
    | ({"smallest found": smallest_difference(g.std(ddof=1), len(g))} if len(g) > 1 else {})
    for kind, g in gains.items()
)

# %%
least_help.compare(min(gains, key=lambda kind: gains[kind].mean()), f"All together gain {gain.mean():.3f}.")

# %% [markdown]
# On average the matted label is closest for every kind of nodule. Its gain over the blur is largest for solid nodules,
# and clearly smaller for the other three.
#
# Two parameters remain: the width of the band, and ε. In the Laplacian ε/9 is added to the variance of a window, so
# nine times the variance of the noise, here about 0.01, is a natural choice: with a much smaller ε the soft mask
# follows the noise, with a much larger one it ignores the image. Move both, on one noisy nodule:

# %%
noisy_image = case.image + 30 * np.random.default_rng(1).standard_normal(case.image.shape).astype(np.float32)
near = tuple(slice(int(c) - 12, int(c) + 12) for c in np.argwhere(case.label).mean(0))


def at(eps, band):
    """Image, trimap, soft mask and truth at this ε and this half-width of the band."""
    trimap = trimap_from_mask(cases[0].extras["readers"][0], radius=band)
    alpha = soft_mask(noisy_image, trimap, eps=eps)
    error = np.abs(alpha - seen)[trimap == 0].mean()
    shown = {"image": (noisy_image + 1000) / 1200, "trimap": (trimap + 1) / 2, "soft mask": alpha, "truth": seen}
    said = f"ε = {eps:g}, band of ± {band} px: mean error in the band {error:.3f}"
    return draw({name: values[near] for name, values in shown.items()}, window=(0, 1), title=said)


explore(
    at,
    {"eps": (1e-7, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0), "band": (1, 2, 3, 4, 5)},
    stills=[{"eps": 1e-7, "band": 3}, {"eps": 1e-2, "band": 3}, {"eps": 1e-2, "band": 1}],
    alt="Matting of one nodule at",
)

# %% [markdown]
# With a small ε the noise is copied into the mask; with a narrow band the first reader's errors stay, because the band
# does not reach the edge. Now the same as numbers: several ε at three strengths of noise, and then several widths.

# %%
few, generator = range(max(4, nodules // 3)), np.random.default_rng(0)
of_noise = {}
for noise, eps in progress(itertools.product((0, 20, 40), (1e-7, 1e-5, 1e-3, 1e-2, 1e-1)), of="pairs"):
    noisy = [cases[i].image + noise * generator.standard_normal((64, 64)).astype(np.float32) for i in few]
    made = soft_masks(noisy, [bands[i] for i in few], eps=eps)
    errors = [np.abs(m - cases[i].extras["seen"])[bands[i] == 0].mean() for i, m in zip(few, made, strict=True)]
    of_noise.setdefault(f"{noise} HU more noise", {})[f"{eps:g}"] = float(np.mean(errors))
curves.lines(of_noise, x="ε", y="mean error in the band", title="The best ε, with more and more noise")

# %%
least = {name: min(points, key=points.get) for name, points in of_noise.items()}
print(f"the best ε: {least}; the default 1e-7 is for noise-free images")
assert all(points["0.01"] < points["1e-07"] for points in of_noise.values())

# %%
of_radius, at_half = {}, {}
for radius in (1, 2, 3, 4, 5):
    made = [soft_mask(cases[i].image, trimap_from_mask(drawn[i], radius=radius), eps=eps_of_noise) for i in few]
    of_radius[radius] = float(
        np.mean([np.abs(m - cases[i].extras["seen"]).sum() for i, m in zip(few, made, strict=True)])
    )
    at_half[radius] = [dice(m > 0.5, drawn[i]) for i, m in zip(few, made, strict=True)]
curves.lines(
    {"matted": of_radius}, x="radius, pixels", y="error, pixels per nodule", title="The band must include the edge"
)

# %% [markdown]
# A wide band has its price. Pixels in it are not known to be nodule; of a nodule hardly wider than the band only the
# deepest are, and the rest fades. Of small nodules the thresholded soft mask then has little in common with the mask
# that it was made from, and a network that learns it perfectly has no better Dice than that.

# %%
curves.lines(
    {
        "mean": {radius: float(np.mean(each)) for radius, each in at_half.items()},
        "the worst nodule": {radius: float(min(each)) for radius, each in at_half.items()},
    },
    x="radius, pixels",
    y="Dice of soft mask and mask",
    title="A small nodule must keep a core",
)
assert min(at_half[5]) < min(at_half[1])

# %% [markdown]
# `softened` therefore narrows the band where less than a third of a structure would stay core (`core=1/3`). On 60
# nodules the worst has a Dice of .80 then, instead of .05, at nearly the same error (31.8 pixels, not 29.5). The
# membranes of an electron microscope are about seven pixels wide: with a radius of 3 their soft masks reach .75, with 2
# they reach .92 (`benchmarks/results/soft_core.md`).

# %% [markdown]
# ## 5. What four readers disagree about
#
# *Five minutes.*
#
# The simulated readers disagree about as much as real ones. For real readers, four radiologists on 896 nodules of
# LIDC-IDRI, set `readers_folder`.

# %%
readers_of = [c.extras["readers"] for c in cases]
if readers_folder:
    from dsnotes.data.annotators import open_reader_archive

    readers_of = [c.extras["readers"] for c in open_reader_archive(readers_folder)]
pairs, to_consensus = [], []
for masks in readers_of:
    masks = np.asarray(masks) > 0
    pairs.append(np.mean([dice(a, b) for a, b in itertools.combinations(masks, 2)]))
    to_consensus.append(np.mean([dice(a, masks.mean(0) >= 0.5) for a in masks]))
print(f"{len(readers_of)} nodules: reader to reader {np.mean(pairs):.3f} ± {np.std(pairs, ddof=1):.3f}, ", end="")
print(f"reader to the consensus {np.mean(to_consensus):.3f}")
assert np.mean(to_consensus) > np.mean(pairs)

# %% [markdown]
# **On real readers:** for LIDC-IDRI (CC BY 3.0) this cell prints .774 ± .082 from reader to reader and .870 to the
# consensus, over 896 nodules in 3-D.
#
# On average a reader is closer to the consensus than to a colleague, because the consensus includes the reader's own
# mask. A paper that compares both a network and each reader with the consensus gives the readers that advantage.
#
# `agreement` makes such a table for every nodule: readers, consensus and prediction, all pairs. As the prediction we
# take the first reader's own mask after matting, thresholded at one half; it is not part of the consensus. **Before
# running:** is it closer to the consensus than the readers are?

# %%
tables = [
    agreement(c.extras["readers"], prediction=(soft >= 0.5).astype(np.uint8))
    for c, soft in zip(cases, labels["matted"], strict=True)
]
names, mean = tables[0].names, np.mean([table.dice for table in tables], axis=0)
Table(
    ({"": name} | dict(zip(names, map(float, row), strict=True)) for name, row in zip(names, mean, strict=True)),
    caption=f"Mean Dice over {len(tables)} phantom nodules",
)

# %%
readers, agreed, predicted = slice(0, 4), names.index("consensus"), names.index("prediction")
assert np.allclose(mean, mean.T)
assert (mean[readers, agreed] > (mean[readers, readers].sum(1) - 1) / 3).all()  # readers are part of the consensus
assert mean[predicted, agreed] < mean[readers, agreed].mean()

# %% [markdown]
# ## 6. Which Dice loss works with soft targets?
#
# *Five minutes.*
#
# Take pixels whose true share is $t = 1/2$ and let the prediction $p$ run from 0 to 1. **Before running:** where is
# each Dice loss lowest?

# %%
t, steps = torch.full((1, 1, 8, 8), 0.5), np.linspace(0, 1, 101)
falls = {
    name: {p: soft_dice(torch.full_like(t, p), t, squared=squared).item() for p in steps}
    for name, squared in (("Σp² + Σt² below", True), ("Σp + Σt below", False))
}
curves.lines(falls, x="prediction p", y="1 − Dice", title="Where the target is one half")

# %%
best = {name: round(float(min(fall, key=fall.get)), 2) for name, fall in falls.items()}
print(best)
assert best == {"Σp² + Σt² below": 0.5, "Σp + Σt below": 1.0}

# %% [markdown]
# With the plain sum in the denominator, the best prediction for a target of one half is one: this loss makes every soft
# label hard again. Train on soft masks with squares in the denominator, or with L1, as the next notebook does.
#
# ## 7. Make your own set
#
# *Five minutes.*
#
# Far more lesions are measured by two diameters than outlined: DeepLesion has 32,735 of them, in a table `DL_info.csv`
# beside 16-bit PNG images. The third way above makes labels from such files: the soft mask by matting, and from it the
# binary mask, thresholded at one half, as in the paper. Here we store phantom nodules in that form, and give one of
# them the diameters of another slice. **Before running:** what should happen to it?

# %%
scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name)
patients = phantoms.nodules(6 if smoke else 24, seed=7, size=96)
lesions = read_lesions(write_deeplesion(patients, folder))
lesions[1].row["Measurement_coordinates"] = "300, 40, 310, 42, 305, 36, 304, 46"
report = make_set(lesions, folder / "Images_png", folder / "nodules", source="phantoms", licence="MIT")
print(str(report).replace(scratch.name, "…"))

# %%
assert lesions[1].name in report.failed  # reported; the others were made
nodule_set = dsnotes.open_dataset(folder / "nodules")
assert len(nodule_set) == len(patients) - len(report.failed)
again = make_set(lesions, folder / "Images_png", folder / "nodules", source="phantoms", licence="MIT")
assert again.made == ()  # finished cases are kept: the same call resumes an interrupted run

# %% [markdown]
# GrabCut makes errors, so a person should check every case. In a browser each case has two buttons, and every click is
# saved to the CSV file at once. Here a rule replaces the person: a mask is rejected if its area is less than 0.7 or
# more than 1.3 times that of the ellipse with the same two diameters. **Before running:** which of the four kinds will
# this rule reject?


# %%
def shares(nodules):
    """The area of each mask divided by that of the ellipse."""
    axes = {c.name: c.extras["recist"] for c in nodules}
    ellipse = {name: np.pi / 4 * one["long_mm"] * one["short_mm"] for name, one in axes.items()}
    return {c.name: c.label.sum() * np.prod(c.spacing) / ellipse[c.name] for c in nodules}


filled = shares(nodule_set)

# %%
sheet = contact_sheet(nodule_set, folder / "decisions.csv", window="lung", zoom=14)
for name, share in filled.items():
    sheet.decide(name, "accept" if 0.7 < share < 1.3 else "reject")

# %%
mine = accepted(nodule_set, folder / "decisions.csv")
kind_of = {lesion.name: patient.extras["kind"] for lesion, patient in zip(lesions, patients, strict=True)}
rejected = {kind_of[name] for name in nodule_set.names if name not in mine.names}
print(f"{len(mine)} of {len(nodule_set)} accepted; rejected were: {', '.join(sorted(rejected))}")
assert len(mine) < len(nodule_set)
assert "spiculated" in rejected
assert all(nodule.extras["soft"].max() == 1 for nodule in mine)  # each has a certain core

# %% [markdown]
# The rule prefers smooth outlines and has rejected nodules with spicules, the ones that interest radiologists most.
# Selection biases a dataset: state the rule, and report what was rejected.
#
# Faint nodules can be lost too: where a soft mask stays below one half, its binary mask is empty. GrabCut's own masks
# can be kept instead. **Before running:** will the rule accept more of those, or fewer?

# %%
make_set(lesions, folder / "Images_png", folder / "cut", binary="GrabCut", source="phantoms", licence="MIT")
by_grabcut = shares(dsnotes.open_dataset(folder / "cut"))
for name, found in {"soft mask at one half": filled, "GrabCut": by_grabcut}.items():
    fine = sum(0.7 < share < 1.3 for share in found.values())
    print(f"{name}: {fine} of {len(found)} accepted, the median mask fills {np.median(list(found.values())):.2f}")
assert np.median(list(filled.values())) < np.median(list(by_grabcut.values()))

# %% [markdown]
# `mine` is a dataset like any other, with the soft labels in `extras["soft"]`, ready for training.
#
# Where there are several annotators, as in LIDC, the paper uses the second way, and `softened` does so for every case
# that has their masks. **Before running:** which cases will it leave unchanged?

# %%
given = [replace(c, extras={**c.extras, "annotators": c.extras["readers"]}) for c in cases[:8]]
by_annotators, by_border = softened(given, eps=eps_of_noise), softened(given, eps=eps_of_noise, annotators=False)
assert all(one is two for one, two in zip(softened(by_border), by_border, strict=True))  # they already have soft masks
errors = {
    name: np.mean([np.abs(c.extras["soft"] - c.extras["seen"]).sum() for c in made])
    for name, made in {"four annotators": by_annotators, "border of the consensus": by_border}.items()
}
print({name: f"off by {error:.1f} pixels per nodule" for name, error in errors.items()})
assert errors["border of the consensus"] < errors["four annotators"]

# %% [markdown]
# The second way is further from the truth here. Where annotators agree, the band is thinner than the blur of the
# scanner, and pixels that are partly nodule are held at 1 or at 0.

# %% [markdown]
# ## 8. In three dimensions
#
# *Five minutes.*
#
# So far every slice was matted on its own. A nodule also has a top and a bottom, where a thick slice is only partly
# nodule, and there a slice has no core to start from. With `window="volume"` the windows are 3 × 3 × 3, and with a
# `spacing` the trimap is a shell in 3-D too. A neighbour in the next slice is further away than one in the same slice:
# it gets the weight (pixel / slice)², because α is compared *per millimetre*. **Before running:** where will the two
# ways differ most?

# %%
from dsnotes.softmask.matting import window_weights

spacing = (1.25, 0.7, 0.7)
beside = (0.7 / np.array(spacing)) ** 2
z, y, x = (np.array([b, 1, b]) for b in beside)
weights = z[:, None, None] * y[:, None] * x
assert np.allclose(weights, window_weights("volume", spacing))
print(weights[:, 1, 1])

# %%
stacks = phantoms.nodules(4 if smoke else 12, seed=2, size=(32, 64, 64), spacing=spacing)
of_first = [c.extras["readers"][0] for c in stacks]
discs, shells = ([trimap_from_mask(m, radius=3, spacing=mm) for m in of_first] for mm in (None, spacing))
images = [c.image for c in stacks]
made = {
    "slice by slice, discs": soft_masks(images, discs, eps=eps_of_noise),
    "slice by slice, shell": soft_masks(images, shells, eps=eps_of_noise),
    "in 3-D, shell": soft_masks(images, shells, eps=eps_of_noise, window="volume", spacing=spacing),
}
off = {
    name: np.mean([np.abs(m - c.extras["seen"])[t == 0].mean() for m, c, t in zip(masks, stacks, shells, strict=True)])
    for name, masks in made.items()
}
print({name: f"{error:.3f}" for name, error in off.items()})
assert off["in 3-D, shell"] < 0.9 * off["slice by slice, shell"]

# %%
row = int(np.argwhere(of_first[0])[:, 1].mean())


def side(volume):
    """The cut from the front, slices as thick as they are."""
    return np.repeat(volume[4:-4, row, 12:-12], 2, axis=0)


first = {"image": side(images[0]), "truth": side(stacks[0].extras["seen"])}
maps(first | {name: side(masks[0]) for name, masks in made.items()}, window="each")

# %% [markdown]
# In the shell, slices without core become empty when each is matted alone: coupling them mends that. The discs avoid
# the question, since outside the reader's own slices they say "no nodule", and come just as close: over three seeds,
# with the best ε for each way, the difference between them and the 3-D window is smaller than its standard error at all
# three thicknesses of slice, and volumes are no better ([table](../benchmarks/results/matting_3d.md)). So one reader's
# mask needs no third dimension. It is needed where slices have no core of their own, as with several readers who
# disagree about the first and the last slice.
#
# > **Use it / do not / unknown.** *Use* matting where a pixel's share matters and the mask was drawn by a person. On 60
# > phantom nodules (seed 0) its error in the band was .104, that of the blur .167 and that of the binary mask .276. The
# > gain over the blur was .085 for solid, .063 for ground-glass and .059 for spiculated nodules, each more than 15 of
# > them need to show it; at the pleura it was .047, just below the .049 needed. *Do not* threshold it at one half and
# > expect a better binary mask. *Unknown:* whether a network gains from it; [61_dsnet](61_dsnet.ipynb) asks that.
#
# ## Read next
#
# - Germer, Uelwer, Conrad, Harmeling 2020, *PyMatting: A Python Library for Alpha Matting*,
#   <https://doi.org/10.21105/joss.02481>: other Laplacians, and faster solvers.
# - Warfield, Zou, Wells 2004, *Simultaneous Truth and Performance Level Estimation (STAPLE)*,
#   <https://doi.org/10.1109/TMI.2004.828354>: another way from several readers to a soft label.
# - Gros, Lemay, Cohen-Adad 2021, *SoftSeg*, <https://arxiv.org/abs/2011.09041>: training on soft labels throughout.
#
# ## Exercises
#
# 1. Soften the *true* mask, `case.label`, instead of the reader's. Which of the labels improve?
#
# <details><summary>A hint</summary>
#
# The two lines that make `blurred` and `matted` in section 4, with `c.label`.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# true_bands = [trimap_from_mask(c.label, radius=3) for c in cases]
# from_truth = {
#     "blurred": [cv2.GaussianBlur(c.label.astype(np.float32), (0, 0), 1.0) for c in cases],
#     "matted": soft_masks([c.image for c in cases], true_bands, eps=eps_of_noise),
# }
# for name, made in from_truth.items():
#     errors = [np.abs(m - c.extras["seen"])[b == 0].mean() for m, c, b in zip(made, cases, true_bands, strict=True)]
#     print(f"{name}: {np.mean(errors):.4f} from the true mask, {in_band[name].mean():.4f} from the reader's")
#     if name == "blurred":
#         assert np.mean(errors) < in_band[name].mean()
# ```
#
# The blur profits most: it trusts the outline completely. Matting looks at the image and forgives a wrong outline, as
# long as the band includes the edge.
#
# </details>
#
# 2. Let the second nodule lie in the band of the first. What does the first way do with it, and what does
#    `keep_small=True` change?
#
# <details><summary>A hint</summary>
#
# Erosion removes what is narrower than its disk. Add a mask of 3 × 3 pixels to a copy of `case.label`.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# row, column = np.argwhere(case.label)[0]
# both = case.label.copy()
# both[row - 5 : row - 2, column : column + 3] = 1
# kept = {keep: trimap_from_mask(both, radius=3, keep_small=keep) for keep in (False, True)}
# small = (slice(row - 5, row - 2), slice(column, column + 3))
# print({keep: int((trimap[small] == 1).sum()) for keep, trimap in kept.items()}, "pixels of it are certain")
# assert (kept[False][small] == 1).sum() == 0 < (kept[True][small] == 1).sum()
# ```
#
# Without it the small nodule has no certain pixel, and matting fades it out. With `keep_small=True` its most inner
# pixels stay certain.
#
# </details>
