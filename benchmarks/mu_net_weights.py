"""µ-Net on real hearts: with which weights of its feature terms, with and without batch norm, it learns, and how soon.

    python benchmarks/mu_net_weights.py FOLDER [--seeds 0 1 2] [--steps 600] [--only "deep λ 0.9" …] \\
        [--log runs.jsonl] [--write]

FOLDER is `cardiac_mr` in the Decathlon's layout: 30 patients, slices of 256². Slices at half resolution, crops of 48²,
width 8, batches of 4, Adam 2e-3, poly. 18 patients are for training, 6 for choosing the weights and 6 for reporting;
the three parts are the same for every row and seed. A run is evaluated three times, after a third, two thirds and all
of its steps. Every row, also the plain U-Net, has µ-Net's own L_BD at the output, so rows differ only in what their
names say.

The second table is for the start of training: size and gradient of the feature term and of the output's term, with the
published weights. With `--log`, finished runs are saved there and the same command resumes after them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from timing import keep, machine, table

import dsnotes
from dsnotes.data.preprocess import Preprocess
from dsnotes.data.splits import split
from dsnotes.metrics import dice
from dsnotes.supervision import loss_terms
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

PATCH = (48, 48)
L_BD = {"cross_entropy": 0.5, "squared": False, "over_batch": False}  # what makes the U-Net's own loss µ-Net's
# A third of the crops are forced onto the heart: L_BD's Dice is per image and learns nothing from an empty crop.
SETTINGS = Settings(patch=PATCH, batch=4, foreground=1 / 3, optimiser="adam", lr=2e-3, schedule="poly", stop="never")


def weighed(system: str, *, norm: str = "batch", **weights: float) -> tuple[str, dict, dict]:
    return system, {"preset": "cardiac", "norm": norm}, weights


def both(features: float, restored: float, norm: str = "batch") -> tuple[str, dict, dict]:
    return weighed("mu-net-hyb", norm=norm, features=features, restored_features=restored)


ROWS = {
    "U-Net, L_BD": ("unet-2d", {}, L_BD),
    "deep λ 9, as printed": weighed("unet-deep"),
    "deep λ 0.9": weighed("unet-deep", features=0.9),
    "deep λ 0.3": weighed("unet-deep", features=0.3),
    "deep λ 0": weighed("unet-deep", features=0.0),
    "hyb λ 9 η 6, as printed": weighed("mu-net-hyb"),
    "hyb λ 0.9 η 0.6": both(0.9, 0.6),
    "hyb λ 0.3 η 0.2": both(0.3, 0.2),
    "hyb λ 0 η 0": both(0.0, 0.0),
    "no norm, U-Net, L_BD": ("unet-2d", {"norm": "none"}, L_BD),
    "no norm, deep λ 9, as printed": weighed("unet-deep", norm="none"),
    "no norm, hyb λ 9 η 6, as printed": weighed("mu-net-hyb", norm="none"),
    "hyb λ 3 η 2": both(3.0, 2.0),
    "hyb λ 0.09 η 0.06": both(0.09, 0.06),
    "no norm, deep λ 0": weighed("unet-deep", norm="none", features=0.0),
    "no norm, hyb λ 0 η 0": both(0.0, 0.0, norm="none"),
    "seg λ 0.9": weighed("mu-net-seg", features=0.9),
    "rec η 0.6": weighed("mu-net-rec", restored_features=0.6),
    "auto λ 0.9": weighed("unet-auto", features=0.9),
}


def build(row: str, seed: int) -> System:
    name, options, weights = ROWS[row]
    torch.manual_seed(seed)
    system = dsnotes.build(name, width=8, **options)
    return replace(system, objective=replace(system.objective, **weights))


def mean_dice(system: System, cases) -> float:
    labels = [dsnotes.to_label(dsnotes.predict(system, case)) for case in cases]
    return statistics.mean(dice(label == 1, case.label == 1) for label, case in zip(labels, cases, strict=True))


def run(row: str, seed: int, steps: int, train, validation, test) -> dict:
    """Dice of the patients that choose and of those that are reported, at three moments of one run."""
    system, looks = build(row, seed), {}
    spent = time.process_time()

    def look(history) -> None:
        if len(history) % 5 == 0:
            looks[len(history) * steps // 15] = mean_dice(system, test)

    settings = replace(SETTINGS, epochs=15, iterations=steps // 15)
    dsnotes.fit(system, train, settings=settings, seed=seed, amp=False, progress=False, on_epoch=look)
    spent = time.process_time() - spent
    return {"row": row, "seed": seed, "steps": steps, "looks": looks, "chosen by": mean_dice(system, validation),
            "cpu": spent}  # fmt: skip


def finished(log: Path | None) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log and log.exists() else []


def start(train, seeds) -> list[list[str]]:
    """Of the first batch at first weights: the terms and their gradients' lengths, over the backbone's weights."""
    from dsnotes.data.patches import draw_batch

    rows = []
    for norm, name in (("batch", "unet-deep"), ("batch", "mu-net-hyb"), ("none", "unet-deep"), ("none", "mu-net-hyb")):
        found: dict[str, list[float]] = {}
        for seed in seeds:
            torch.manual_seed(seed)
            system = dsnotes.build(name, width=8, preset="cardiac", norm=norm)
            draws = torch.Generator().manual_seed(seed)
            batch = draw_batch(train, patch=PATCH, batch=4, foreground=1 / 3, generator=draws)
            terms = terms_of(system, batch)
            for term in ("output", "features", "restored features"):
                if term in terms:
                    weights = list(system.network.backbone.parameters())
                    grads = torch.autograd.grad(terms[term], weights, retain_graph=True, allow_unused=True)
                    length = sum(g.square().sum() for g in grads if g is not None).sqrt().item()
                    found.setdefault(term, []).append(terms[term].item())
                    found.setdefault(f"{term}'s gradient", []).append(length)
        means = {what: f"{statistics.mean(values):.3g}" for what, values in found.items()}
        columns = ("output", "features", "restored features")
        cells = [means.get(c, "–") for name in columns for c in (name, f"{name}'s gradient")]
        rows.append([f"`{name} preset='cardiac' norm='{norm}'`", *cells])
    return rows


def terms_of(system: System, batch) -> dict[str, torch.Tensor]:
    return loss_terms(system.objective, system.network.train(), batch)


def written(runs: list[dict], seeds, steps: int) -> list[list[str]]:
    rows = []
    for row in ROWS:
        own = {r["seed"]: r for r in runs if r["row"] == row and r["steps"] == steps and r["seed"] in seeds}
        if len(own) < len(seeds):
            continue
        at = [str(steps * third // 3) for third in (1, 2, 3)]
        chosen = [own[s]["chosen by"] for s in sorted(own)]
        last = [own[s]["looks"][at[2]] for s in sorted(own)]
        rows.append(
            [
                row,
                *(" ".join(f"{own[s]['looks'][moment]:.3f}"[1:] for s in sorted(own)) for moment in at),
                f"{statistics.mean(last):.3f}",
                f"{statistics.mean(chosen):.3f}",
                f"{statistics.mean(own[s]['cpu'] for s in own):.0f}",
            ]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--only", nargs="+", default=list(ROWS), help="names of rows, all by default")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--write", action="store_true", help="keep the tables as results/mu_net_weights.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    half = Preprocess(spacing=(1.0, 2.0, 2.0), image_order=1, normalise="image")
    with tempfile.TemporaryDirectory() as cache:
        data = dsnotes.open_dataset(options.folder).preprocess(half, cache=cache)
        train, validation, test = split(data, (0.6, 0.2, 0.2), seed=0)
        runs = finished(options.log)
        done = {(r["row"], r["seed"], r["steps"]) for r in runs}
        for row in options.only:
            for seed in options.seeds:
                if (row, seed, options.steps) not in done:
                    runs.append(json.loads(json.dumps(run(row, seed, options.steps, train, validation, test))))
                    print(json.dumps(runs[-1]), flush=True)
                    if options.log:
                        with options.log.open("a") as file:
                            file.write(json.dumps(runs[-1]) + "\n")
        third = options.steps // 3
        text = "\n".join(
            [
                "## mu_net_weights",
                "",
                f"`python benchmarks/mu_net_weights.py FOLDER --steps {options.steps}` on `{options.folder.name}`: "
                f"{len(train)} patients train, {len(validation)} choose, {len(test)} are reported; half resolution, "
                f"crops {PATCH}, width 8, batch 4, a third of the crops on the heart, Adam {SETTINGS.lr}, poly over "
                f"{options.steps} steps, weights of the preset `cardiac` but for λ and η; on a {machine()}. Dice of "
                f"the reported patients, one number a seed ({' '.join(map(str, options.seeds))}).",
                "",
                table(
                    ["row", f"{third} steps", f"{2 * third}", f"{3 * third}", "mean at the end",
                     "mean of those that choose", "CPU s"],
                    written(runs, options.seeds, options.steps),
                ),
                "",
                "First weights, first batch: value and gradient (over the U-Net's weights) of each term as weighed by "
                "the preset; the mean over the seeds.",
                "",
                table(
                    ["system", "output", "gradient", "λ features", "gradient", "η restored features", "gradient"],
                    start(train, options.seeds),
                ),
            ]
        )  # fmt: skip
    print(text)
    if options.write:
        keep("mu_net_weights" + (f"_{options.steps}" if options.steps != 600 else ""), text)


if __name__ == "__main__":
    main()
