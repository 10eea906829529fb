# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your data in five minutes
#
# You have received a folder of scans and labels. This notebook goes from such a folder to a trained network and a
# prediction of a new scan, with commands that you can type in a terminal:
#
# ```
# dsnotes adopt scans/ --label 1=kidney --label 2=tumour --output data/mine
# dsnotes run notebooks/80_experiment.py -p data=data/mine -p system=unet-3d
# dsnotes predict runs/80_experiment-… new_scan.nii.gz --output predictions/
# ```
#
# You will see
#
# - what you must know about a folder before training on it, and what must not be guessed;
# - that a prediction belongs on the original voxels of the scan, whatever grid the network used;
# - how to find out whether a network has learned the scanner as well as the organ;
# - what a model card must say before weights are shared.
#
# It takes less than five minutes on two cores; with `smoke=True` less than one. Nothing is downloaded: the folder is
# made here.

# %% tags=["parameters"]
cases: int = 20  # pairs of files in the folder
size: list = [16, 64, 64]  # voxels per axis of each scan
epochs: int = 12  # of training
iterations: int = 25  # steps per epoch
system: str = "unet-3d"  # any 3-D name of dsnotes.systems()
smoke: bool = False  # a minute at most: few small scans, 125 steps

# %%
import shlex
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

import dsnotes
from dsnotes import runs
from dsnotes.cli import main
from dsnotes.data import phantoms
from dsnotes.data.preprocess import Preprocess
from dsnotes.metrics import dice
from dsnotes.viewers import Guess, Table, contact_sheet, explore, progress
from dsnotes.viewers.maps import draw

if smoke:
    cases, size, epochs, iterations = 8, [16, 32, 32], 5, 25
here = (runs.folder() or Path("runs") / "your_data").absolute()
here.mkdir(parents=True, exist_ok=True)


def dsnotes_command(line: str) -> int:
    """Run `dsnotes line` as in a terminal; @ stands for the folder `here`."""
    return main([word.replace("@", f"{here}/") for word in shlex.split(line)])


# %% [markdown]
# ## 1. The folder
#
# The scans come from two hospitals. One of them stores its scans rotated, names labels differently, and uses a separate
# folder. One label is missing.


# %%
def write(path: Path, array: np.ndarray, case: dsnotes.data.Case, *, turned: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array[:, ::-1, ::-1] if turned else array)  # the same patient, stored rotated
    image.SetSpacing(case.spacing[::-1])
    image.SetOrigin((-80.5, 12.25, 300.0))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1) if turned else (1, 0, 0, 0, 1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path), useCompression=True)


scans = here / "scans"
patients = phantoms.kidneys(cases + 1, seed=0, size=tuple(size))
for number, case in enumerate(patients[:-1]):
    turned, image = bool(number % 2), case.image.astype("int16")
    place = scans / "north" if turned else scans
    write(place / f"pat{number:02d}.nii.gz", image, case, turned=turned)
    end = "-label" if turned else "_seg"
    write(place / f"pat{number:02d}{end}.nii.gz", case.label, case, turned=turned)
write(scans / "pat99.nii.gz", patients[0].image.astype("int16"), patients[0], turned=False)
print(*sorted(str(path.relative_to(scans)) for path in scans.rglob("*.nii.gz"))[:6], "…")

# %% [markdown]
# ## 2. Inspect it
#
# `--dry-run` reads every file and writes nothing. **Before running:** what about the folder can a program find out by
# itself, and what not?

# %%
clock = time.perf_counter()
code = dsnotes_command("adopt @scans --dry-run")
assert code == 2  # the labels need names first

# %% [markdown]
# It finds sizes, spacing and directions, and which files belong together. It cannot know what 1 and 2 mean, so you must
# name them. The scan without a label is listed and left out.
#
# With the names, the folder becomes a dataset:

# %%
if not (here / "mine").exists():
    assert dsnotes_command("adopt @scans --label 1=kidney --label 2=tumour --output @mine") == 0
data = dsnotes.open_dataset(here / "mine")
assert len(data) == cases
assert data.labels == {0: "background", 1: "kidney", 2: "tumour"}

# %% [markdown]
# ## 3. Look at it
#
# Look at the images as well. **Before looking:** which label errors would pass every check above?

# %%
contact_sheet(data, here / "decisions.csv")

# %% [markdown]
# A label of the wrong patient on a grid of the same size, left and right swapped in both files, an outline of the wrong
# organ: all pass the checks, and the contact sheet can show them.
#
# The dataset has one orientation for all scans, so the rotated files make no difference:

# %%
turned = data["pat01"]
np.testing.assert_array_equal(turned.image, patients[1].image)
print(turned.extras["geometry"].direction, turned.space, turned.spacing)

# %% [markdown]
# ## 4. Train
#
# This runs the same notebook as every experiment of this project, with your folder as its data. It scores the test
# patients, which are not used for training.

# %%
ours = time.perf_counter() - clock
values = {"data": str(here / "mine"), "system": system, "width": 8, "folds": 4, "validation": 0.2}
values |= {"patch": [16, 32, 32], "batch": 2, "epochs": epochs, "iterations": iterations, "lr": 3e-3}
values |= {"normalise": "foreground", "settings": {"validation_iterations": 2, "schedule": "poly"}, "device": "cpu"}
done = runs.run("80_experiment.py", values, out=here / "runs")
clock = time.perf_counter()
Table([{"case": name, "Dice": row["dice"]} for name, row in done.result["cases"].items()], caption="Test patients")

# %% [markdown]
# ## 5. A new scan
#
# The new scan is tilted in the scanner. The command prepares it like the training scans, predicts, cleans up, and
# writes the label on the scan's own voxels. **Before running:** what would happen if the label were written on the
# network's grid?

# %%
new = patients[-1]
image = sitk.GetImageFromArray(new.image.astype("int16"))
image.SetSpacing(new.spacing[::-1])
tilt = 0.15
image.SetDirection((1, 0, 0, 0, np.cos(tilt), -np.sin(tilt), 0, np.sin(tilt), np.cos(tilt)))
sitk.WriteImage(image, str(here / "new.nii.gz"))
assert dsnotes_command(f"predict {shlex.quote(str(done.folder))} @new.nii.gz --output @predictions") == 0

# %%
label = sitk.ReadImage(str(here / "predictions" / "new.nii.gz"))
assert label.GetSize() == image.GetSize()
np.testing.assert_allclose(label.GetDirection(), image.GetDirection(), atol=1e-6)
print(*sorted(path.name for path in (here / "predictions").iterdir()))

# %% [markdown]
# It would not match the scan's voxels. Here it does; `labels.txt` and `labels.ctbl` give ITK-SNAP and 3D Slicer the
# names and colours.

# %%
case = dsnotes.open_case(here / "new.nii.gz")
predicted = dsnotes.open_case(here / "new.nii.gz", here / "predictions" / "new.nii.gz").label
dsnotes.show(case, prediction=predicted, names=data.labels, title="a new scan", viewer="still")

# %% [markdown]
# A second call skips the finished scan and reports it:

# %%
assert dsnotes_command(f"predict {shlex.quote(str(done.folder))} @new.nii.gz --output @predictions") == 0

# %% [markdown]
# ## 6. A scan from another scanner
#
# The test patients above were scanned like the training patients. Yours may come from elsewhere, and grey values are
# where scanners differ most: in MR the signal falls off with the distance from the coil. Here phantoms of abdomens
# (label 1 is the pancreas) are multiplied by a field that falls from left to right; at 60 %, from 1.6 to .4. Two
# networks train on scans without it: one on the images as they are, one with `augment=True`, which changes size, angle
# and grey values of most patches, but never one side more than the other.


# %%
def scanned(case: dsnotes.data.Case, fall: float) -> dsnotes.data.Case:
    """Grey values from 0 to 1, times a field that falls off from left to right; then as every network wants them."""
    field = np.linspace(1 + fall, 1 - fall, case.space[-1])
    image = np.clip((case.image + 150) / 400, 0, 1) * field
    return Preprocess(normalise="image")(replace(case, image=image.astype(np.float32)))


few, steps = (4, 16) if smoke else (30, 400)
train = [scanned(case, 0) for case in phantoms.abdomen(few, seed=1, size=(16, 64, 64))]
test = phantoms.abdomen(max(2, few // 4), seed=2, size=(16, 64, 64))
how = {"epochs": 8, "iterations": steps // 8, "patch": (64, 64), "batch": 8, "lr": 3e-3, "schedule": "poly"}

# %%
rows, networks = {"no augmentation": False, "augment=True": True}, {}
for name in progress(rows):
    torch.manual_seed(0)
    networks[name] = dsnotes.build("unet-2d", width=8)
    dsnotes.fit(networks[name], train, **how, augment=rows[name], seed=0, progress=False)

# %% [markdown]
# **Before running:** which network is better on its own scanner, and which at a fall-off of 60 %?

# %%
better = Guess("Which network is better at a fall-off of 60 %?", list(networks))


# %%
def mean_dice(name: str, fall: float) -> float:
    cases = [scanned(case, fall) for case in test]
    return np.mean([dice(dsnotes.to_label(dsnotes.predict(networks[name], case)), case.label) for case in cases])


def elsewhere(fall: float):
    """The middle slice of the first test patient, both networks' labels, and the Dice of all test patients."""
    case = scanned(test[0], fall)
    panels = {"scan": case.image[8], "truth": case.label[8]}
    for name, network in networks.items():
        label = dsnotes.to_label(dsnotes.predict(network, case))
        panels[f"{name}: Dice {mean_dice(name, fall):.2f}"] = label[8]
    return draw(panels, window="each", title=f"fall-off {fall:.0%}")


falls = (0.0, 0.2, 0.4, 0.6)
explore(elsewhere, {"fall": falls}, stills=[{"fall": 0.0}, {"fall": 0.6}], alt="A scan and two networks' labels:")

# %%
own, other = ({name: mean_dice(name, fall) for name in networks} for fall in (0.0, 0.6))
better.compare(max(other, key=other.get), f"On its own scanner: {max(own, key=own.get)}.")
lost = {name: own[name] - other[name] for name in networks}
print(*(f"{name}: {loss:.2f} of its Dice lost at 60 %" for name, loss in lost.items()), sep="\n")
assert smoke or lost["augment=True"] < lost["no augmentation"]

# %% [markdown]
# On their own scanner the network without augmentation is ahead: in so few steps the other has not finished with its
# harder images. At 60 % the order turns. Over three seeds: .87 against .83 on the own scanner, .65 against .72 at 60 %,
# where one seed of the three shows no difference (`benchmarks/results/other_scanner.md`). **A test set from one scanner
# would have chosen the wrong network**, so keep patients of another scanner for the test. What each part of
# `augment=True` is worth on real hearts: `benchmarks/results/recipe.md`.

# %% [markdown]
# ## 7. A model card
#
# Users of the weights need to know the training data, the performance, where the network fails, and what it must not be
# used for.

# %%
assert dsnotes_command(f"card {shlex.quote(str(done.folder))}") == 0
ours += time.perf_counter() - clock
print((done.folder / "README.md").read_text(encoding="utf-8")[:1500])

# %%
print(f"everything except training took {ours:.1f} s")

# %% [markdown]
# ## What we saw, and what we did not
#
# - **Shown:** from a folder of scans to a prediction of a new scan in three commands, on the scan's own voxels.
# - **Not shown:** that the network is good. A few minutes on phantoms only show that the commands work. For your data:
#   run all folds, several seeds, and a comparison on the same folds ([81_report](81_report.ipynb)).
# - **Verdict:** *use it* to find out within an hour whether your data are worth a week of training.
#
# ## Exercises
#
# 1. Swap two labels of the folder by renaming them, and adopt it again. Which of the checks finds it?
#
# <details><summary>A solution</summary>
#
# None: the grids have the same size and the values have names. Only the contact sheet shows it, as outlines beside the
# kidneys.
#
# </details>
#
# 2. Name the tumour `ignore`: `--label 2=ignore`. What does the network learn about tumours, and what does the score
#    show?
#
# <details><summary>A solution</summary>
#
# Voxels of an ignored label do not enter the loss or the score. There the network can predict kidney or background at
# no cost. That is right for regions that could not be outlined, and wrong for regions that were forgotten.
#
# </details>
#
# 3. Train folds 0 and 1 and give both folders to `dsnotes predict`. When is the mean of two networks better than each?
#
# <details><summary>A solution</summary>
#
# When their errors differ. The probabilities are averaged, so where they disagree the more confident network decides;
# where both make the same error, so does the mean. With the folds in a sweep's file,
# `dsnotes table FILE --held-out FOLDER` prints what the mean gains on cases that no fold has seen.
#
# </details>
