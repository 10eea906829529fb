"""Writes a model card for a finished run, README.md in its folder, to share with the weights.

What a card should say: Mitchell et al. 2019, https://arxiv.org/abs/1810.03993
"""

from __future__ import annotations

import argparse
import math
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dsnotes.runs.predict_command import load_run, require_finished, weights_hash
from dsnotes.runs.results_io import read_json
from dsnotes.runs.source import RefusedError

CARD, PICTURES = "README.md", "card"
WORST = 3
FIGURES = {
    "dice": "Dice",
    "iou": "IoU",
    "ppv": "PPV",
    "sensitivity": "Sensitivity",
    "hausdorff95": "Hausdorff 95 % (mm)",
    "mean_surface_distance": "Mean surface distance (mm)",
}


def add_card(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "card",
        help="write a model card for a finished run",
        description="Write README.md into the run's folder: what it is, what it was trained on, its settings, its "
        "scores with their spread, the three worst cases as pictures, and what it must not be used for.",
        epilog="For instance: dsnotes card runs/80_experiment-3f2a9c1d8e4b",
    )
    command.add_argument("run", type=Path, help="the folder of a finished run")
    command.add_argument("--data", help="where its dataset is now, if it was moved")
    command.set_defaults(do=do_card)


def do_card(asked: argparse.Namespace) -> int:
    try:
        written = card(asked.run, data=asked.data)
    except (ValueError, OSError) as error:
        raise error if isinstance(error, RefusedError) else RefusedError(str(error)) from error
    print(f"written: {written}")
    return 0


def card(run: Path, *, data: str | None = None) -> Path:
    """Write the card of a run of 80_experiment, with pictures if its dataset can be opened."""
    require_finished(str(run))
    if not (run / "result.json").is_file():
        raise RefusedError(f"{run} is not the folder of a finished run: it holds no result.json")
    result = read_json(run / "result.json")
    system = load_run(str(run))
    if system.task is None:
        raise RefusedError(f"{run} does not say what it was trained on (it has no task.json); run it again")
    pictures, why = _pictures(run, result, system, data)
    parts = [
        f"# {system.name} on {Path(str(result['parameters'].get('data', '?'))).name}",
        _what(system, result, weights_hash(system.network)),
        "## Trained on\n\n" + _data(system.task.about, system.task),
        "## Settings\n\n" + _settings(run, result),
        "## Scores\n\n" + _scores(result["cases"], system.task),
        "## The worst cases\n\n" + (pictures or why),
        "## Not for\n\n" + _limits(system.task, result),
        "## How to use it, and how it was made\n\n" + _commands(run, result),
    ]
    path = run / CARD
    part = path.with_name(f"{CARD}.part")
    part.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    part.replace(path)
    return path


def worst(cases: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of the cases with the lowest Dice, the lowest first."""
    scored = {name: float(row["dice"]) for name, row in cases.items() if row.get("dice") is not None}
    return sorted(scored, key=lambda name: (scored[name], name))[:WORST]


def spread(cases: Mapping[str, Mapping[str, Any]], figure: str) -> tuple[float, float, float, int] | None:
    """Mean, standard deviation over cases, worst value, and the number of cases with a finite one; None if none has."""
    values = [float(row[figure]) for row in cases.values() if row.get(figure) is not None]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    low_is_bad = figure.split("_")[0] not in ("hausdorff", "hausdorff95", "mean")
    deviation = statistics.stdev(finite) if len(finite) > 1 else 0.0
    return statistics.fmean(finite), deviation, min(finite) if low_is_bad else max(finite), len(finite)


def _what(system, result: dict, weights: str) -> str:
    backbone = system.network.backbone
    count = sum(weight.numel() for weight in system.network.parameters())
    foreground = [name for value, name in system.task.labels.items() if value]
    regions = list(system.task.regions)
    return (
        f"A {system.dims}-D network that segments {', '.join(regions or foreground)} in images of "
        f"{backbone.in_channels} channel{'s' if backbone.in_channels > 1 else ''} ({', '.join(system.task.channels)}). "
        f"{count:,} parameters; trained {result['started'][:10]} with dsnotes, commit "
        f"{result.get('commit') or 'unknown'}."
        f"\n\nWeights (sha256 of names, shapes and values): `{weights}`"
    )


def _data(about: dict, task) -> str:
    if not about:
        return "Nothing was recorded of the training data."
    counts = ", ".join(f"{number} {part}" for part, number in about["cases"].items())
    lines = [f"- Data: {about.get('name') or about['data']}; cases: {counts}"]
    for key in ("source", "reference", "licence", "license"):
        if about.get(key):
            lines.append(f"- {key.capitalize()}: {about[key]}")
    low, high = (_times(about["spacing"][end]) for end in ("lowest", "highest"))
    lines.append(f"- Spacing: {low} mm" + (f" to {high} mm" if high != low else ""))
    low, high = (_times(about["size"][end]) for end in ("smallest", "largest"))
    lines.append(f"- Size: {low} voxels" + (f" to {high}" if high != low else ""))
    for name, (low, high) in zip(task.channels, about["grey values"], strict=False):
        lines.append(f"- Grey values of {name}: {low:g} to {high:g} (0.5th and 99.5th percentile, lowest and highest)")
    lines.append(f"- Labels: {', '.join(f'{value} {name}' for value, name in task.labels.items())}")
    if task.ignore is not None:
        lines.append(f"- Voxels of value {task.ignore} (ignore) counted in no loss and no score")
    for name, values in task.regions.items():
        lines.append(f"- Region {name}: labels {', '.join(map(str, values))}")
    for step in task.preprocessing:
        done = {k: v for k, v in vars(step).items() if v not in (None, "nearest", False) and k != "image_order"}
        if done:
            lines.append("- Prepared by: " + ", ".join(f"{key} = {_short(value)}" for key, value in done.items()))
    return "\n".join(lines)


def _settings(run: Path, result: dict) -> str:
    settings = {}
    if (run / "training" / "settings.json").is_file():
        settings = read_json(run / "training" / "settings.json").get("settings", {})
    kept = ("patch", "batch", "epochs", "iterations", "optimiser", "lr", "schedule", "weight_decay", "augment")
    rows = {key: settings[key] for key in kept if settings.get(key) is not None}
    rows |= {"seed": result["parameters"].get("seed"), "fold": result["parameters"].get("fold")}
    rows |= {"hours": round(result.get("seconds", 0) / 3600, 2), "device": result.get("device", "unknown")}
    lines = ["| setting | value |", "| --- | --- |"]
    return "\n".join(lines + [f"| {key} | {_short(value)} |" for key, value in rows.items() if value is not None])


def _scores(cases: Mapping[str, Mapping[str, Any]], task) -> str:
    names = [name for value, name in task.labels.items() if value]
    names = list(task.regions) or (names if len(names) > 1 else [])
    lines = ["| figure | mean ± SD over cases | worst | cases |", "| --- | --- | --- | --- |"]
    for key, title in FIGURES.items():
        for suffix, of in [("", ""), *((f"_{name}", f", {name}") for name in names)]:
            if found := spread(cases, key + suffix):
                mean, deviation, low, count = found
                lines.append(f"| {title}{of} | {mean:.3f} ± {deviation:.3f} | {low:.3f} | {count} |")
    return f"On {len(cases)} cases that were neither trained on nor validated on.\n\n" + "\n".join(lines)


def _limits(task, result: dict) -> str:
    lines = ["- Not a medical device: not for diagnosis, treatment or any decision about a patient."]
    if task.about.get("phantoms"):
        lines.append("- Trained on drawn phantoms: not for images of patients at all.")
    if about := task.about.get("spacing"):
        lines.append(
            f"- Not for other images than those above: channels {', '.join(task.channels)} in this order, spacing "
            f"{_times(about['lowest'])} to {_times(about['highest'])} mm, the same scanners' grey values."
        )
    lines.append(f"- Not for anything but {', '.join(n for v, n in task.labels.items() if v)}: it marks nothing else.")
    lines.append("- Not a comparison: one fold and one seed do not show that it is better than another network.")
    return "\n".join(lines)


def _commands(run: Path, result: dict) -> str:
    notebook = result.get("notebook", "80_experiment.py")
    given = " ".join(
        f"-p {shlex.quote(f'{key}={_short(value)}')}"
        for key, value in result["parameters"].items()
        if value not in ("", 0, 0.0, [], {}, False)
    )
    return (
        f"```\ndsnotes predict {run.name} scan.nii.gz --output predictions/\n```\n\nIt was made by\n\n"
        f"```\ndsnotes run notebooks/{notebook} {given}\n```"
    )


def _pictures(run: Path, result: dict, system, data: str | None) -> tuple[str, str]:
    """Pictures of the worst cases with label and prediction, or the reason why there are none."""
    import matplotlib.pyplot as plt

    from dsnotes.inference.scan import predict_scan
    from dsnotes.runs.experiment import cases_of, cleaned
    from dsnotes.viewers import show

    parameters, names = result["parameters"], worst(result["cases"])
    how = {"phantom_cases": parameters.get("phantom_cases", 20), "size": parameters.get("phantom_size", ())}
    source = parameters.get("tested") or parameters.get("data", "")
    try:
        cases, _ = cases_of(data or source, **how)
    except (ValueError, OSError) as error:
        return "", f"The worst: {', '.join(names)}. No pictures: {error}"
    place = {name: at for at, name in enumerate(getattr(cases, "names", None) or [one.name for one in cases])}
    lines = []
    (run / PICTURES).mkdir(exist_ok=True)
    for number, name in enumerate((name for name in names if name in place), start=1):
        case = cases[place[name]]
        label, _ = predict_scan([(system, system.task)], case, progress=False)
        title = f"{name}, Dice {float(result['cases'][name]['dice']):.3f}"
        label = cleaned(label, system.task.postprocess)
        view = show(case, prediction=label, title=title, window="label", viewer="still")
        file = view.save(run / PICTURES / f"worst-{number}.png")
        plt.close(view.figure)
        lines.append(f"![{title}: the truth solid, the prediction dashed]({PICTURES}/{file.name})\n\n{title}")
    return "\n\n".join(lines), f"The worst: {', '.join(names)}. The dataset no longer holds them."


def _times(numbers: Sequence[float]) -> str:
    return " × ".join(f"{number:.4g}" for number in numbers)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_short(one) for one in value) + "]"
    return str(value)
