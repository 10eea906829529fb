# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How sure? What a probability is worth
#
# A network does not return a mask. It returns a probability for every pixel, and most papers threshold it at once and
# report a Dice. This notebook asks what the probability itself is worth: for the share of a pixel that is lesion, for
# the area of a nodule, and for predicting readers who disagree. You will
#
# - write the expected calibration error in ten lines, and see how large it is by chance alone;
# - train one network on binary, blurred, matted and averaged labels, and compare their reliability;
# - see why a Dice loss makes a network over-confident, and what a temperature mends and what it does not;
# - put an interval on the area of a nodule, and check how often the interval is right;
# - measure which network is nearest to the distribution of four readers, and how near a reader is;
# - decide what DSNet's soft masks are good for.
#
# Papers: Guo et al. 2017, *On Calibration of Modern Neural Networks*, <https://arxiv.org/abs/1706.04599>; Kohl et al.
# 2018, *A Probabilistic U-Net*, <https://arxiv.org/abs/1806.05034>; soft masks: Wang et al.,
# <https://arxiv.org/abs/2007.14556>. Needs a CPU and less than ten minutes.

# %% tags=["parameters"]
steps: int = 600  # training steps of each network
seeds: int = 3  # networks per kind of label
readers_folder: str = ""  # a folder with the four-reader archive of LIDC nodules; empty: the numbers of a stored run
smoke: bool = False  # a few nodules and steps only

# %%
import itertools
from dataclasses import replace

import numpy as np
import torch

import dsnotes
from dsnotes import metrics
from dsnotes.data import phantoms
from dsnotes.data.preprocess import hu_window
from dsnotes.inference import fit_temperature, predict_members, recalibrated
from dsnotes.losses import cross_entropy
from dsnotes.networks.unet import UNet
from dsnotes.softmask import averaged_labels, blurred_labels, hard_labels, softened
from dsnotes.supervision import Plain, SoftTargets
from dsnotes.viewers import Guess, Table, curves, maps, progress, reliability_diagram

if smoke:
    steps, seeds = 10, 2

# %% [markdown]
# ## 1. What a probability should mean
#
# A network says 0.8 for a thousand pixels. If some 800 of them are lesion, it is *calibrated*. This is a statement
# about many pixels; no single pixel can refute it. The usual measure sorts pixels into bins by their probability, and
# compares in each bin the mean probability with how often the pixels are lesion:
#
# $$\mathrm{ECE} = \sum_k \frac{n_k}{n}\, \big|\bar t_k - \bar p_k\big|$$
#
# Here is a forecaster who exaggerates: the true probability is $q$, and he says $\sigma(2.5\,\mathrm{logit}\,q)$.

# %%
rng = np.random.default_rng(0)
q = rng.beta(0.7, 0.7, 20_000)
said = 1 / (1 + (1 / q - 1) ** 2.5)
lesion = rng.random(len(q)) < q


def ece_by_hand(p, t, bins=15):
    """The expected calibration error with bins of equal width, (low, high]."""
    edges = np.linspace(0, 1, bins + 1)
    error = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (p > low) & (p <= high) if low else p <= high
        if inside.any():
            error += inside.mean() * abs(t[inside].mean() - p[inside].mean())
    return error


# %%
assert np.isclose(ece_by_hand(said, lesion), metrics.expected_calibration_error(said, lesion))
print(f"exaggerated: ECE {ece_by_hand(said, lesion):.3f}; the true probabilities: {ece_by_hand(q, lesion):.3f}")
reliability_diagram(
    {"exaggerated": metrics.reliability(said, lesion), "calibrated": metrics.reliability(q, lesion)},
    y="frequency of lesion",
)

# %% [markdown]
# Where he says 0.9 it happens less often, where he says 0.1 more often: the curve is flatter than the diagonal.
#
# **Before running:** the true probabilities are perfectly calibrated. What ECE will 150 of them show, with 15 bins?

# %%
by_chance = Guess("What ECE will 150 perfectly calibrated pixels show?")

# %%
by_count = {"ECE of the true probabilities": {}, "debiased": {}, "expected by chance": {}}
for n in (150, 500, 2000, 20_000):
    draws = [metrics.reliability(q[at], lesion[at]) for at in (rng.choice(len(q), n, replace=False) for _ in range(20))]
    for name, of in zip(by_count, ("error", "debiased", "floor"), strict=True):
        by_count[name][str(n)] = float(np.mean([getattr(one, of) for one in draws]))
curves.lines(by_count, x="pixels", y="ECE", title="A perfect forecaster's ECE is not 0")

# %%
plain, floor = (by_count[name]["150"] for name in ("ECE of the true probabilities", "expected by chance"))
by_chance.compare(plain, f"Chance alone explains {floor:.3f}.")
assert plain > 0.05
assert abs(plain - floor) < 0.3 * plain

# %% [markdown]
# Noise cannot cancel in an absolute value, so a small sample looks miscalibrated, and more bins make it worse.
# `Reliability` therefore reports the error that a calibrated network would show (`floor`) and an estimate with the bias
# removed (`debiased`). The opposite bias exists too: errors of opposite sign within one bin cancel.
#
# Calibration alone is not enough. **Before running:** a forecaster says the prevalence, for every pixel. What is his
# ECE, and what is he worth?

# %%
lazy = np.full_like(q, lesion.mean())
rows = {"exaggerated": said, "true probabilities": q, "prevalence for all": lazy}
Table(
    {"": name, "ECE": ece_by_hand(p, lesion), "Brier": metrics.brier(p, lesion), "log": metrics.log_score(p, lesion)}
    for name, p in rows.items()
)

# %%
assert ece_by_hand(lazy, lesion) < 1e-9
assert metrics.brier(q, lesion) < min(metrics.brier(said, lesion), metrics.brier(lazy, lesion))
assert metrics.log_score(q, lesion) < min(metrics.log_score(said, lesion), metrics.log_score(lazy, lesion))

# %% [markdown]
# The lazy forecaster is perfectly calibrated and useless. The Brier score $\overline{(p-t)^2}$ and the log score
# $-\overline{\ln p_t}$ are *proper*: on average nothing beats the true probability, so they cannot be cheated.
#
# ## 2. Two meanings, four labels
#
# At the border of a nodule, "0.6" can mean two things: 60 % of this pixel is nodule (a *share*), or 60 % of readers
# would mark it (a *frequency*). Our phantoms know both: the share that the image shows, `seen`, and four readers. From
# the readers' consensus we make the labels that people train on.


# %%
def nodules(n, seed):
    """Nodules in the lung window; the label is the consensus of four readers."""
    cases = [hu_window(-1000, 400)(case) for case in phantoms.nodules(n, seed=seed, size=48)]
    return [replace(case, label=metrics.consensus(case.extras["readers"])) for case in cases]


train, validation, test = (
    (nodules(n, seed) for n, seed in ((8, 1), (4, 2), (8, 3)) if smoke)
    if smoke
    else (nodules(96, 1), nodules(16, 2), nodules(64, 3))
)
labels = {
    "binary": hard_labels(train),
    "blurred": blurred_labels(train, sigma=1.0),
    "averaged": averaged_labels(train),
    "matted": softened(train, annotators=False),
}

# %%
middle = (slice(8, 40), slice(8, 40))
one = 2
shown = {name: made[one].extras["soft"][middle] for name, made in labels.items()}
truth = {"image": train[one].image[middle], "share seen": train[one].extras["seen"][middle]}
maps({"truth": truth, "labels": shown}, window=(0, 1), title="One spiculated nodule")

# %% [markdown]
# **Before running:** which label is closest to the share, and which to the readers' frequency? In training data the
# answer needs no network.


# %%
def band(case):
    """Pixels within three of the true border, on each side."""
    return metrics.boundary_band((case.extras["alpha"] >= 0.5).astype(int), spacing=case.spacing, width=2.1)


def share(cases):
    return [case.extras["seen"] for case in cases]


def frequency(cases):
    return [case.extras["readers"].mean(0) for case in cases]


near = {"where": [band(case) for case in train]}
Table(
    {
        "label": name,
        "off the share": metrics.share_error(soft := [c.extras["soft"] for c in made], share(train), **near),
        "off the readers": metrics.share_error(soft, frequency(train), **near),
    }
    for name, made in labels.items()
)

# %% [markdown]
# ## 3. Networks trained on each
#
# One small U-Net per label and seed, all with the same images in the same order, the same number of steps and the
# cross-entropy, which takes shares as targets. `SoftTargets` puts the soft mask in the place of the label, on any
# backbone.


# %%
def trained(name, seed, objective=None, cases=None):
    """A U-Net trained on one kind of label."""
    torch.manual_seed(seed)
    objective = objective or SoftTargets(loss=cross_entropy)
    network = UNet(width=8, depth=4, norm="instance")
    system = dsnotes.system(name, network, objective, lr=3e-3, schedule="poly", epochs=10)
    how = {"patch": (48, 48), "batch": 8, "iterations": max(1, steps // 10)}
    dsnotes.fit(system, cases or labels[name], seed=seed, progress=False, **how)
    return system


nets = {name: [trained(name, seed) for seed in range(seeds)] for name in progress(labels)}
by_dice = Plain(cross_entropy=0.0, squared=False)
nets["binary, Dice"] = [trained("dice", seed, by_dice, labels["binary"]) for seed in progress(range(seeds))]

# %%
predicted = {name: [[dsnotes.predict(net, c)[0] for c in test] for net in of] for name, of in nets.items()}
near = {"where": [band(case) for case in test]}


def row(name, p):
    """The scores of one network in the band, and the Dice of its mask."""
    return {
        "label": name,
        "Dice": np.mean([metrics.dice(x >= 0.5, c.extras["alpha"] >= 0.5) for x, c in zip(p, test, strict=True)]),
        "share error": metrics.share_error(p, share(test), **near),
        "ECE, share": metrics.expected_calibration_error(p, share(test), **near),
        "ECE, readers": metrics.expected_calibration_error(p, frequency(test), **near),
        "log, readers": metrics.log_score(p, frequency(test), **near),
    }


def averaged(rows):
    """One row from those of several seeds: the mean of each score."""
    return {key: rows[0][key] if key == "label" else float(np.mean([r[key] for r in rows])) for key in rows[0]}


found = {name: [row(name, p) for p in of] for name, of in predicted.items()}
Table([averaged(rows) for rows in found.values()], caption=f"In the band, mean of {seeds} seeds; errors: 0 is best")

# %%
reliability_diagram(
    {name: metrics.reliability(of[0], share(test), bins=10, **near) for name, of in predicted.items()},
    y="share of nodule",
    title="Against the share seen (seed 0); intervals count nodules, not pixels",
)

# %%
reliability_diagram(
    {name: metrics.reliability(of[0], frequency(test), bins=10, **near) for name, of in predicted.items()},
    y="frequency among readers",
    title="Against four readers (seed 0)",
)

# %% [markdown]
# ## 4. Why Dice makes a network over-confident
#
# A border pixel that two of five readers would mark: the best probability is 0.4. Beside it lie nine pixels that
# everybody marks. **Before running:** what does each loss, averaged over the readers, want the network to say?

# %%
p = np.linspace(0.001, 0.999, 999)
marked = np.array([1, 1, 0, 0, 0])[:, None]  # five readers
expected = {
    "cross-entropy": -(marked * np.log(p) + (1 - marked) * np.log(1 - p)).mean(0),
    "1 − Dice": (1 - 2 * (9 + p * marked) / (9 + p + 9 + marked)).mean(0),
}
best = {name: round(float(p[loss.argmin()]), 2) for name, loss in expected.items()}
print(f"the loss is lowest at {best}")
assert best["cross-entropy"] == 0.4
assert best["1 − Dice"] in (0, 1)

# %% [markdown]
# Cross-entropy is proper, so its best answer is the frequency. Dice is not: its expectation is best at 0 or at 1,
# whatever the frequency. A network that minimises it learns to hide its doubt. In the diagrams above its points lie on
# a flat line. How many pixels lie between the ends?

# %%
doubt = {
    name: np.mean([((x > 0.1) & (x < 0.9))[w].mean() for p in of for x, w in zip(p, near["where"], strict=True)])
    for name, of in predicted.items()
}
print({name: f"{value:.0%} of the band between 0.1 and 0.9" for name, value in doubt.items()})

# %% [markdown]
# ## 5. What a temperature mends
#
# Temperature scaling divides all logits by one number $T$, chosen so that the log score on *validation* cases is
# lowest. The score is convex in $1/T$, so there is one best value, and $T = 1$ is among the candidates: validation
# never gets worse. **Before running:** which of our networks needs the largest $T$? Will it improve Dice?

# %%
softest = Guess("Which network needs the largest temperature?", list(nets))


# %%
def recalibrate(net):
    """The network with its temperature, fitted to the consensus of the validation cases."""
    p, label = [dsnotes.predict(net, c) for c in validation], [c.label for c in validation]
    scaling = fit_temperature(p, label)
    assert metrics.log_score([scaling(x) for x in p], label) <= metrics.log_score(p, label) + 1e-6
    return recalibrated(net, scaling), scaling.temperature


def scaled_row(name, net):
    calibrated, temperature = recalibrate(net)
    return row(name, [dsnotes.predict(calibrated, c)[0] for c in test]) | {"temperature": temperature}


scaled = {name: [scaled_row(name, net) for net in of] for name, of in nets.items()}
Table([averaged(rows) for rows in scaled.values()], caption="The same after temperature scaling")


# %%
def mean(rows, key):
    return float(np.mean([row[key] for row in rows]))


temperatures = {name: mean(rows, "temperature") for name, rows in scaled.items()}
softest.compare(max(temperatures, key=temperatures.get), "Dice does not change: 0.5 stays 0.5.")
for name in nets:
    assert np.isclose(mean(scaled[name], "Dice"), mean(found[name], "Dice"), atol=1e-3)

# %% [markdown]
# Over three seeds (`benchmarks/results/soft_targets.md`) the network trained with Dice is softened most, $T = 1.88$,
# and its ECE against the readers falls from .244 to .211; cross-entropy on the same labels follows ($T = 1.23$, .203 to
# .185). The matted network is *sharpened* ($T = .92$), and its error against the readers grows (.094 to .104): the
# temperature fits it to the consensus, which has no doubt at all. A temperature calibrates for the labels that it was
# fitted to, and for no others.
#
# It moves all probabilities towards or away from one half, by the same rule. It cannot move a border, change which
# pixel is more likely than another, or repair one kind of nodule without the others:

# %%
kinds = [case.extras["kind"] for case in test]
calibrated = [dsnotes.predict(recalibrate(nets["binary, Dice"][0])[0], case)[0] for case in test]
by_kind = []
for kind in dict.fromkeys(kinds):
    at = [i for i, other in enumerate(kinds) if other == kind]
    where = {"where": [near["where"][i] for i in at]}
    t = [frequency(test)[i] for i in at]
    errors = (metrics.reliability([p[i] for i in at], t, **where) for p in (predicted["binary, Dice"][0], calibrated))
    by_kind.append({"": kind} | {name: e.error for name, e in zip(("before", "after"), errors, strict=True)})
Table(by_kind, caption="ECE against the readers, network trained with Dice")

# %% [markdown]
# ## 6. An area with an interval
#
# The expected area of a nodule is the sum of its probabilities. How far may it be off? The probabilities alone do not
# say, because they do not say whether pixels err *together*. Two extremes:
#
# - independent pixels: errors cancel, and the SD is $\sqrt{\sum p(1-p)}$ pixels;
# - all pixels together, as one reader draws generously everywhere: the area above each threshold.
#
# And an *ensemble*: the areas of networks that differ in their seed, in four mirrored views each. **Before running:**
# which 90 % interval will contain the readers' areas 90 % of the time?


# %%
def area(mask, case):
    """In mm², of a mask or of probabilities."""
    return metrics.expected_volume(mask, spacing=case.spacing)


members = {c.name: predict_members(nets["averaged"], c, mirror=True)[:, 0] for c in [*validation, *test]}
drawn = {c.name: [area(mask, c) for mask in c.extras["readers"]] for c in [*validation, *test]}


def intervals(case):
    """90 % intervals of a nodule's area, from the networks trained on averaged labels."""
    of, mm = members[case.name], {"spacing": case.spacing}
    samples = {
        "independent pixels": metrics.volume_samples(of.mean(0), **mm, together=False),
        "pixels together": metrics.volume_samples(of.mean(0), **mm),
        "ensemble": [area(one, case) for one in of],
    }
    return {name: metrics.volume_interval(areas, level=0.9) for name, areas in samples.items()}


# %%
inside = {}
for case in test:
    for name, (low, high) in intervals(case).items():
        inside.setdefault(name, []).extend(low <= mm2 <= high for mm2 in drawn[case.name])
covered = {name: float(np.mean(hits)) for name, hits in inside.items()}
print({name: f"{share:.0%} of the readers' areas inside" for name, share in covered.items()})
assert covered["independent pixels"] < covered["pixels together"]

# %% [markdown]
# Pixels do not err alone, so the formula from the textbook is far too sure. And an ensemble only knows how much its
# *networks* differ, not how much readers do.
#
# There is a way that needs no assumption about pixels: look at the validation cases. *Split conformal prediction* asks
# by which factor the areas there were off, and takes the factor that was large enough for 90 % of them.


# %%
def off(case):
    """log(drawn / expected area) of each reader."""
    return np.log(np.array(drawn[case.name]) / area(members[case.name].mean(0), case))


errors = np.sort(np.abs(np.concatenate([off(case) for case in validation])))
rank = min(int(np.ceil(0.9 * (len(errors) + 1))), len(errors))  # the smallest factor that was large enough
factor = float(np.exp(errors[rank - 1]))
held = np.mean([np.abs(off(case)) <= np.log(factor) for case in test])
print(f"within a factor of {factor:.2f} lie {held:.0%} of the readers' areas in the test cases")

# %% [markdown]
# The promise of 90 % holds on average over validation *and* test cases that come from the same source. It breaks when a
# new scanner or a new kind of nodule arrives, and four readers of one nodule are not four independent cases.
#
# ## 7. Who is nearest to the readers?
#
# Four readers are four samples of a distribution. The *generalised energy distance* compares it with that of a model:
# $2\,\overline{d(s, y)} - \overline{d(s, s')} - \overline{d(y, y')}$ with $d = 1 - \mathrm{IoU}$. It rewards masks that
# are near to the readers' *and* differ as the readers differ. A map of probabilities becomes samples by thresholding it
# at several heights; for the area, the CRPS does the same in mm². **Before running:** which label will win?


# %%
def to_readers(samples, case, readers=None):
    """Energy distance of masks to the readers, and CRPS of their areas."""
    readers = case.extras["readers"] if readers is None else readers
    areas, theirs = ([area(mask, case) for mask in masks] for masks in (samples, readers))
    return metrics.energy_distance(samples, readers), metrics.crps(areas, theirs)


def nearness(p):
    """Mean over the test cases, for one map of probabilities each."""
    return np.mean([to_readers(metrics.threshold_masks(x, 8), c) for x, c in zip(p, test, strict=True)], axis=0)


distances = {name: np.array([nearness(p) for p in of]) for name, of in predicted.items()}
table = {name: d.mean(0) for name, d in distances.items()}

# %%
hard = [to_readers([x >= 0.5], c) for x, c in zip(predicted["binary"][0], test, strict=True)]
ensemble = [to_readers(members[c.name], c) for c in test]
alone = [to_readers(r[[i]], c, np.delete(r, i, 0)) for c in test for r in [c.extras["readers"]] for i in range(4)]
table |= {
    "binary, one mask at one half": np.mean(hard, axis=0),
    "averaged, 12 soft masks of an ensemble": np.mean(ensemble, axis=0),
    "one reader, against the other three": np.mean(alone, axis=0),
}
Table({"": name, "energy distance": d[0], "CRPS, mm²": d[1]} for name, d in table.items())

# %% [markdown]
# How near is a real reader? `readers_folder` points to the archive of 896 nodules of LIDC-IDRI with four outlines each;
# without it, this cell prints a stored run of `benchmarks/lidc_readers.py`, which also splits the nodules by size.

# %%
if readers_folder:
    from dsnotes.data.annotators import open_reader_archive

    real = open_reader_archive(readers_folder)
    others = [(c, i, np.delete(c.extras["readers"], i, 0)) for c in real for i in range(4)]
    single = np.mean([metrics.energy_distance(c.extras["readers"][[i]], rest) for c, i, rest in others])
    print(f"{len(real)} nodules: one reader's energy distance to the other three is {single:.3f}")
else:
    print("stored, 896 nodules of 554 patients, mean and 95 % over patients:")
    print("one reader to the other three: Dice .774 (.767 to .780), energy distance .476 (.465 to .487)")
    print("a forecast of one reader's volume: by one reader .280 off, by three .140, as a share of the mean volume")

# %% [markdown]
# ## 8. DSNet's soft masks, in the currency that suits them
#
# Notebook 61 found no loss of Dice with soft masks that three seeds could show. Here is what they buy. The last column
# is the *smallest effect* that so many seeds could have shown, with a power of 80 % at the 5 % level:
# $(t_{0.975} + t_{0.8})\, s / \sqrt{n}$ of the paired differences. A difference below it may be chance, and so may its
# absence.


# %%
def smallest_effect(differences):
    """What a paired comparison over these seeds could have shown."""
    from scipy.special import stdtrit

    n = len(differences)
    return (stdtrit(n - 1, 0.975) + stdtrit(n - 1, 0.8)) * np.std(differences, ddof=1) / np.sqrt(n)


def compared(key):
    matted, binary = (np.array([row[key] for row in found[name]]) for name in ("matted", "binary"))
    ratio = {"matted / binary": matted.mean() / (binary.mean() or np.nan)}
    least = {"smallest effect": smallest_effect(matted - binary)}
    return {"": key, "binary": binary.mean(), "matted": matted.mean()} | ratio | least


verdict = {key: compared(key) for key in ("Dice", "share error", "ECE, share", "ECE, readers", "log, readers")}
Table(verdict.values(), caption=f"{seeds} seeds of {steps} steps, pixels of the band")

# %% [markdown]
# **Verdict:** *use it, if shares or volumes matter.* `benchmarks/soft_targets.py` trains nine rows with three seeds at
# this budget (`benchmarks/results/soft_targets.md`). Per seed, binary → matted:
#
# | | seed 0 | seed 1 | seed 2 | mean difference | smallest effect |
# |---|---|---|---|---|---|
# | error of the share | .279 → .181 | .262 → .187 | .252 → .175 | −.083 | .04 |
# | ECE, share | .271 → .142 | .253 → .150 | .243 → .139 | −.112 | .05 |
# | ECE, readers | .222 → .090 | .204 → .104 | .184 → .089 | −.109 | .06 |
# | Dice | .770 → .767 | .756 → .763 | .796 → .787 | −.002 | .03 |
#
# Matted targets lower the error of the share to .69 of what it was and the ECE to about half (.56 of it against the
# share, .46 against the readers), and show no loss of Dice, though these runs could have missed one below .03. Blurring
# the mask, which needs no matting, gets seven tenths of the way in the error of the share (.204) and four fifths in the
# ECE (.165), but its Dice is .024 lower, which three seeds cannot establish, and it leaves the areas 30 % too large;
# binary labels make them 26 % too large, matted ones 17 %. With the Jaccard metric loss the matted network has the
# lowest of all three errors and the highest Dice, .789; no binary network had that loss, so how much of it is the loss
# is open.
#
# Three things hide this effect. The band must not be too wide for small nodules: with three pixels for all of them
# (`core=0`), small nodules faded in their own soft masks (notebook 60), and in an earlier run with cross-entropy the
# matted network's Dice was lower in every seed, by .024 on average. It looked like the price of soft masks.
#
# It also grows with training: after 300 steps (`--steps 300`) the binary network is still blurred at the border, with
# an error of .201 and an ECE of .172, and matted targets lower them to .87 and .72 of that. 300 steps more make the
# binary network surer and worse, at the same Dice, and change the matted one less (.174 to .181, ECE .124 to .144). So
# stopping early buys a part of it for nothing.
#
# And with batch norm (`--norm batch`) one of three networks found the nodules, but all weights of its head were
# negative. Features after a ReLU are not, so no probability could pass the one that the bias sets, and that had not
# come to one half: a Dice of 0. **Look at the highest probability before you call a network untrained.**
#
# The cells above train all five kinds anew; what they print for your seeds counts, not this table.
#
# ## Read next
#
# - Mehrtash et al. 2020, *Confidence Calibration and Predictive Uncertainty Estimation for Deep Medical Image
#   Segmentation*, <https://arxiv.org/abs/1911.13273>: Dice against cross-entropy, and ensembles, on three organs.
# - Gros, Lemay, Cohen-Adad 2020, *SoftSeg*, <https://arxiv.org/abs/2011.09041>: labels that resampling and augmentation
#   have softened are not made binary again.
#
# ## Exercises
#
# 1. Train on `smoothed_labels(train)` from `dsnotes.softmask`. How good is the network in the band, and what is the
#    expected area of its nodules?
#
# <details><summary>A solution</summary>
#
# In the band it looks no worse than the binary one. But every pixel of the background gets 0.05, and of 48 × 48 pixels
# that is an area of 100 pixels, as large as a nodule. Smoothing says "I doubt everything equally", and doubt belongs at
# the border.
#
# </details>
#
# 2. Compute the ECE over the whole image instead of the band. Why do all networks look excellent?
#
# <details><summary>A solution</summary>
#
# Nine pixels of ten are background far from any nodule, and every network is sure and right there. Their bin decides
# the mean. A paper that reports an ECE without saying over which voxels reports the share of background.
#
# </details>
#
# 3. `fit_temperature` also takes shares as targets: pass `frequency(validation)` instead of the consensus. Which way
#    does $T$ move, and why?
#
# <details><summary>A solution</summary>
#
# It rises. The consensus hides that readers disagree, so a network that agrees with it may be sure; against the readers
# themselves the same network was too sure.
#
# </details>
