"""`dsnotes predict`: finished runs on new scans, on each scan's own grid; several runs are averaged.

predictions/
    case07.nii.gz       class indices, voxel for voxel on the scan (or case07.dcm, a DICOM-SEG)
    labels.txt          names and colours for ITK-SNAP; labels.ctbl for 3D Slicer
    predictions.json    the weights and input files of each prediction: a second call skips finished scans
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from dsnotes.runs.new_scans import Scan, all_flat, require_channels, scans_of
from dsnotes.runs.results_io import read_json, write_json
from dsnotes.runs.source import RefusedError
from dsnotes.safety.quick_imports import quick_imports

PREDICTIONS = "predictions.json"
MARKS = ("result.json", "failure.json", "begun.json", "checkpoint.pt", "task.json", "system.json", "run.json")


def add_predict(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "predict",
        help="predict new scans with finished runs",
        description="Predict new scans with finished runs, with the runs' own pre- and post-processing, on each scan's "
        "own grid. Several runs (folds, seeds) are averaged. A second call skips what is done.",
        epilog="For instance: dsnotes predict runs/80_experiment-3f2a… scans/new/*.nii.gz --output predictions/",
    )
    command.add_argument("paths", nargs="+", metavar="RUN… FILE…", help="folders of runs, then images of any format")
    command.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where the predictions go")
    command.add_argument("--probabilities", action="store_true", help="keep each scan's probabilities too (.nii.gz)")
    command.add_argument("--format", choices=("nifti", "dicom-seg"), default="nifti", help="dicom-seg: of DICOM alone")
    command.add_argument("--mirror", action="store_true", help="average over mirrored views, even if the run did not")
    command.add_argument("--series", metavar="UID", help="of a DICOM folder that holds several")
    command.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 (default: a GPU where there is one)")
    command.set_defaults(do=do_predict)


def do_predict(asked: argparse.Namespace) -> int:
    with quick_imports():
        import dsnotes.papers.load  # noqa: F401 - with torch, which most of the time goes to
        from dsnotes.inference.scan import predict_scan

    try:
        runs, files = split_paths(asked.paths)
        models, used = load_models(runs)
        system, task = models[0]
        channels = system.network.backbone.in_channels
        filed = max((max(step.channels) + 1 for step in task.preprocessing if step.channels), default=0)
        scans = scans_of(files, channels=filed or channels, at_least=bool(filed))
        require_channels(scans, filed or channels, at_least=bool(filed), series=asked.series)
        how = {"probabilities": asked.probabilities, "format": asked.format, "mirror": asked.mirror}
        ending = (
            ".dcm" if asked.format == "dicom-seg" else ".png" if system.dims == 2 and all_flat(scans) else ".nii.gz"
        )
        if asked.format == "dicom-seg" and (odd := [str(s.files[0]) for s in scans if not s.files[0].is_dir()]):
            raise RefusedError(f"--format dicom-seg needs folders of DICOM series, but {odd[0]} is a file")
        done = prepare_output(asked.output, used, how, task.labels)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise error if isinstance(error, RefusedError) else RefusedError(str(error)) from error
    clock, failed, fresh = time.monotonic(), 0, 0
    for number, scan in enumerate(scans):
        target = asked.output / f"{scan.name}{ending}"
        state = scan.state()
        if (before := done["cases"].get(scan.name)) and before["files"] == state and target.is_file():
            print(f"{scan.name}: done before")
            continue
        left = f", about {(time.monotonic() - clock) / fresh * (len(scans) - number):.0f} s left" if fresh else ""
        print(f"{scan.name}: {number + 1} of {len(scans)}{left}", flush=True)
        try:
            done["cases"][scan.name] = one_scan(scan, models, target, asked, predict_scan) | {"files": state}
        except (ValueError, OSError) as error:
            failed += 1
            print(f"dsnotes predict: {scan.name} is left out: {error}", file=sys.stderr)
            continue
        fresh += 1
        write_json(asked.output / PREDICTIONS, done)
    print(f"{len(scans) - failed} of {len(scans)} scans in {asked.output}, {len(models)} model(s), "
          f"{time.monotonic() - clock:.0f} s")  # fmt: skip
    return 1 if failed else 0


def one_scan(scan: Scan, models: list, target: Path, asked: argparse.Namespace, predict_scan) -> dict[str, Any]:
    """Open, predict, post-process and write one scan; return its entry for predictions.json."""
    import numpy as np

    from dsnotes.data import open_case, save_label, save_volume
    from dsnotes.data.dicom_seg import save_dicom_seg
    from dsnotes.runs.experiment import cleaned

    clock = time.monotonic()
    system, task = models[0]
    case = open_case(scan.image, name=scan.name, series=asked.series)
    mirror = True if asked.mirror else None
    label, p = predict_scan(models, case, mirror=mirror, probabilities=asked.probabilities, device=asked.device)
    label = cleaned(label, task.postprocess)
    if asked.format == "dicom-seg":
        save_dicom_seg(target, label, case, scan.files[0], labels=task.labels, model=system.name, series=asked.series)
    else:
        save_label(target, label, case)
    about: dict[str, Any] = {"label": target.name}
    if p is not None:
        about["probabilities"] = save_volume(target.parent / f"{scan.name}_probabilities.nii.gz", p, case).name
        about["channels"] = list(task.regions) or [task.labels[v] for v in sorted(task.labels)][-len(p) :]
    millilitres = float(np.prod(case.spacing)) / 1000
    about["millilitres"] = {
        name: round(float((label == value).sum()) * millilitres, 3) for value, name in task.labels.items() if value
    }
    return about | {"seconds": round(time.monotonic() - clock, 2)}


def split_paths(paths: list[str]) -> tuple[list[str], list[Path]]:
    """Runs come first; a run is a folder with a run's files, a zip, or an https address."""
    runs = [text for text in paths if is_run(text)]
    files = [Path(text) for text in paths if not is_run(text)]
    if not runs:
        raise RefusedError(
            f"none of {', '.join(paths[:3])} is a run. Give the folder of a finished one first, such as runs/"
            f"80_experiment-3f2a9c1d8e4b (it holds result.json), then the scans"
        )
    if not files:
        raise RefusedError("no scan came; give its file, or the folder of a DICOM series, behind the runs")
    if missing := [str(path) for path in files if not path.exists()]:
        raise RefusedError(f"there is no {missing[0]}")
    return runs, files


def is_run(text: str) -> bool:
    path = Path(text)
    if text.startswith("https://") or path.suffix == ".zip":
        return True
    return path.is_dir() and any((path / mark).exists() or (path / "training" / mark).exists() for mark in MARKS)


def prepare_output(folder: Path, used: list[dict], how: dict, labels: dict[int, str]) -> dict:
    """The earlier predictions of these models in the folder; `RefusedError` if it contains anything else."""
    from dsnotes.data.label_names import save_itksnap, save_slicer

    same = {"models": used, **how}
    if folder.exists() and not folder.is_dir():
        raise RefusedError(f"{folder} is a file; give a folder by --output")
    if (folder / PREDICTIONS).is_file():
        found = read_json(folder / PREDICTIONS)
        weights = [one.get("weights") for one in found.get("models", [])]
        if weights != [one["weights"] for one in used] or any(found.get(key) != value for key, value in how.items()):
            raise RefusedError(
                f"{folder} holds predictions of other runs or other settings ({PREDICTIONS} there says which); give "
                f"another --output"
            )
        return found
    if folder.is_dir() and (held := sorted(path.name for path in folder.iterdir())):
        raise RefusedError(f"{folder} holds other files ({', '.join(held[:3])}); give a new folder by --output")
    folder.mkdir(parents=True, exist_ok=True)
    save_itksnap(folder / "labels.txt", labels)
    save_slicer(folder / "labels.ctbl", labels)
    return {**same, "labels": {str(value): name for value, name in labels.items()}, "cases": {}}


def load_models(runs: list[str]) -> tuple[list, list[dict]]:
    """The systems with their tasks, and for each what predictions.json says of it; refused where they do not agree."""
    models, used = [], []
    for run in runs:
        system = load_run(run)
        if system.task is None:
            raise RefusedError(
                f"{run} does not say how its images were prepared (it has no task.json). Train it again by dsnotes "
                f"run, or save one: dsnotes.data.task.task_of(train).save(folder)"
            )
        if parts := system.task.parts_only:
            raise RefusedError(
                f"{run} was trained with {', '.join(f'{name}=' for name in parts)}, so it knows a part of each image "
                f"alone and cannot be applied to a whole one. Train it without; spacing= and a smaller patch= bring "
                f"large images within reach"
            )
        models.append((system, system.task))
        used.append({"run": Path(run).name, "system": system.name, "weights": weights_hash(system.network)})
    (first, task), *others = models
    for run, (system, own) in zip(runs[1:], others, strict=True):
        differs = {
            "labels": (own.labels, own.regions, own.order) != (task.labels, task.regions, task.order),
            "channels": system.network.backbone.in_channels != first.network.backbone.in_channels,
        }
        if wrong := [name for name, differ in differs.items() if differ]:
            raise RefusedError(
                f"{run} and {runs[0]} have other {' and '.join(wrong)}: {system.network.backbone.in_channels} channels "
                f"and {list(own.labels.values())} against {first.network.backbone.in_channels} and "
                f"{list(task.labels.values())}. Predict with runs of one task"
            )
    return models, used


def load_run(run: str):
    """`dsnotes.load` of what a notebook's run keeps in training/: the weights that it scored, which are the last.

    DSNet's teacher, if the run has trained one, is in teacher/.
    """
    from dsnotes.papers.load import load

    require_finished(run)
    training = Path(run) / "training"
    phases = ("adversarial", "squares")  # the later one first
    teachers = [path for phase in phases if (path := Path(run, "teacher", phase, "checkpoint.pt")).is_file()]
    options = {"teacher": str(teachers[0])} if teachers else {}
    return load(training, weights="checkpoint.pt", **options) if training.is_dir() else load(run)


def require_finished(run: str) -> None:
    """A run of a notebook is finished once it has its result."""
    folder = Path(run)
    if folder.is_dir() and not (folder / "result.json").exists():
        for mark, what in (("failure.json", "failed"), ("begun.json", "has not finished")):
            if (folder / mark).exists():
                raise RefusedError(
                    f"{run} {what}; the same dsnotes run goes on with it. Its weights so far: {folder / 'training'}"
                )


def weights_hash(network) -> str:
    """sha256 of the weights' names, shapes and bytes: the same however they are filed."""
    import hashlib

    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()
