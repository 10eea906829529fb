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
# You have a folder of scans that somebody sent, with labels beside them. This notebook takes such a folder to a trained
# network and a prediction of a new scan, with commands that you can type in a terminal:
#
# ```
# dsnotes adopt scans/ --label 1=kidney --label 2=tumour --output data/mine
# dsnotes run notebooks/80_experiment.py -p data=data/mine -p system=unet-3d
# dsnotes predict runs/80_experiment-… new_scan.nii.gz --output predictions/
# ```
#
# You will see
#
# - what has to be known about a folder before a network may see it, and what must not be guessed;
# - that a prediction belongs on the voxels of the scan, whatever the network saw;
# - what a model card has to say before weights are shared.
#
# It takes five minutes on two cores; with `smoke=True` less than one. No download: the folder is made here.

# %% tags=["parameters"]
cases: int = 20  # pairs of files in the folder
size: list = [16, 64, 64]  # voxels an axis of each scan
epochs: int = 12  # of training
iterations: int = 25  # steps an epoch
system: str = "unet-3d"  # any 3-D name of dsnotes.systems()
smoke: bool = False  # a minute at most: few small scans, a few steps

# %%
import shlex
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

import dsnotes
from dsnotes import runs
from dsnotes.cli import main
from dsnotes.data import phantoms
from dsnotes.viewers import Table, contact_sheet

if smoke:
    cases, size, epochs, iterations = 8, [16, 32, 32], 1, 2
here = (runs.folder() or Path("runs") / "your_data").absolute()
here.mkdir(parents=True, exist_ok=True)


def dsnotes_command(line: str) -> int:
    """What `dsnotes line` does in a terminal that was opened in `here`."""
    return main([word.replace("@", f"{here}/") for word in shlex.split(line)])


# %% [markdown]
# ## 1. Somebody's folder
#
# The scans come from two hospitals. One writes its files with the patient's head at the other end, names labels in
# another way, and keeps them in a folder of its own. One label is lost.


# %%
def write(path: Path, array: np.ndarray, case: dsnotes.data.Case, *, turned: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
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
# ## 2. Understand it
#
# `--dry-run` looks at every file and writes nothing. **Before running:** which things about the folder can a program
# find out by itself, and which not?

# %%
clock = time.perf_counter()
answer = dsnotes_command("adopt @scans --dry-run")
assert answer == 2  # something has to be settled first

# %% [markdown]
# It finds out sizes, spacing and directions, and which files belong together. It cannot know what 1 and 2 mean, so it
# asks. The scan without a label is listed and left out.
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
# No check replaces eyes. **Before looking:** which mistakes of a label would every check above let through?

# %%
contact_sheet(data, here / "decisions.csv")

# %% [markdown]
# A label of the wrong patient on a grid of the same size, left and right swapped in both files, an outline of the wrong
# organ: all of them pass, and all of them are seen at once.
#
# The hospital that turns its files makes no difference: the same patient is the same array.

# %%
turned = data["pat01"]
np.testing.assert_array_equal(turned.image, patients[1].image[:, ::-1, ::-1])
print(turned.extras["geometry"].direction, turned.space, turned.spacing)

# %% [markdown]
# ## 4. Train
#
# The same notebook as every experiment of this project, with your folder as its data. Its third part is scored: those
# patients are never trained on.

# %%
ours = time.perf_counter() - clock
values = {"data": str(here / "mine"), "system": system, "width": 8, "folds": 4, "validation": 0.2}
values |= {"patch": [16, 32, 32], "batch": 2, "epochs": epochs, "iterations": iterations, "lr": 3e-3}
values |= {"normalise": "foreground", "settings": {"validation_iterations": 2, "schedule": "poly"}, "device": "cpu"}
done = runs.run("80_experiment.py", values, out=here / "runs")
clock = time.perf_counter()
Table([{"case": name, "Dice": row["dice"]} for name, row in done.result["cases"].items()], caption="Never trained on")

# %% [markdown]
# ## 5. A new scan
#
# It comes from the second hospital, tilted in the scanner. The command prepares it as the training scans were prepared,
# predicts, cleans up, and writes the label on the scan's own voxels. **Before running:** what would happen if the label
# were written on the voxels that the network saw?

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
# Nobody could lay it over the scan. Here it lies where the scan lies; `labels.txt` and `labels.ctbl` give ITK-SNAP and
# 3D Slicer the names and colours.

# %%
case = dsnotes.open_case(here / "new.nii.gz")
predicted = dsnotes.open_case(here / "new.nii.gz", here / "predictions" / "new.nii.gz").label
dsnotes.show(case, prediction=predicted, names=data.labels, title="a new scan", viewer="still")

# %% [markdown]
# A second call does nothing, and says so:

# %%
assert dsnotes_command(f"predict {shlex.quote(str(done.folder))} @new.nii.gz --output @predictions") == 0

# %% [markdown]
# ## 6. A card for the weights
#
# Whoever gets the weights needs to know what they were trained on, how well they do, where they fail, and what they are
# not for.

# %%
assert dsnotes_command(f"card {shlex.quote(str(done.folder))}") == 0
ours += time.perf_counter() - clock
print((done.folder / "README.md").read_text(encoding="utf-8")[:1500])

# %%
print(f"besides training: {ours:.1f} s, of which the commands' own work is a part")

# %% [markdown]
# ## What we saw, and what we did not
#
# - **Shown:** from somebody's folder to a prediction of a new scan in three commands, on the scan's own voxels.
# - **Not shown:** that the network is good. A few minutes on drawn phantoms show that the way works. For your data: all
#   folds, several seeds, and a comparison on the same folds ([81_report](81_report.ipynb)).
# - **Verdict:** *use it* to find out within the hour whether your folder is worth a week of training.
#
# ## Exercises
#
# 1. Swap two labels of the folder by renaming them, and adopt it again. Which of the checks sees it?
#
# <details><summary>A solution</summary>
#
# None: the grids are alike and the values have names. Only the contact sheet shows it, as outlines beside the kidneys.
#
# </details>
#
# 2. Name the tumour `ignore`: `--label 2=ignore`. What does the network learn about tumours, and what says the score?
#
# <details><summary>A solution</summary>
#
# Voxels of an ignored label count in no loss and in no score. The network is free there: it will mark most tumours as
# kidney or as background, and neither answer costs anything. That is right for what nobody could outline, and wrong for
# what somebody forgot.
#
# </details>
#
# 3. Train folds 0 and 1 and give both folders to `dsnotes predict`. When is the mean of two networks better than each?
#
# <details><summary>A solution</summary>
#
# When their errors differ. The probabilities are averaged, so a voxel on which they disagree goes to the surer one;
# where both err in the same way the mean errs too.
#
# </details>
