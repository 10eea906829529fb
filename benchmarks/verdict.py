"""The runs of sweeps/verdict-*.yml, one after the other in this process, kept in benchmarks/verdict/.

    python benchmarks/verdict.py sweeps/verdict-*.yml [--seconds 3600]
    python benchmarks/verdict.py --write

A run computes what notebooks/80_experiment.py computes for the same parameters, without a kernel of its own. Each is
kept as SWEEP/ROW-foldF-seedS.json and not repeated; --seconds begins no further run after so much processor time. Runs
go seed by seed, so that rows stay balanced wherever it stops. Data is looked for where the sweep says, or in the folder
of the same name in $DSNOTES_DATA. --write makes the book's page, its figures and the README's table of what is kept.
"""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from timing import peak_mib, reset_peak

import dsnotes
from dsnotes.data.preprocess import Preprocess, foreground_statistics
from dsnotes.data.splits import k_fold, printed_folds
from dsnotes.data.splits import split as shares
from dsnotes.runs import verdict
from dsnotes.runs.differences import labelled
from dsnotes.runs.experiment import cases_of, figures, system_of
from dsnotes.runs.plan import Plan, open_plan
from dsnotes.runs.results_io import read_result, write_result
from dsnotes.safety.atomic import write_text
from dsnotes.shapes import Outputs, Probs
from dsnotes.softmask import softened
from dsnotes.training.system import logits_to_probabilities
from dsnotes.viewers import style
from dsnotes.viewers.forest_plot import forest_plot

KEPT = Path(__file__).parent / "verdict"
BEGIN, END = "<!-- verdict -->", "<!-- /verdict -->"
FIGURES = ("dice", "ppv", "sensitivity", "hausdorff95", "mean_surface_distance", "surface_dice")


def place(plan: Plan, row: str, values: dict) -> Path:
    name = re.sub(r"[^a-z0-9+]+", "-", row.lower()).strip("-")
    return KEPT / plan.path.stem / f"{name}-fold{values['fold']}-seed{values['seed']}.json"


def located(data: str) -> str:
    other = Path(os.environ.get("DSNOTES_DATA", "")) / Path(data).name
    return data if Path(data).is_dir() or "/" not in data else str(other)


@lru_cache(maxsize=2)
def patients(
    data, fold, folds, validation, size, spacing, normalise, channels, phantom_cases, phantom_size, split, patient
):
    cases, names = cases_of(located(data), phantom_cases=phantom_cases, size=phantom_size)
    whose = {"seed": 0, "patient": patient or None}
    if split:
        train, _, test = printed_folds(cases, split, **whose)[fold]
    else:
        others, test = k_fold(cases, folds, **whose)[fold]
        train, _ = shares(others, (1 - validation, validation), **whose)
    fixed = Preprocess(size=size, spacing=spacing, channels=channels)
    train, test = ([fixed(case) for case in part] for part in (train, test))
    if normalise == "foreground":
        statistics = foreground_statistics(train)
        scale = Preprocess(clip=statistics.percentiles, normalise=statistics.z_score)
    else:
        scale = Preprocess(normalise=normalise)
    return [scale(case) for case in train], [scale(case) for case in test], names


def refuse_other_parameters(kept: Path, values: dict) -> None:
    """Stop if a parameter that the kept run has stored differs from the sweep's: a row is one experiment."""
    stored = read_result(kept)["parameters"]
    other = [
        f"{key}={was!r}, not {values.get(key)!r}" for key, was in stored.items() if rounded(values.get(key)) != was
    ]
    if other:
        raise SystemExit(f"{kept} was run with {'; '.join(other)}. To run it again, delete it first: rm '{kept}'")


def with_output(outputs: Outputs, *, deploy: Callable[[Outputs], Probs]) -> Probs:
    """The prediction merged from several maps; further channels hold that of the output alone."""
    return torch.cat([deploy(outputs), logits_to_probabilities(outputs)], 1)


def compute(values: dict) -> dict:
    frozen = {key: tuple(values[key] or ()) or None for key in ("size", "spacing", "channels")}
    named = {
        key: values[key] for key in ("data", "fold", "folds", "validation", "normalise", "phantom_cases", "patient")
    }
    split = tuple(map(tuple, values["split"] or ()))
    train, test, names = patients(**named, **frozen, split=split, phantom_size=tuple(values["phantom_size"] or ()))
    torch.manual_seed(values["seed"])
    sizes = {"in_channels": train[0].channels, "classes": 1 + max(names), "spacing": train[0].spacing}
    system = system_of(values, **sizes)
    if getattr(system.objective, "soft", 0):
        train = softened(train, classes=sizes["classes"], radius=max(1, min(3, min(train[0].space[-2:]) // 16)))
    reset_peak()
    started = time.process_time()
    history = dsnotes.fit(
        system, train, seed=values["seed"], device=values["device"], budget=values["budget"] or None, progress=False
    )
    seconds, peak = time.process_time() - started, peak_mib()
    cases, window = {}, tuple(values["size"] or ()) or tuple(values["patch"])
    merged = system.deploy is not logits_to_probabilities
    answering = replace(system, deploy=partial(with_output, deploy=system.deploy)) if merged else system
    for case in test:
        p = dsnotes.predict(answering, case, patch=window, overlap=values["overlap"], device="cpu")
        p, output = np.split(p, 2) if merged else (p, None)
        found = figures(p, case, names=names, postprocess=values["postprocess"], thresholds=[0.3])
        cases[case.name] = {key: x for key, x in found.items() if key.startswith(FIGURES)}
        if merged:
            alone = figures(output, case, names=names, postprocess=values["postprocess"])
            cases[case.name][verdict.OUTPUT_DICE] = alone["dice"]
        cases[case.name] |= {"highest probability": float(p.max())} if len(p) == 1 else {}
    run = {"steps": history.steps, "training seconds": round(seconds, 1), "loss": history[-1]["loss"]}
    run |= {"peak MiB": peak} if peak else {}
    run["parameters (M)"] = sum(p.numel() for p in system.network.parameters()) / 1e6
    return {"parameters": values, "about": {"run": run, "train": len(train), "test": len(test)}, "cases": cases}


def write() -> None:
    """site/pages/verdict.md, assets/verdict_*.png, and the block in README.md between its two marks."""
    root = Path(__file__).resolve().parents[1]
    page = root / "site" / "pages" / "verdict.md"
    text = page.read_text(encoding="utf-8").partition(BEGIN)[0] + BEGIN + "\n"
    found = verdict.questions(KEPT, root / "sweeps")
    for one in found:
        text += "\n" + verdict.markdown(one).replace("###", "##", 1) + "\n"
        if effects := one.titled_effects():
            picture = root / "assets" / f"verdict_{one.name.replace('-', '_')}.png"
            shown = forest_plot(effects, reference=one.first, title=one.text)
            picture.write_bytes(style.png(shown.figure))
            text += f"\n![{shown.alt}](../../assets/{picture.name})\n"
    write_text(page, text)
    readme = root / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    if after:
        write_text(readme, f"{before}{BEGIN}\n{verdict.summary(found)}\n{END}{after}")


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweeps", type=Path, nargs="*")
    parser.add_argument("--write", action="store_true", help="the page, its figures and the README's table")
    parser.add_argument("--seconds", type=float, default=np.inf, help="of processor time, then no further run begins")
    options = parser.parse_args()
    if options.write:
        return write()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    for path in options.sweeps:
        plan = open_plan(path)
        rows = labelled(plan)
        runs = [(values, name) for name, row in rows.items() for values in row.runs]
        order = list(rows)
        runs.sort(key=lambda run: (run[0]["seed"], run[0]["fold"], order.index(run[1])))
        for values, row in runs:
            kept = place(plan, row, values)
            if kept.exists():
                refuse_other_parameters(kept, values)
                continue
            if time.process_time() > options.seconds:
                print("stopped; the same command goes on")
                return
            found = compute(values)
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_result(kept, rounded({"row": row, **found}))
            mean = np.mean([case["dice"] for case in found["cases"].values()])
            print(f"{kept.relative_to(KEPT)}: Dice {mean:.3f}, {found['about']['run']}", flush=True)


if __name__ == "__main__":
    main()
