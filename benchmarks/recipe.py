"""What each part of the default recipe is worth: leave one out, train, score patients that were not seen.

    python benchmarks/recipe.py FOLDER --seeds 0 1 2 [--rows all "no grey values"] [--write]

FOLDER holds `cardiac_mr` (2-D: stacks of slices) and `hippocampus_mr` (3-D), in the Decathlon's layout. Every row
trains the same network for the same number of steps. Finished trials are kept, one a line, in results/recipe.jsonl, so
that the same command goes on where it stopped; --write makes results/recipe.md of them.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from held_out import Kept, patients, start, trial
from timing import keep, machine, table

import dsnotes
from dsnotes.data.augmentations import DEFAULT
from dsnotes.metrics import effect
from dsnotes.training.settings import Settings

NO_GEOMETRY = replace(DEFAULT, p_rotation=0, p_scale=0, p_elastic=0)
GREY = ("gamma", "inverted_gamma", "noise", "blur", "brightness", "shift", "contrast", "low_resolution")
NO_GREY = replace(DEFAULT, **{f"p_{name}": 0 for name in GREY})
SMALL = {"patch": (64, 64), "batch": 9}  # as many pixels a step as four whole slices of 96 x 96
ROWS = {  # name -> (changes of the settings, normalisation of a stack of slices)
    "all": ({}, "slice"),
    "no grey values": ({"augment": NO_GREY}, "slice"),
    "no geometry": ({"augment": NO_GEOMETRY}, "slice"),
    "one z-score a stack": ({}, "image"),
    "patches of 64 x 64": (SMALL, "slice"),
    "patches of 64 x 64, half forced": (SMALL | {"foreground": 0.5}, "slice"),
    "MSS U-Net's augmentation": ({"augment": "mss"}, "slice"),
    "mirrored along all axes": ({"augment": replace(DEFAULT, mirror=None)}, "slice"),
    "no augmentation": ({"augment": False}, "slice"),
    "the recipe before": (SMALL | {"augment": "mss", "foreground": 0.5}, "image"),
}
SETS = {
    "cardiac_mr": {"patch": (96, 96), "batch": 4, "iterations": 300, "width": 8, "dims": 2, "size": (96, 96)},
    "hippocampus_mr": {"patch": (32, 48, 32), "batch": 2, "iterations": 100, "width": 6, "dims": 3, "size": None},
}
EARLY = {
    "hippocampus_mr": " So few steps show what a part costs at the start of a training, not what it brings at its end."
}
PLANAR = ("one z-score a stack", "patches of 64 x 64", "patches of 64 x 64, half forced", "the recipe before")
BASE = Settings(epochs=1, lr=3e-3, optimiser="adamw", weight_decay=1e-2, schedule="poly", augment=True)
EPOCHS = 10  # the rate falls from epoch to epoch


def settings_of(name: str, changes: dict) -> Settings:
    size = SETS[name]
    steps = size["iterations"] // EPOCHS
    base = replace(BASE, patch=size["patch"], batch=size["batch"], iterations=steps, epochs=EPOCHS)
    return replace(base, **changes)


def run(folder: Path, name: str, row: str, seed: int, kept: Kept) -> None:
    changes, normalise = ROWS[row]
    size = SETS[name]
    how = {"normalise": normalise if size["dims"] == 2 else "image", "size": size["size"]}
    train, test, values = patients(folder / name, **how)
    start(seed)
    sizes = {"classes": len(values) + 1, "width": size["width"], "dims": size["dims"], "patch": size["patch"]}
    system = dsnotes.build("nnu-net", **sizes, halvings=4 if size["dims"] == 2 else 3, supervision="none")
    settings = settings_of(name, changes)
    found = trial(system, train, test, values, settings=settings, seed=seed, window=size["patch"])
    kept.add(found, set=name, row=row, seed=seed)


def page(kept: Kept) -> str:
    parts = [
        "## recipe",
        "",
        "nnU-Net's plain network with its output supervised, AdamW at 3e-3 falling to 0 "
        "(`python benchmarks/recipe.py`). Dice and precision (the right share of what is predicted) are means over "
        "the held-out patients, then over seeds, ± the standard deviation of the seeds; the difference is paired by "
        "patient and seed, with its interval over both (95 %; over patients alone where there is one seed); on a "
        f"{machine()}.",
    ]
    for name in SETS:
        full = kept.scores(set=name, row="all")
        rows = []
        for row in ROWS:
            dice, precision = kept.scores(set=name, row=row), kept.scores("precision", set=name, row=row)
            if not dice:
                continue
            found = effect(full, dice) if set(dice) & set(full) else None
            means = [np.mean(list(one.values())) for one in dice.values()]
            spread = f" ± {np.std(means, ddof=1):.3f}" if len(means) > 1 else ""
            right = np.mean([np.mean(list(one.values())) for one in precision.values()])
            gap = f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})" if found and row != "all" else ""
            rows.append([row, len(dice), f"{np.mean(means):.3f}{spread}", f"{right:.3f}", gap])
        if rows:
            size, own = SETS[name], [row for row in kept.rows if row["set"] == name]
            seconds = np.median([row["seconds"] for row in own])
            parts += [
                "",
                f"### {name}",
                "",
                f"{own[0]['steps']} steps of {size['batch']} patches {size['patch']}, width {size['width']}; "
                f"{len(own[0]['cases'])} patients held out; about {seconds:.0f} "
                f"processor seconds a run, one thread.{EARLY.get(name, '')}",
                "",
                table(["recipe", "seeds", "Dice", "precision", "against all"], rows),
            ]
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=np.inf, help="of processor time, then no further run begins")
    parser.add_argument("--write", action="store_true", help="make results/recipe.md from the trials kept so far")
    options = parser.parse_args()
    kept = Kept("recipe")
    if not options.write:
        for seed in options.seeds:
            for name in options.sets:
                for row in options.rows:
                    if time.process_time() > options.seconds:
                        return
                    planar = SETS[name]["dims"] == 2
                    if not kept.has(set=name, row=row, seed=seed) and (planar or row not in PLANAR):
                        run(options.folder, name, row, seed, kept)
    keep("recipe", page(Kept("recipe")))


if __name__ == "__main__":
    main()
