# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Start here
#
# In two minutes, on a laptop, without a GPU and without any download, you will
#
# - look into a phantom chest in which every tumour voxel is known;
# - train a small U-Net to find such tumours, and watch it learn;
# - see where it is right and wrong on a patient it was not trained on, and measure both.
#
# Click into a cell and press **Shift + Enter** to run it; *Run → Run All Cells* runs them all. You cannot break
# anything: change a number, run the cell again, see what happens. Words that are new to you are in the
# [glossary](../site/pages/glossary.md).
#
# The network is the U-Net of Ronneberger, Fischer, Brox 2015, <https://arxiv.org/abs/1505.04597>.

# %% tags=["parameters"]
epochs: int = 10  # each ends with a score on two validation patients
width: int = 8  # channels of the U-Net at full size; the paper has 64
seed: int = 0  # of the first weights and of the order of training
smoke: bool = False  # a few seconds: two short epochs, to check that everything runs

# %% [markdown]
# ## 1. A patient
#
# *Half a minute.*
#
# A *phantom* is an image drawn by a formula, with the grey values, the noise and the blur of a CT scan. In this library
# it is a `Case`: an image in Hounsfield units (air −1000, water 0, bone above 300), a label that says which voxels are
# tumour, and the spacing of the voxels in millimetres. `dsnotes.open_case` opens real scans as the same type.

# %%
import numpy as np
import torch

import dsnotes
from dsnotes.data import phantoms
from dsnotes.data.preprocess import hu_window
from dsnotes.viewers import Guess, Table, curves, progress

patient = phantoms.lung(1, seed=103)[0]
dsnotes.show(patient, window="lung")

# %% [markdown]
# Three planes through the largest tumour, and all tumours as solid bodies; the line is the true outline. In JupyterLab
# and VS Code an interactive view of the same patient appears above the picture: scroll through the planes, drag the
# body to turn it, hide the truth and try to find the tumours yourself.
#
# **Before running:** what share of all voxels is tumour? Half, a tenth, a hundredth?

# %%
guess = Guess("What share of all voxels is tumour?")

# %%
share = float(patient.label.mean())
guess.compare(share, f"So 'no tumour anywhere' is right in {1 - share:.1%} of the voxels.")
assert share < 0.03

# %% [markdown]
# Because of that number nobody in this field reports accuracy alone, and a network that has learned to predict "no
# tumour" tends to stay stuck there.
#
# ## 2. A network that learns
#
# *One minute.*
#
# Twenty other patients are for training, two for validation, and five more are held out until the end. Grey values from
# −1000 to 400 HU are scaled to 0 … 1, and the U-Net sees one slice at a time.

# %%
prepare = hu_window(-1000, 400)
n_train = 20 if not smoke else 3
train, validation, unseen = (
    [prepare(case) for case in phantoms.lung(n, seed=k)]
    for k, n in progress(enumerate((n_train, 2, 5 if not smoke else 1)), of="groups of patients")
)
unseen = [prepare(patient), *unseen]

torch.manual_seed(seed)
system = dsnotes.build("unet-2d", in_channels=1, classes=2, width=width)
print(f"{system.name}: {sum(weight.numel() for weight in system.network.parameters()):,} weights")

# %% [markdown]
# A *system* is a network together with its training objective: here cross-entropy plus a Dice term (1 − Dice), at the
# output only. `fit` repeatedly draws slices, half of them with tumour, compares the prediction with the truth and
# updates the weights. `augment="mss"` rotates, stretches and mirrors slices, so that the network cannot memorise
# *where* tumours were.
#
# **Before running:** which of the two terms falls first: the cross-entropy, which weights every voxel alike, or the
# Dice term, which measures the overlap with the tumour?

# %%
first_to_fall = Guess("Which term falls first?", ["cross-entropy", "dice"])

# %%
history = dsnotes.fit(
    system,
    train,
    validation,
    patch=(64, 64),
    epochs=epochs if not smoke else 2,
    iterations=40 if not smoke else 4,
    batch=8,
    lr=4e-3,
    schedule="poly",
    foreground=0.5,
    augment="mss",  # as MSS U-Net does; True is meant for images of other scanners
    seed=seed,
    on_epoch=curves.live(),
    progress=False,  # the live curves show it
)

# %%
fallen = {term: history[1][term] / history[0][term] for term in ("cross-entropy", "dice")}
first_to_fall.compare(min(fallen, key=fallen.get), "'No tumour' nearly everywhere is easy to learn and lowers it.")
assert smoke or history.best["val_dice"] > 0.6

# %% [markdown]
# The Dice term falls later, and as it falls the Dice of the validation patients rises, unevenly because there are only
# two of them.
#
# ## 3. Its prediction
#
# *Half a minute.*
#
# Now the patient from above, whom it was not trained on. The network predicts a probability for every voxel; `to_label`
# marks the voxels where it is above one half.

# %%
prediction = dsnotes.to_label(dsnotes.predict(system, unseen[0]))
dsnotes.show(patient, prediction=prediction, window="lung")

# %% [markdown]
# Solid is the truth, dashed the prediction. In the planes the large tumour is right but for a voxel here and there
# along its rim. In 3-D the truth is a pale shell round the prediction: look for a shell with nothing inside. That is a
# tumour that the network missed, and it is the smallest one.

# %%
answers = {"the U-Net": prediction, "always 'no tumour'": np.zeros_like(patient.label)}
scores = {who: dsnotes.score(answer, patient.label, spacing=patient.spacing) for who, answer in answers.items()}
shown = ("dice", "sensitivity", "ppv", "accuracy")
Table({"who": who, **{name: score[name] for name in shown}} for who, score in scores.items())

# %% [markdown]
# *Accuracy* hardly distinguishes the two. *Dice*, the overlap of prediction and truth, does: 1 is perfect, 0 is no
# overlap. *Sensitivity* is the share of the tumour that was found, *PPV* (positive predictive value) the share of the
# prediction that is tumour.

# %%
nobody = scores["always 'no tumour'"]
assert nobody["accuracy"] > 0.97
assert nobody["dice"] == 0
assert smoke or scores["the U-Net"]["dice"] > 0.6

# %% [markdown]
# One more number leads to the rest of this course. **Before running:** take the large, the medium and the small tumours
# of all unseen patients. What share of their voxels does the network find?

# %%
missed = Guess("What share of the small tumours' voxels does it find?")

# %%
found = {"large": [], "medium": [], "small": []}
for case in progress(unseen, of="predictions"):
    label = dsnotes.to_label(dsnotes.predict(system, case))
    for tumour in case.extras["tumours"]:
        found[tumour["scale"]].append(label[case.extras["components"] == tumour["component"]].mean())
means = {scale: float(np.mean(each)) for scale, each in found.items()}
missed.compare(means["small"], f"Of the large ones it finds {means['large']:.2f}, of the medium {means['medium']:.2f}.")
assert smoke or means["small"] < 0.5 * min(means["large"], means["medium"])

# %% [markdown]
# The small ones are mostly missed: in a single slice a small tumour looks like a vessel, and in the loss a tumour of
# ten voxels counts for almost nothing beside one of a thousand. Would it help to supervise the network at *more places
# than its output*, so that every scale contributes to the loss? That is the one idea of this course, and of its five
# papers.
#
# Go on with [10_one_idea](10_one_idea.ipynb).
#
# ## Exercises
#
# 1. How many weights does the U-Net have with `width=4`, `8` and `16`, and how does the number grow? Predict first.
#
# <details><summary>A hint</summary>
#
# `dsnotes.build(…, width=…)`, and count as in section 2.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# counts = {}
# for channels in (4, 8, 16):
#     network = dsnotes.build("unet-2d", width=channels).network
#     counts[channels] = sum(weight.numel() for weight in network.parameters())
# print(counts)
# assert 3.8 < counts[16] / counts[8] < 4.1
# ```
#
# Twice the width is four times the weights: a convolution has a kernel for every pair of an input and an output
# channel.
#
# </details>
#
# 2. Which value of the threshold finds half of the small tumours' voxels, and what does that cost in PPV?
#
# <details><summary>A hint</summary>
#
# `dsnotes.predict(system, case)[-1]` is the probability of tumour; compare it with .5, .1 and .01.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# for threshold in (0.5, 0.1, 0.01):
#     marks = [dsnotes.predict(system, case)[-1] > threshold for case in unseen]
#     small, right, all_of_them = [], 0, 0
#     for mark, case in zip(marks, unseen, strict=True):
#         right, all_of_them = right + (mark & (case.label > 0)).sum(), all_of_them + mark.sum()
#         small += [
#             mark[case.extras["components"] == t["component"]].mean()
#             for t in case.extras["tumours"]
#             if t["scale"] == "small"
#         ]
#     print(f"threshold {threshold}: small found {np.mean(small):.2f}, PPV {right / max(all_of_them, 1):.2f}")
# ```
#
# A low threshold finds more of them and marks vessels too: in a single slice a small tumour and a vessel look alike.
#
# </details>
