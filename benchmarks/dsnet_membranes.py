"""DSNet's ablation chain on real membranes, with several kinds of batch statistics at test time.

    python benchmarks/dsnet_membranes.py FOLDER --work WORK [--seeds 0 1 2] [--steps 240] [--crop 48] \\
        [--only dsnet …] [--write]

FOLDER is `em_membrane` in the Decathlon's layout: 20 slices of one stack, of which the last 6 are held out. All rows
have DSNet's own optimiser and the same budget; the U-Net is trained with Dice, as in the paper, and has twice the width
on a grid half as fine. The teacher, trained once on the training slices, and all finished runs are saved in WORK, and
the same command resumes from there. Dice is computed on a central square of 256² in each held-out slice.

Every trained network is scored several times, with different statistics in its batch norms: the running ones of
training; the same recomputed over 40 training batches with the final weights; and the image's own. With the selective
fusion, the image's own are also used in one part alone: in CBAM's gates, in the fusion, in the rest.
The last rows keep the learning rate constant, so that the weights still change when training ends.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from timing import keep, machine, table
from torch import nn

import dsnotes
from dsnotes.data.patches import draw_batch
from dsnotes.metrics import dice
from dsnotes.papers import dsnet
from dsnotes.softmask import softened
from dsnotes.training.forward_pass import reestimate_statistics
from dsnotes.training.system import System

SIDE, WIDTH, SCALE = 256, 8, 2
SETTINGS = replace(dsnet.SETTINGS, batch=2, lr=3e-3, stop="never")
BY_DICE = {"cross_entropy": 0.0, "squared": False, "over_batch": False}
ROWS = {  # row -> system and options
    "unet-2d": ("unet-2d", {"width": 2 * WIDTH}),
    "dsnet-backbone": ("dsnet-backbone", {"scale": SCALE}),
    "dsnet-sr": ("dsnet-sr", {}),
    "dsnet-edrfm": ("dsnet-edrfm", {}),
    "dsnet-sdrfm": ("dsnet-sdrfm", {}),
    "dsnet-soft": ("dsnet-soft", {}),
    "dsnet": ("dsnet", {"critic_width": 16}),
    # One change at a time that could explain why running statistics differ from a batch's:
    "dsnet-sdrfm, constant rate": ("dsnet-sdrfm", {}),
    "dsnet-edrfm, constant rate": ("dsnet-edrfm", {}),
    "dsnet-sdrfm, constant rate, gate_momentum 0.1": ("dsnet-sdrfm", {"gate_momentum": 0.1}),
}
WAYS = ("running", "re-estimated", "the image's own", "own in CBAM's gates", "own in the fusion", "own in the rest")


def build(row: str, seed: int, teacher: System) -> System:
    name, options = ROWS[row]
    if "teacher" in dsnotes.systems()[name]["options"]:
        options = {"teacher": teacher} | options
    torch.manual_seed(seed)
    system = dsnotes.build(name, **{"width": WIDTH} | options)
    return replace(system, objective=replace(system.objective, **BY_DICE)) if name == "unet-2d" else system


def centre(case) -> torch.Tensor:
    at = [(n - SIDE) // 2 for n in case.space[-2:]]
    image = case.image[..., at[0] : at[0] + SIDE, at[1] : at[1] + SIDE]
    return torch.from_numpy(np.ascontiguousarray(image, np.float32).reshape(1, 1, SIDE, SIDE))


def part_of(name: str) -> str:
    if ".space." in name:
        return "own in CBAM's gates"
    return "own in the fusion" if ".fuse." in name else "own in the rest"


@torch.no_grad()
def scored(system: System, cases, own: Callable[[str], bool]) -> float:
    """Mean Dice, the batch norms for which `own(name)` holds using the image's statistics and keeping nothing."""
    network = system.network.eval()
    taken = [
        (name, norm)
        for name, norm in network.named_modules()
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and ".generator." not in name and own(name)
    ]
    kept = {name: {k: v.clone() for k, v in norm.state_dict().items()} for name, norm in taken}
    for _, norm in taken:
        norm.train()
    found = []
    for case in cases:
        label = dsnotes.to_label(system.deploy(network(centre(case)))[0].numpy())
        truth = centre(replace(case, image=case.label[None].astype(np.float32)))[0, 0].numpy() == 1
        found.append(dice(label.reshape(SIDE, SIDE) == 1, truth))
    for name, norm in taken:
        norm.load_state_dict(kept[name])
    network.eval()
    return statistics.mean(found)


def run(row: str, seed: int, steps: int, patch: tuple[int, int], train, test, teacher: System) -> dict:
    system = build(row, seed, teacher)
    spent = time.process_time()
    schedule = "constant" if "constant rate" in row else SETTINGS.schedule
    settings = replace(SETTINGS, patch=patch, epochs=10, iterations=steps // 10, schedule=schedule)
    dsnotes.fit(system, train, settings=settings, seed=seed, amp=False, progress=False)
    spent = time.process_time() - spent
    ways = {"running": scored(system, test, lambda name: False), "the image's own": scored(system, test, bool)}
    if "sdrfm" in row:
        for part in WAYS[3:]:
            ways[part] = scored(system, test, lambda name, part=part: part_of(name) == part)
    generator = torch.Generator().manual_seed(seed)
    draws = (
        draw_batch(train, patch=patch, batch=SETTINGS.batch, foreground=SETTINGS.foreground, generator=generator)
        for _ in range(40)
    )
    reestimate_statistics(system.network, (batch["image"] for batch in draws))
    ways["re-estimated"] = scored(system, test, lambda name: False)
    return {"row": row, "seed": seed, "steps": steps, "crop": patch[0], "ways": ways, "cpu": spent}


def written(runs: list[dict], seeds, steps: int, crop: int) -> list[list[str]]:
    rows = []
    for row in ROWS:
        same = [r for r in runs if (r["row"], r["steps"], r["crop"]) == (row, steps, crop)]
        found = {r["seed"]: r for r in same if r["seed"] in seeds}
        own = [found[seed] for seed in sorted(found)]
        if len(own) == len(seeds):
            each = [[r["ways"].get(way) for r in own] for way in WAYS]
            cells = [
                "–" if None in dices else f"{statistics.mean(dices):.3f} ({' '.join(f'{d:.3f}'[1:] for d in dices)})"
                for dices in each
            ]
            rows.append([f"`{row}`", *cells, f"{statistics.mean(r['cpu'] for r in own):.0f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="a folder for the teacher and the finished runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--crop", type=int, default=48, help="pixels of a training crop's side")
    parser.add_argument("--only", nargs="+", default=list(ROWS), help="names of rows, all by default")
    parser.add_argument("--write", action="store_true", help="keep the table as results/dsnet_membranes.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = list(dsnotes.open_dataset(options.folder, normalise="image"))
    train, test = softened(cases[:-6], radius=1, eps=1e-3), cases[-6:]
    torch.manual_seed(0)
    how = {"width": 8, "blocks": 2, "scale": SCALE, "patch": (48, 48), "batch": 8, "iterations": 20, "lr": 1e-3}
    teacher, _ = dsnet.train_teacher(
        train, epochs=(6, 0), out=options.work / "teacher", amp=False, progress=False, **how
    )
    log = options.work / "runs.jsonl"
    runs = [{"crop": 48} | json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(r["row"], r["seed"], r["steps"], r["crop"]) for r in runs}
    for row in options.only:
        for seed in options.seeds:
            if (row, seed, options.steps, options.crop) not in done:
                runs.append(run(row, seed, options.steps, (options.crop,) * 2, train, test, teacher))
                print(json.dumps(runs[-1]), flush=True)
                with log.open("a") as file:
                    file.write(json.dumps(runs[-1]) + "\n")
    text = "\n".join(
        [
            "## dsnet_membranes",
            "",
            f"`python benchmarks/dsnet_membranes.py FOLDER --work WORK` on `{options.folder.name}`: {len(train)} "
            f"slices train, {len(test)} test; crops {options.crop}², width {WIDTH} on a grid {SCALE} times finer, the "
            f"U-Net {2 * WIDTH}; {options.steps} steps of {SETTINGS.batch}, Adam {SETTINGS.lr}, poly (constant where a "
            f"row says so); a teacher of {how} and 6 epochs; on a {machine()}. Dice with each kind of statistics: the "
            f"mean over the seeds, then each seed ({' '.join(map(str, options.seeds))}).",
            "",
            table(["row", *WAYS, "training, CPU s"], written(runs, options.seeds, options.steps, options.crop)),
        ]
    )
    print(text)
    if options.write:
        keep("dsnet_membranes" + (f"_{options.crop}" if options.crop != 48 else ""), text)


if __name__ == "__main__":
    main()
