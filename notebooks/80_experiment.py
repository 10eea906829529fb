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
# The sweeps run this notebook with different parameters. It opens a dataset, holds out one fold, trains one system with
# the settings of a paper's table, predicts, cleans up, scores every patient and shows the worst and the best. You will
# see
#
# - what must be reported with a score: which patients were used for training, for how long, with what settings;
# - why the mean in a table hides the patients to look at;
# - how to run the same notebook from a terminal, with its parameters checked and its results kept:
#
# ```
# dsnotes run notebooks/80_experiment.py -p data=data/kits19 -p system=mss-unet -p fold=2
# torchrun --nproc-per-node=4 -m dsnotes run notebooks/80_experiment.py -p data=data/kits19 -p system=mss-unet
# ```
#
# The same command resumes an interrupted run from its last epoch. At a paper's width it needs a GPU; with `width=8,
# epochs=20` it takes minutes on a CPU, with `smoke=True` less than one.

# %% [markdown]
# A parameter that is empty or 0 takes the paper's value.

# %% tags=["parameters"]
data: str = "lung"  # a folder in the Decathlon's layout, or phantoms: lung, kidneys, abdomen, nodules
system: str = "unet-2d"  # any name of dsnotes.systems()
options: dict = {}  # of the system, such as {"objective": "hard"}; a wrong name lists them
preset: str = ""  # a paper's choice for one dataset: brats, cardiac, spleen, liver of µ-Net
recipe: str = "own"  # settings and loss: its own paper's, or those shared by a table's rows, such as mss, msds
loss: str = ""  # for a system with a loss on its output alone: ce+dice, dice, bce, bce/2+dice, msds-dice
fold: int = 0  # the part of the patients that is tested
folds: int = 5  # number of parts the patients are split into
validation: float = 0.125  # share of the other patients, scored after every epoch
split: list = []  # instead: numbers of cases to train, validate, test, per fold, as published: [[134, 34, 42]]
tested: str = ""  # another dataset, or other phantoms, to test on instead
patient: str = ""  # the part of a case's name that names the patient, such as "[^_]+"; known for public sets
seed: int = 0  # of initial weights, batches and augmentation; the folds are the same for every seed
width: int = 0  # channels of the finest level
patch: list = []  # voxels per axis; a 2-D system takes the last two
batch: int = 0  # patches per step
epochs: int = 0  # each ends with a score on the validation patients
iterations: int = 0  # steps per epoch
budget: str = ""  # instead of iterations: the steps of one thread, or the GPU, in so long, such as "600 s"
lr: float = 0.0  # learning rate
augment: bool = False  # rotate, stretch, blur, brighten: the default augmentation, even where the paper has none
settings: dict = {}  # any other field of training.Settings, such as {"weight_decay": 0.0}
channels: list = []  # image channels to keep, such as [1] for a brain's T1ce; empty: all
slices: list = []  # first and last slice to keep along the first axis, such as [30, 125]
positive: bool = False  # drop slices without foreground, in the test set too
spacing: list = []  # mm per axis that images are resampled to; empty: as they are
size: list = []  # slices are resized to these pixels, such as [480, 480]
roi: list = []  # voxels per axis of the region around all foreground; the network gets only this region
clip: list = []  # lowest and highest grey value
normalise: str = "image"  # image, slice, nonzero, minmax, window, or foreground (percentiles and mean of training)
lungs: float = 0.0  # mm kept around the lungs of a chest CT, the rest becomes air; 0: the whole image
relabel: list = []  # the new value of each label, such as [0, 1, 1] to merge two classes
overlap: float = 0.5  # of the sliding windows in prediction
mirror: bool = False  # average the prediction over all mirrored views
noise: float = 0.0  # standard deviation of Gaussian noise added to each view at test time
postprocess: str = ""  # kidneys (at most two, with their tumours), small (opening, no small components), or none
thresholds: list = []  # more thresholds to score, such as [0.5, 0.6, "none"]; one foreground class only
regions: dict = {}  # classes to score together, such as {"kidney_and_tumour": [1, 2]}; empty: the dataset's
eps: float = 0.0  # added to numerator and denominator of each ratio; 1 in µ-Net
teacher: dict = {}  # for DSNet: of dsnet.train_teacher, or {"checkpoint": "runs/teacher/adversarial/checkpoint.pt"}
phantom_cases: int = 20  # number of phantoms
phantom_size: list = []  # voxels per axis of a phantom
device: str = "auto"  # cpu, cuda, cuda:1
smoke: bool = False  # a minute at most: few small phantoms, two steps

# %%
import time
from functools import partial

import numpy as np
import torch

import dsnotes
from dsnotes import runs
from dsnotes.data import region
from dsnotes.data.preprocess import Preprocess, foreground_statistics
from dsnotes.data.splits import k_fold, names_of, printed_folds
from dsnotes.data.splits import split as shares
from dsnotes.data.task import task_of
from dsnotes.metrics import wrong_near_contour
from dsnotes.papers import dsnet
from dsnotes.runs.experiment import cases_of, figures, label_of, system_of
from dsnotes.runs.provenance import provenance
from dsnotes.runs.size import layers
from dsnotes.softmask import softened
from dsnotes.viewers import Table, boxes, curves

if smoke:
    width, batch, epochs, iterations, phantom_cases = width or 4, 2, 2, 2, 7
    settings = {"validation_iterations": 1} | settings

# %% [markdown]
# ## 1. Training, validation and test patients
#
# Folds depend on a hash of the patients' names: they are the same on every machine and for every seed. **Before
# running:** why must the folds not depend on the seed? And if a patient has several cases, where do they go?

# %%
cases, names = cases_of(data, phantom_cases=phantom_cases, size=phantom_size)
whose = {"seed": 0, "patient": patient or None}
if split:
    train, val, test = printed_folds(cases, split, **whose)[fold]
else:
    others, test = k_fold(cases, folds, **whose)[fold]
    train, val = shares(others, (1 - validation, validation), **whose)
if tested:
    test, _ = cases_of(tested, phantom_cases=phantom_cases, size=phantom_size, seed=1)
print(f"{data}: {len(train)} cases train, {len(val)} validate, {len(test)} test (fold {fold} of {len(split) or folds})")

# %% [markdown]
# Otherwise a table over seeds would mix two things: the variation between trainings and that between patients. All
# cases of a patient go to one part, or the test would include patients seen in training; if names do not identify
# patients, the split raises an error.
#
# Grey values are clipped and scaled. With `normalise="foreground"` the statistics come from the training patients
# alone: test patients must not influence the preprocessing.

# %%
planes = {"slices": tuple(slices) or None, "positive_slices": positive, "size": tuple(size) or None}
planes |= {"channels": tuple(channels) or None, "relabel": tuple(relabel) or None}
fixed = Preprocess(spacing=tuple(spacing) or None, lungs=lungs or None, **planes)
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
whole = test
if roi:
    train, val, test = (region.regions(list(part), size=tuple(roi)) for part in (train, val, test))
if relabel:
    merged = {new: [name for old, name in names.items() if relabel[old] == new] for new in sorted(set(relabel))}
    names = {new: "+".join(those) for new, those in merged.items() if new}
classes = 1 + max(names)
joined = {name: getattr(cases, name, empty) for name, empty in (("regions", {}), ("order", ()), ("ignore", None))}

# %% [markdown]
# ## 2. The system
#
# A system is a network together with its objective and its training settings. Rows of a table share the settings:
# `recipe` names the table's paper. Where a network's strides depend on the voxel size, they are derived from it. Where
# the dataset names regions that overlap, each is trained on a channel of its own.

# %%
offered = dsnotes.systems()[system]
request = {"system": system, "options": options, "preset": preset, "recipe": recipe, "loss": loss, "width": width}
request |= {"patch": patch, "batch": batch, "epochs": epochs, "iterations": iterations, "lr": lr}
request |= {"augment": augment, "settings": settings}
learned = {}
if "teacher" in offered["options"] and "teacher" not in options:
    if "checkpoint" in teacher:
        learned["teacher"] = str(runs.path(teacher["checkpoint"]))
    else:
        kept = None if runs.folder() is None else runs.folder() / "teacher"
        how = {"epochs": (1, 0), "width": 4, "blocks": 1, "patch": (32, 32), "iterations": 2} if smoke else {}
        how |= {key: tuple(value) if isinstance(value, list) else value for key, value in teacher.items()}
        learned["teacher"], _ = dsnet.train_teacher(train, seed=seed, device=device, progress=True, out=kept, **how)
torch.manual_seed(seed)
sizes = {"in_channels": train[0].channels, "classes": classes, "spacing": train[0].spacing}
built = system_of(request, **sizes, regions=joined["regions"], **learned)
parameters = sum(weight.numel() for weight in built.network.parameters())

# %%
own = dsnotes.build(system, width=4).settings
Table(
    [
        {"setting": name, "paper": str(getattr(own, name)), "here": str(value)}
        for name, value in vars(built.settings).items()
        if value != getattr(own, name) or name in request
    ],
    caption=f"{system}: {parameters:,} parameters; all other settings are its paper's",
)

# %% [markdown]
# Some objectives need a soft mask, a target between 0 and 1. If the dataset has none, it is made by matting: from the
# outlines of several annotators if there are any, otherwise from the mask.

# %%
if getattr(built.objective, "soft", 0):
    radius = max(1, min(3, min(train[0].space[-2:]) // 16))
    train, val = (softened(list(part), classes=classes, radius=radius) for part in (train, val))

# %% [markdown]
# ## 3. Training
#
# In a run from the terminal the checkpoints are in the run's folder. **Before running:** which curve would tell you to
# stop early, the training loss or the validation score?

# %%
history = dsnotes.fit(
    built,
    train,
    val,
    seed=seed,
    device=device,
    budget=budget or None,
    timings=runs.folder() and runs.folder().parent / "timings",  # all seeds and folds of a row train equally many steps
    out=runs.folder() and runs.folder() / "training",
    on_epoch=curves.live(title=f"{system} on {data}"),
    progress=False,
)
print(f"{len(history)} epochs, {history.total_seconds:.0f} s; ended: {history.stopped}")

# %% [markdown]
# The papers keep the last weights unless they say otherwise, and so does this notebook. In the run's folder, `best.pt`
# has the weights of the best epoch.
#
# To predict a new scan, `dsnotes predict` needs more than weights: the preprocessing and the names of the labels. They
# are saved beside the weights.

# %%
known = {"labels": {0: "background", **names}, "preprocessing": (fixed, scale), "postprocess": postprocess}
known["window"] = {"patch": tuple(patch) if patch and built.dims == 3 else None}
known["window"] |= {"overlap": overlap, "mirror": mirror, "roi": tuple(roi)}
known["channels"] = tuple(getattr(train, "modality", ())) or ("image",) * train[0].channels
if runs.folder():
    parts = {"training": train, "validation": val, "test": test}
    task_of(train, **known, **joined, about=provenance(data, cases, parts)).save(runs.folder() / "training")

# %% [markdown]
# ## 4. Predicting and scoring

# %%
where = next(built.network.parameters()).device
look = {"overlap": overlap, "mirror": mirror, "noise": noise, "device": where}
look |= {"patch": patch} if patch and built.dims == 3 else {}
scores, labels, seconds = {}, {}, []
for case, uncut in zip(test, whole, strict=True):
    clock = time.perf_counter()
    p = dsnotes.predict(built, case, **look)
    seconds.append(time.perf_counter() - clock)
    p = region.put_back(p, case, background=not joined["order"]) if roi else p
    more = {"postprocess": postprocess, "thresholds": thresholds, "eps": eps}
    more |= {"regions": regions or joined["regions"], "order": joined["order"]}
    scores[case.name] = figures(p, uncut, names=names, **more)
    labels[case.name] = label_of(p, joined["order"])

# %%
run = {
    "steps": history.steps,
    "training seconds": history.total_seconds,
    "layers": layers(built.network),
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
# **Before looking:** what makes a patient the worst: a small tumour, one at the border of the organ, poor contrast?


# %%
shown = [name for name in ("dice", "iou", "ppv", "sensitivity") if all(name in row for row in scores.values())]
boxes(
    {name: {system: [row[name] for row in scores.values()]} for name in shown},
    y="of one patient",
    title=f"{system} on {len(test)} patients of {data}, fold {fold}",
    limits=(0, 1),
)

# %%
ranked = sorted(whole, key=lambda case: scores[case.name]["dice"])
for which, case in {"worst": ranked[0], "best": ranked[-1]}.items():
    title = f"{which}: {case.name}, Dice {scores[case.name]['dice']:.3f}"
    dsnotes.show(case, prediction=labels[case.name], title=title, viewer="still")

# %% [markdown]
# What went wrong there, a place or a contour? MSDS-UNet's Fig. 14 shows such patients, and the paper concludes that its
# network misses the contour. So we count how many of the wrong voxels lie within 2 mm of the true surface, or within a
# voxel where voxels are larger. A share near 1 supports the paper; a low one means that something was overlooked or
# invented. Judge it beside the share of the target's own voxels that lie so close: a small or thin target is all
# contour.

# %%
rows = []
for case in ranked[: min(3, len(ranked))]:
    within = max(2.0, *case.spacing)
    near = partial(wrong_near_contour, spacing=case.spacing, within=within)
    masks = labels[case.name] > 0, case.label > 0
    shares_near = {"wrong voxels near": near(*masks), "target near": near(np.zeros_like(masks[1]), masks[1])}
    rows.append({"patient": case.name, "Dice": scores[case.name]["dice"], "within (mm)": within, **shares_near})
Table(rows, caption="The worst patients: shares of voxels near the true surface")

# %%
assert set(scores) == set(names_of(test))
assert not set(scores) & {*names_of(train), *names_of(val)}
assert all(0 <= row["dice"] <= 1 for row in scores.values())

# %% [markdown]
# ## What we saw, and what we did not
#
# - **Shown:** how one system does on one fold with one seed, patient by patient, and that no patient was used both for
#   training and for testing.
# - **Not shown:** that it is better than another. That needs the same folds for both, several seeds, and a paired test:
#   run `dsnotes sweep sweeps/mss-2-phantom.yml`, then [81_report](81_report.ipynb).
# - **Not comparable:** the paper's absolute numbers, since the patients differ. Compare differences.
#
# ## Exercises
#
# 1. Run folds 0 to 4 with `dsnotes sweep`. Which spread is larger, that between patients or that between the means of
#    the folds?
# 2. Look at the worst patient's metrics in `result.json`. Is this patient the worst by every metric?
