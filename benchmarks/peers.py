"""Our systems beside MONAI's networks and a plain U-Net: one budget of processor seconds, the same recipe.

    python benchmarks/peers.py FOLDER/cardiac_mr --size 96 96 --seconds 30 [--seeds 0 1 2] [--write]
    python benchmarks/peers.py FOLDER/hippocampus_mr --dims 3 --patch 32 48 32 --batch 2 --levels 4 --width 6

Every network is trained on the same patients with the default recipe, for the number of steps that one thread makes in
so many processor seconds (measured once per network, then fixed for all seeds; other work on the machine lengthens the
seconds used), in bfloat16 where `amp="auto"` chooses it. The finest level has `--width` channels: 8 at 30 s and 16 at
240 s in the kept table. Finished trials are kept, one per line, in results/peers.jsonl; --write makes
results/peers.md of them.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from held_out import Kept, patients, start, trial
from timing import keep, machine, table

import dsnotes
from dsnotes.data.augmentations import augmentation_of
from dsnotes.networks.unet import UNet
from dsnotes.supervision import Plain
from dsnotes.training import budget
from dsnotes.training.batches import Draw
from dsnotes.training.forward_pass import choose_dtype
from dsnotes.training.settings import Settings

BASE = Settings(epochs=10, lr=3e-3, optimiser="adamw", weight_decay=1e-2, schedule="poly", augment=True)


def monai(name: str, dims: int, classes: int, width: int, levels: int) -> torch.nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.networks import nets
    outputs = 1 if classes == 2 else classes
    widths = [width * 2**level for level in range(levels)]
    common = {"spatial_dims": dims, "in_channels": 1, "out_channels": outputs}
    if name == "DynUNet":
        strides = [1, *[2] * (levels - 1)]
        how = {"kernel_size": [3] * levels, "strides": strides, "upsample_kernel_size": strides[1:], "filters": widths}
        return nets.DynUNet(**common, **how)
    if name == "SegResNet":
        return nets.SegResNet(**common, init_filters=8 * max(width // 8, 1))
    if name == "AttentionUnet":
        return nets.AttentionUnet(**common, channels=widths, strides=[2] * (levels - 1))
    if name == "UNet++":
        return nets.BasicUNetPlusPlus(**common, features=[*(width * 2**level for level in range(5)), width])
    return nets.UNet(**common, channels=widths, strides=[2] * (levels - 1), num_res_units=0)


PEERS = ("DynUNet", "SegResNet", "AttentionUnet", "UNet++", "UNet")
OURS = {  # name -> options of dsnotes.build, or of UNet
    "nnu-net, output alone": {"name": "nnu-net", "supervision": "none"},
    "nnu-net, halving weights": {"name": "nnu-net", "supervision": "halving"},
    "nnu-net, MSS weights": {"name": "nnu-net", "supervision": "mss"},
    "resenc, halving weights": {"name": "resenc", "supervision": "halving"},
    "U-Net with batch norm": {"norm": "batch"},
    "U-Net with instance norm": {"norm": "instance"},
}


def system_of(name: str, options: argparse.Namespace, classes: int):
    own = OURS.get(name, {})
    if "norm" in own:
        how = {"dims": options.dims, "classes": classes, "width": options.width, "depth": options.levels}
        return dsnotes.system(name, UNet(**how, **own), Plain(squared=False))
    if own:
        own = own | {"dims": options.dims, "width": options.width, "classes": classes}
        return dsnotes.build(**own, patch=tuple(options.patch), halvings=options.levels - 1)
    module = monai(name, options.dims, classes, options.width, options.levels)
    backbone = dsnotes.wrap(module, classes=classes, dims=options.dims, output=0 if name == "UNet++" else None)
    return dsnotes.system(f"MONAI {name}", backbone, Plain(squared=False))


def run(name: str, seed: int, options: argparse.Namespace, kept: Kept) -> None:
    size = tuple(options.size) if options.size else None
    train, test, values = patients(options.folder, normalise="slice" if options.dims == 2 else "image", size=size)
    start(seed)
    system, patch = system_of(name, options, len(values) + 1), tuple(options.patch)
    settings = replace(BASE, patch=patch, batch=options.batch)
    row = {"set": options.folder.name, "row": name, "budget": options.seconds}
    before = [each for each in kept.rows if all(each[key] == value for key, value in row.items())]
    if before:
        settings = replace(settings, iterations=max(before[0]["steps"] // settings.epochs, 1))
    else:
        augment, device = augmentation_of(True, options.dims), torch.device("cpu")
        draw = Draw(train, settings, len(values) + 1, augment, 0, 0, device)
        amp, _ = choose_dtype("auto", system.network, device=device, shape=(options.batch, 1, *patch))
        settings = budget.settings_within(
            settings, options.seconds, budget.seconds_per_step(system, settings, draw, amp=amp)
        )
    found = trial(system, train, test, values, settings=settings, seed=seed, window=size or patch)
    kept.add(found, **row, seed=seed)


def page(kept: Kept) -> str:
    text = [
        "## peers",
        "",
        "One budget of processor seconds, turned into steps before training; the seconds used are in the table. The "
        "default recipe, nothing tuned for the set; patients held out; one seed ranks nothing. Dice "
        f"is the mean over patients, then over seeds, ± the standard deviation of the seeds; on a {machine()}.",
    ]
    for name, seconds in dict.fromkeys((row["set"], row["budget"]) for row in kept.rows):
        rows = []
        for row in dict.fromkeys(r["row"] for r in kept.rows if (r["set"], r["budget"]) == (name, seconds)):
            which = {"set": name, "row": row, "budget": seconds}
            own = [each for each in kept.rows if all(each[key] == value for key, value in which.items())]
            means = [np.mean(list(of.values())) for of in kept.scores(**which).values()]
            spread = f" ± {np.std(means, ddof=1):.3f}" if len(means) > 1 else ""
            label = row if row in OURS else f"MONAI {row}"
            rows.append(
                [
                    label,
                    f"{np.mean(means):.3f}{spread}",
                    len(means),
                    f"{own[0]['parameters']:,}",
                    own[0]["steps"],
                    f"{np.mean([each['seconds'] for each in own]):.0f}",
                ]
            )
        rows.sort(key=lambda row: row[1], reverse=True)
        columns = ["network", "Dice", "seeds", "parameters", "steps", "CPU s"]
        text += ["", f"### {name}, {seconds:g} s", "", table(columns, rows)]
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dims", type=int, choices=(2, 3), default=2)
    parser.add_argument("--size", type=int, nargs=2, help="pixels a slice is resized to")
    parser.add_argument("--patch", type=int, nargs="+", default=[96, 96])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--levels", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30, help="of processor time for each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", choices=(*OURS, *PEERS), default=(*OURS, *PEERS))
    parser.add_argument("--stop", type=float, default=np.inf, help="begin no trial after so much processor time")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    kept = Kept("peers")
    for seed in options.seeds if not options.write else []:
        for name in options.rows:
            row = {"set": options.folder.name, "row": name, "budget": options.seconds, "seed": seed}
            if not kept.has(**row) and time.process_time() < options.stop:
                run(name, seed, options, kept)
    if kept.rows:
        keep("peers", page(kept))


if __name__ == "__main__":
    main()
