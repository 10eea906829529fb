"""Real images through `adopt`, training and `predict`, and what the mean of several folds brings over one.

    python benchmarks/own_real_data.py DATA [--keep FOLDER] [--write]

DATA holds the folders `hippocampus_mr`, `sarcoma_ct` and `spleen_ct_crop` (small parts of public sets: the Decathlon's
hippocampus and spleen, and soft-tissue sarcoma CT). Three ways in:

- hippocampus: rewritten in nnU-Net's raw layout, 30 cases; three folds by `dsnotes sweep`, then all three as one model
  on 20 cases that no fold has seen, by `dsnotes predict` and `dsnotes table FILE --held-out`;
- sarcoma: one case left out; one fold by `dsnotes run`, then `dsnotes predict` of the case left out;
- spleen: a single case, so trained and predicted on the same one: the way back to the scan's grid, no quality.

Every prediction is read by SimpleITK and must lie on its scan's grid. The same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from timing import keep, machine

NOTEBOOK = Path(__file__).parents[1].absolute() / "notebooks" / "80_experiment.py"
TRAINING = {"system": "unet-3d", "width": 8, "batch": 2, "epochs": 8, "iterations": 40, "lr": 3e-3, "folds": 3}
TRAINING |= {"validation": 0.2, "device": "cpu", "settings": {"validation_iterations": 2, "schedule": "poly"}}


def dsnotes(line: str, folder: Path) -> str:
    """Run `dsnotes line` in the folder as in a terminal; its output."""
    print(f"$ dsnotes {line}", flush=True)
    typed = f"{shlex.quote(sys.executable)} -m dsnotes {line}"
    done = subprocess.run(["bash", "-c", typed], cwd=folder, stdout=subprocess.PIPE, text=True)
    print(done.stdout, flush=True)
    if done.returncode:
        sys.exit(f"dsnotes {line} ended with {done.returncode}")
    return done.stdout


def nnunet_raw(source: Path, target: Path, names: list[str]) -> None:
    about = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "anterior": 1, "posterior": 2}}
    for part in ("imagesTr", "labelsTr"):
        (target / part).mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(source / "imagesTr" / f"{name}.nii.gz", target / "imagesTr" / f"{name}_0000.nii.gz")
        shutil.copy(source / "labelsTr" / f"{name}.nii.gz", target / "labelsTr" / f"{name}.nii.gz")
    about |= {"numTraining": len(names), "file_ending": ".nii.gz"}
    (target / "dataset.json").write_text(json.dumps(about))


def dice_on_disk(predicted: Path, scan: Path, label: Path) -> dict[int, float]:
    """Dice per label of a written prediction, which must lie on the scan's grid."""
    image, found, truth = (sitk.ReadImage(str(path)) for path in (scan, predicted, label))
    assert found.GetSize() == image.GetSize()
    for of in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(found, of)(), getattr(image, of)(), atol=1e-5)
    p, t = sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(truth)
    values = [int(value) for value in np.unique(t) if value]
    return {v: 2 * np.sum((p == v) & (t == v)) / (np.sum(p == v) + np.sum(t == v)) for v in values}


def hippocampus(data: Path, folder: Path) -> list[str]:
    source = data / "hippocampus_mr"
    names = sorted(path.name.removesuffix(".nii.gz") for path in (source / "imagesTr").glob("*.nii.gz"))
    if not (folder / "mine").is_dir():
        nnunet_raw(source, folder / "Dataset004_Hippocampus", names[:30])
        nnunet_raw(source, folder / "Dataset104_HeldOut", names[30:50])
        dsnotes("adopt Dataset004_Hippocampus --output mine", folder)
        dsnotes("adopt Dataset104_HeldOut --output held", folder)
    shared = TRAINING | {"data": str(folder / "mine"), "patch": [32, 48, 32]}
    (folder / "folds.yml").write_text(
        json.dumps(
            {"notebook": str(NOTEBOOK), "parameters": shared, "grid": {"fold": [0, 1, 2]}, "columns": {"Dice": "dice"}}
        )
    )
    dsnotes("sweep folds.yml", folder)
    dsnotes("predict runs/80_experiment-*/ held/imagesTr/*.nii.gz --output predictions", folder)
    said = dsnotes("table folds.yml --held-out held", folder)
    label = {path.name.removesuffix(".nii.gz"): path for path in (folder / "held" / "labelsTr").iterdir()}
    scans = {name: next((folder / "held" / "imagesTr").glob(f"{name}*.nii.gz")) for name in label}
    written = {path.name.removesuffix(".nii.gz"): path for path in (folder / "predictions").glob("*.nii.gz")}
    assert set(written) == set(label)
    dice = [np.mean(list(dice_on_disk(written[name], scans[name], label[name]).values())) for name in label]
    by_hand = f"From the files that `dsnotes predict` wrote: Dice {np.mean(dice):.3f} on {len(dice)} cases."
    return ["### Hippocampus, three folds as one model", "", "```", *said.strip().splitlines(), "```", "", by_hand]


def sarcoma(data: Path, folder: Path) -> list[str]:
    source, new = data / "sarcoma_ct", "STS_024"
    if not (folder / "sarcoma").is_dir():
        dsnotes(f"adopt {source} --leave-out {new} --output sarcoma", folder)
    given = TRAINING | {"data": str(folder / "sarcoma"), "patch": [16, 64, 64], "spacing": [4.0, 1.5, 1.5]}
    given |= {"clip": [-150.0, 250.0], "normalise": "window", "folds": 4, "epochs": 4}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    typed = " ".join(f"-p {shlex.quote(f'{name}={text}')}" for name, text in texts.items())
    said = dsnotes(f"run {NOTEBOOK} {typed} --out sarcoma_runs", folder)
    test = next(line.split()[1].rstrip(",") for line in said.splitlines() if line.strip().startswith("dice "))
    dsnotes(
        f"predict sarcoma_runs/80_experiment-*/ {source}/imagesTr/{new}.nii.gz --output sarcoma_predictions", folder
    )
    paths = (
        folder / "sarcoma_predictions" / f"{new}.nii.gz",
        *(source / d / f"{new}.nii.gz" for d in ("imagesTr", "labelsTr")),
    )
    dice = dice_on_disk(*paths)[1]
    return [
        "### Sarcoma, one fold",
        "",
        f"Test cases of the fold: mean Dice {test}; the scan left out ({new}): {dice:.3f}. One seed.",
    ]


def spleen(data: Path, folder: Path) -> list[str]:
    import dsnotes as library
    from dsnotes.data.preprocess import Preprocess
    from dsnotes.data.task import task_of

    source = data / "spleen_ct_crop"
    if not (folder / "spleen").is_dir():
        dsnotes(f"adopt {source} --output spleen", folder)
    cases = library.open_dataset(folder / "spleen").preprocess(Preprocess(spacing=(5.0, 1.6, 1.6)))
    cases = cases.preprocess(Preprocess(clip=(-100.0, 250.0), normalise="window"))
    system = library.build("unet-3d", width=8)
    system = replace(system, task=task_of(cases, window={"overlap": 0.25}))
    how = {"patch": (16, 64, 64), "epochs": 3, "iterations": 25, "batch": 2, "lr": 3e-3, "device": "cpu", "seed": 0}
    library.fit(system, list(cases), out=folder / "spleen_run" / "training", progress=False, **how)
    (scan,) = (source / "imagesTr").glob("*.nii.gz")
    dsnotes(f"predict spleen_run/training {scan} --output spleen_predictions", folder)
    dice = dice_on_disk(folder / "spleen_predictions" / scan.name, scan, source / "labelsTr" / scan.name)[1]
    return [
        "### Spleen, a single case",
        "",
        f"Predicted on the case that it was trained on: Dice {dice:.3f}. It shows the way back to the grid only.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds the three sets")
    parser.add_argument("--keep", type=Path, help="work here instead of a temporary folder")
    parser.add_argument("--write", action="store_true", help="keep the table in results/own_real_data.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.keep or Path(scratch)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        data = options.data.absolute()
        lines = ["## Real images, from a folder to a prediction", ""]
        lines += [f"`python benchmarks/own_real_data.py DATA` on a {machine()}: unet-3d of width 8,"]
        lines += ["320 steps per fold (sarcoma 160, spleen 75)."]
        for part in (hippocampus, sarcoma, spleen):
            done = folder / f"{part.__name__}.json"
            if not done.exists():
                done.write_text(json.dumps(part(data, folder)))
            lines += ["", *json.loads(done.read_text())]
            if options.write:
                keep("own_real_data", "\n".join(lines))
        print("\n".join(lines))


if __name__ == "__main__":
    main()
