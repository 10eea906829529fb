# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One experiment: one system, one dataset, one fold
#
# Everything that the sweeps do is this notebook with other parameters. It opens a dataset, keeps one fold apart, trains
# one system with its paper's settings, predicts, cleans up, scores every patient and shows the worst and the best. You
# will see
#
# - what must be said before a number means anything: which patients were used for training, for how long, with what
#   settings;
# - why the mean in a table hides the patient whom one should look at;
# - how to run the same notebook from a terminal, with its parameters checked and its results kept:
#
# ```
# dsnotes run notebooks/80_experiment.py -p data=data/kits19 -p system=mss-unet -p fold=2
# torchrun --nproc-per-node=4 -m dsnotes run notebooks/80_experiment.py -p data=data/kits19 -p system=mss-unet
# ```
#
# A run that is killed goes on from its last epoch when it is started again. At a paper's width it needs a GPU; with
# `width=8, epochs=20` it takes minutes on a CPU, with `smoke=True` less than one.

# %% [markdown]
# A parameter that is empty or 0 takes the paper's own value.

# %% tags=["parameters"]
data: str = "lung"  # a folder in the Decathlon's layout, or phantoms: lung, kidneys, abdomen, nodules
system: str = "unet-2d"  # any name of dsnotes.systems()
options: dict = {}  # of the system, such as {"objective": "hard"}; its errors list them
preset: str = ""  # what a paper chose for one dataset, where it did: brats, cardiac, spleen, liver of µ-Net
fold: int = 0  # the part of the patients that is tested
folds: int = 5  # into how many parts the patients fall
validation: float = 0.125  # share of the other patients that is looked at after every epoch
seed: int = 0  # of first weights, batches and augmentation; the folds are the same for every seed
width: int = 0  # channels of the finest level
patch: list = []  # voxels an axis; a 2-D system takes the last two
batch: int = 0  # patches a step
epochs: int = 0  # rounds, each ending with a look at the validation patients
iterations: int = 0  # steps a round
lr: float = 0.0  # learning rate
augment: bool = False  # turn, stretch, mirror, blur: also where the paper does not say
settings: dict = {}  # any other field of training.Settings, such as {"weight_decay": 0.0}
spacing: list = []  # mm an axis that images are resampled to; empty: as they are
clip: list = []  # lowest and highest grey value
normalise: str = "image"  # image, nonzero, minmax, window, or foreground: clip and scale by the training foreground
lungs: float = 0.0  # mm that are kept round the lungs of a chest CT, the rest becomes air; 0: the whole image
relabel: list = []  # the new value of each label, such as [0, 1, 1] to merge two classes
overlap: float = 0.5  # of the windows a prediction is put together from
mirror: bool = False  # average the prediction over all mirrored views
postprocess: str = ""  # kidneys (at most two, with their tumours), small (opened, no small pieces), or nothing
thresholds: list = []  # further ones that are scored, such as [0.5, 0.6]; one foreground class only
teacher: dict = {}  # of a DSNet: arguments of papers.dsnet.train_teacher
phantom_cases: int = 20  # how many phantoms
phantom_size: list = []  # voxels an axis of a phantom
device: str = "auto"  # cpu, cuda, cuda:1
smoke: bool = False  # a minute at most: few small phantoms, two steps

# %%
import time
from dataclasses import replace

import numpy as np
import torch

import dsnotes
from dsnotes import runs
from dsnotes.data.preprocess import Preprocess, foreground_statistics
from dsnotes.data.splits import k_fold, split
from dsnotes.data.task import task_of
from dsnotes.papers import dsnet
from dsnotes.runs.experiment import cases_of, figures, settings_of
from dsnotes.runs.provenance import provenance
from dsnotes.softmask import soft_mask, trimap_from_mask
from dsnotes.viewers import Table, boxes, curves

if smoke:
    width, batch, epochs, iterations, phantom_cases = width or 4, 2, 2, 2, 7
    settings = {"validation_iterations": 1} | settings

# %% [markdown]
# ## 1. Who is trained on, who is tested
#
# Folds are drawn by a hash of the patients' names: they are the same on every machine, whatever the seed. **Before
# running:** why must the folds not depend on the seed?

# %%
cases, names = cases_of(data, phantom_cases=phantom_cases, size=phantom_size)
others, test = k_fold(cases, folds, seed=0)[fold]
train, val = split(others, (1 - validation, validation), seed=0)
print(f"{data}: {len(train)} patients train, {len(val)} validate, {len(test)} test (fold {fold} of {folds})")

# %% [markdown]
# Otherwise a table over seeds would mix two things: the chance in the training and the difference between patients.
#
# Grey values are clipped and scaled. With `normalise="foreground"` the numbers for this come from the training patients
# alone: a test patient must not help to choose the window in which it is judged.

# %%
fixed = Preprocess(spacing=tuple(spacing) or None, relabel=tuple(relabel) or None, lungs=lungs or None)
train, val, test = (
    part.preprocess(fixed) if hasattr(part, "preprocess") else list(map(fixed, part)) for part in (train, val, test)
)
if normalise == "foreground":
    statistics = foreground_statistics(train)
    scale = Preprocess(clip=statistics.percentiles, normalise=statistics.z_score)
else:
    scale = Preprocess(clip=tuple(clip) or None, normalise=normalise)
cache = {"cache": runs.folder().parent / "cache"} if runs.folder() else {}
train, val, test = (
    part.preprocess(scale, **cache) if hasattr(part, "preprocess") else list(map(scale, part))
    for part in (train, val, test)
)
if relabel:
    merged = {new: [name for old, name in names.items() if relabel[old] == new] for new in sorted(set(relabel))}
    names = {new: "+".join(those) for new, those in merged.items() if new}
classes = 1 + max(names)

# %% [markdown]
# ## 2. The system
#
# A system is a network together with what it is trained for. Where a network's strides follow from the voxel size, it
# is told that size.

# %%
offered = dsnotes.systems()[system]
dims = offered["dims"]
patch = list(patch)[-dims:]
fitting = {"patch": tuple(patch), "spacing": train[0].spacing[-dims:], "preset": preset}
fitting = {key: value for key, value in fitting.items() if value and key in offered["options"]}
torch.manual_seed(seed)
if "teacher" in offered["options"] and "teacher" not in options:
    kept = None if runs.folder() is None else runs.folder() / "teacher"
    how = {"epochs": (1, 0), "width": 4, "blocks": 1, "patch": (32, 32), "iterations": 2} if smoke else {}
    how |= {key: tuple(value) if isinstance(value, list) else value for key, value in teacher.items()}
    fitting["teacher"], _ = dsnet.train_teacher(train, seed=seed, device=device, progress=False, out=kept, **how)
size = {"in_channels": train[0].channels, "classes": classes} | ({"width": width} if width else {})
built = dsnotes.build(system, **size, **(fitting | options))
parameters = sum(weight.numel() for weight in built.network.parameters())

# %%
given = {"patch": patch, "batch": batch, "epochs": epochs, "iterations": iterations, "lr": lr}
chosen = settings_of(built, settings, **given)
chosen = replace(chosen, augment=augment or chosen.augment)
Table(
    [
        {"setting": name, "the paper's": str(getattr(built.settings, name)), "here": str(value)}
        for name, value in vars(chosen).items()
        if value != getattr(built.settings, name) or name in given
    ],
    caption=f"{system}: {parameters:,} parameters; every other setting is the paper's",
)

# %% [markdown]
# Some objectives ask for a soft mask, a target between 0 and 1. It is made by matting from the image and the drawn
# mask.

# %%
if getattr(built.objective, "soft", 0):
    radius = max(1, min(3, min(train[0].space[-2:]) // 16))
    train, val = (
        [
            replace(case, extras={**case.extras, "soft": soft_mask(case.image, trimap_from_mask(case.label, radius))})
            for case in part
        ]
        for part in (train, val)
    )

# %% [markdown]
# ## 3. Training
#
# In a run from the terminal the checkpoints lie in the run's folder. **Before running:** which of the curves would tell
# you to stop early, the loss or the score of the validation patients?

# %%
history = dsnotes.fit(
    built,
    train,
    val,
    settings=chosen,
    seed=seed,
    device=device,
    out=runs.folder() and runs.folder() / "training",
    on_epoch=curves.live(title=f"{system} on {data}"),
    progress=False,
)
print(f"{len(history)} epochs, {history.total_seconds:.0f} s; ended: {history.stopped}")

# %% [markdown]
# The papers keep the last weights unless they say otherwise, and so does this notebook. In the run's folder, `best.pt`
# has the weights of the best epoch.
#
# A prediction of a new scan needs more than weights: how an image is prepared, and what the labels are called. From
# here on `dsnotes predict` finds it beside them.

# %%
known = {"labels": {0: "background", **names}, "preprocessing": (fixed, scale), "postprocess": postprocess}
known["window"] = {"patch": tuple(patch) if patch and dims == 3 else None, "overlap": overlap, "mirror": mirror}
known["channels"] = tuple(getattr(train, "modality", ())) or ("image",) * train[0].channels
if runs.folder():
    parts = {"training": train, "validation": val, "test": test}
    task_of(train, **known, about=provenance(data, cases, parts)).save(runs.folder() / "training")

# %% [markdown]
# ## 4. Predicting and scoring

# %%
where = next(built.network.parameters()).device
look = {"overlap": overlap, "mirror": mirror, "device": where} | ({"patch": patch} if patch and dims == 3 else {})
scores, labels, seconds = {}, {}, []
for case in test:
    clock = time.perf_counter()
    p = dsnotes.predict(built, case, **look)
    seconds.append(time.perf_counter() - clock)
    scores[case.name] = figures(p, case, names=names, postprocess=postprocess, thresholds=thresholds)
    labels[case.name] = dsnotes.to_label(p)

# %%
run = {
    "parameters (M)": parameters / 1e6,
    "seconds a case": float(np.mean(seconds)),
    "epochs": len(history),
    "hours an epoch": history.seconds_per_epoch / 3600,
    "hours": history.total_seconds / 3600,
}
runs.record(scores, system=system, dataset=data, run=run, history=list(history))

# %% [markdown]
# ## 5. The worst and the best
#
# **Before looking:** what would make a patient the worst: a small tumour, one at the border of the organ, poor
# contrast?


# %%
shown = [name for name in ("dice", "iou", "ppv", "sensitivity") if all(name in row for row in scores.values())]
boxes(
    {name: {system: [row[name] for row in scores.values()]} for name in shown},
    y="of one patient",
    title=f"{system} on {len(test)} patients of {data}, fold {fold}",
    limits=(0, 1),
)

# %%
ranked = sorted(test, key=lambda case: scores[case.name]["dice"])
for which, case in {"worst": ranked[0], "best": ranked[-1]}.items():
    title = f"{which}: {case.name}, Dice {scores[case.name]['dice']:.3f}"
    dsnotes.show(case, prediction=labels[case.name], title=title, viewer="still")

# %%
assert set(scores) == {case.name for case in test}
assert not set(scores) & {case.name for case in [*train, *val]}
assert all(0 <= row["dice"] <= 1 for row in scores.values())

# %% [markdown]
# ## What we saw, and what we did not
#
# - **Shown:** how one system does on one fold with one seed, patient by patient, and that no patient was used both for
#   training and for testing.
# - **Not shown:** that it is better than another. That takes the same folds for both, several seeds, and a paired test:
#   run `dsnotes sweep sweeps/mss-2-phantom.yml`, then [81_report](81_report.ipynb).
# - **Not seen here:** the paper's patients. With other patients, compare differences, not numbers.
#
# ## Exercises
#
# 1. Run folds 0 to 4 with `dsnotes sweep`. Which spread is larger, that between patients or that between the means of
#    the folds?
# 2. Look at the worst patient's figures in `result.json`. Is this patient the worst by every one of them?
