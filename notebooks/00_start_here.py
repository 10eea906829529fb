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
# In about a minute, on a laptop, without a GPU and without any download, you will
#
# - look into a phantom chest in which every tumour voxel is known;
# - train a small U-Net to find such tumours, and watch its loss;
# - see where it is right and wrong on a patient it was not trained on, and measure both;
# - see what the rest of this course covers.
#
# Click into a cell and press **Shift + Enter** to run it; *Run → Run All Cells* runs them all. You cannot break
# anything: change a number, run the cell again, see what happens.
#
# The network is the U-Net of Ronneberger, Fischer, Brox 2015, <https://arxiv.org/abs/1505.04597>.

# %% tags=["parameters"]
epochs: int = 12  # each ends with a score on the validation patients
width: int = 8  # channels of the U-Net at full size; the paper has 64
smoke: bool = False  # a few seconds: two short epochs, to check that everything runs

# %%
import json
from pathlib import Path

import numpy as np
import torch

import dsnotes
from dsnotes.data import phantoms
from dsnotes.data.preprocess import hu_window
from dsnotes.viewers import Table, curves

# %% [markdown]
# ## 1. A patient
#
# A *phantom* is an image drawn by a formula, with the grey values, the noise and the blur of a CT scan. In this library
# it is a `Case`: an image in Hounsfield units (air −1000, water 0, bone above 300), a label that says which voxels are
# tumour, and the spacing of the voxels in millimetres. `dsnotes.open_case` opens real scans as the same type.

# %%
patients = phantoms.lung(28, seed=0)
patient = patients[-1]
dsnotes.show(patient, window="lung")

# %% [markdown]
# You see three planes through the largest tumour, and all tumours as solid bodies; the line is the true outline. In
# JupyterLab and VS Code an interactive view of the same patient appears above the picture: scroll through the planes,
# drag the body to turn it, hide the truth and try to find the tumours yourself. The still picture stays in the saved
# notebook.
#
# `viewer=` chooses the view: `"volume"` for the view you can turn, `"slices"` for sliders, `"itk"` for itkwidgets where
# it is installed, `"still"` for the still picture. The environment variable `DSNOTES_VIEWER` sets this for all cells.
# Without either, `show` picks a view that works where it runs.

# %%
dsnotes.show(patient, window="lung", viewer="slices", zoom=40)

# %% [markdown]
# **Before running:** what share of all voxels is tumour? Half, a tenth, a hundredth?

# %%
share = patient.label.mean()
print(f"{share:.2%} of the voxels are tumour; 'no tumour anywhere' is right in {1 - share:.2%} of them")
assert share < 0.02

# %% [markdown]
# Keep that number in mind. Because of it nobody in this field reports accuracy alone, and a network that has learned to
# predict "no tumour" tends to stay stuck there.
#
# ## 2. A network that learns
#
# Twenty patients are for training, two for validation, and six are held out until the end. Grey values from −1000 to
# 400 HU are scaled to 0 … 1, and the U-Net sees one slice at a time.

# %%
prepared = [hu_window(-1000, 400)(each) for each in patients]
train, validation, unseen = prepared[:20], prepared[20:22], prepared[22:]

torch.manual_seed(0)
system = dsnotes.build("unet-2d", in_channels=1, classes=2, width=width)
print(f"{system.name}: {sum(weight.numel() for weight in system.network.parameters()):,} weights")

# %% [markdown]
# A *system* is a network together with its training objective: here cross-entropy plus a Dice term (1 − Dice), at the
# output only. `fit` repeatedly draws slices, compares the prediction with the truth and updates the weights.
# `augment="mss"` rotates, stretches and mirrors slices, so that the network cannot memorise *where* tumours were.
#
# **Before running:** which of the two terms falls first: the cross-entropy, which weights every voxel alike, or the
# Dice term, which measures the overlap with the tumour?

# %%
history = dsnotes.fit(
    system,
    train,
    validation,
    patch=(64, 64),
    epochs=2 if smoke else epochs,
    iterations=4 if smoke else 40,
    batch=8,
    lr=2e-3,
    augment="mss",  # as MSS U-Net does; True is meant for images of other scanners
    on_epoch=curves.live(),
    progress=False,  # the live curves show the progress
)

# %% [markdown]
# The cross-entropy: predicting "no tumour" nearly everywhere is easy to learn and lowers it at once. The Dice term
# falls later, and as it falls the Dice of the validation patients rises, unevenly because there are only two of them.

# %%
assert history[-1]["cross-entropy"] < history[0]["cross-entropy"]
if not smoke:
    early = {term: history[1][term] / history[0][term] for term in ("cross-entropy", "dice")}
    assert early["cross-entropy"] < early["dice"]
    assert history.best["val_dice"] > 0.5

# %% [markdown]
# ## 3. Its prediction
#
# Now a patient it was not trained on. The network predicts a probability for every voxel; `to_label` marks the voxels
# where it is above one half.

# %%
prediction = dsnotes.to_label(dsnotes.predict(system, unseen[-1]))
dsnotes.show(patient, prediction=prediction, window="lung")

# %% [markdown]
# Solid is the truth, dashed the prediction. Look along the rim, at the small tumours, and where a tumour touches the
# chest wall or the heart: these are the hard places for segmentation, in phantoms as in patients.
#
# ## 4. Numbers
#
# **Before running:** beside the network we score the prediction "no tumour anywhere". Which of the two has the better
# accuracy, and by how much?

# %%
answers = {"the U-Net": prediction, "always 'no tumour'": np.zeros_like(patient.label)}
scores = {who: dsnotes.score(answer, patient.label, spacing=patient.spacing) for who, answer in answers.items()}
shown = ("dice", "sensitivity", "ppv", "accuracy", "hausdorff95")
Table({"who": who, **{name: score[name] for name in shown}} for who, score in scores.items())

# %%
nobody = scores["always 'no tumour'"]
assert nobody["accuracy"] > 0.98
assert nobody["dice"] == 0
if not smoke:
    assert scores["the U-Net"]["dice"] > 0.5

# %% [markdown]
# *Accuracy* hardly distinguishes the two. *Dice*, the overlap of prediction and truth, does: 1 is perfect, 0 is no
# overlap. *Sensitivity* is the share of the tumour that was found, *PPV* (positive predictive value) the share of the
# prediction that is tumour. The last column, the 95 % Hausdorff distance, is the distance between the two surfaces in
# millimetres, leaving out the worst 5 % of each. A missed tumour or a distant false positive can make it large even
# when the Dice is good.
#
# One more number leads to the rest of this course. **Before running:** take the large, the medium and the small tumours
# of all six unseen patients. What share of their voxels does the network find?

# %%
found = {"large": [], "medium": [], "small": []}
for case in unseen:
    label = dsnotes.to_label(dsnotes.predict(system, case))
    for tumour in case.extras["tumours"]:
        found[tumour["scale"]].append(label[case.extras["components"] == tumour["component"]].mean())
Table({"tumours": scale, "how many": len(each), "share found": np.mean(each)} for scale, each in found.items())

# %%
if not smoke:
    assert np.mean(found["large"]) > np.mean(found["medium"]) > np.mean(found["small"])

# %% [markdown]
# The small ones are mostly missed. The network was supervised at its output alone, where a tumour of ten voxels counts
# for almost nothing beside one of a thousand. Would it help to supervise it at *more places than its output*, so that
# every scale contributes to the loss?
#
# ## 5. The rest of the course
#
# Five papers give five answers. Each has its notebook, networks and tables here, and each way of supervising works on
# any backbone:
#
# | paper | where it supervises | against what |
# |---|---|---|
# | MSDS-UNet | four depths of the decoder, at full size and at their own size | the mask |
# | DSMS U-Net | a second decoder at the bottleneck | the input image |
# | MSS U-Net | five depths of the decoder, at their own size | the mask, downsampled |
# | µ-Net | the decoder's *features* at five depths | the features the network computes from the mask |
# | DSNet | the output | a *soft* mask, and a critic |
#
# These are the notebooks in this folder:

# %%
beside = sorted(Path().glob("[0-9]*.ipynb"))
first_cells = {file.stem: json.loads(file.read_text(encoding="utf-8"))["cells"][0]["source"] for file in beside}
Table({"notebook": name, "about": "".join(text).splitlines()[0].lstrip("# ")} for name, text in first_cells.items())

# %% [markdown]
# And these are all systems that `dsnotes.build` knows, with the paper tables that list them:

# %%
dsnotes.systems()

# %% [markdown]
# Go on with [10_one_idea](10_one_idea.ipynb).
#
# ## Exercises
#
# 1. Train with `augment=False`. Does the loss fall faster? What happens to the unseen patients, and which tumours of
#    the *training* patients does the network still find?
# 2. Train with `width=4` and with `width=16`. How many weights is that, and does the larger network find more of the
#    small tumours? Predict first, then run.
