"""Systems on a folder of real images, each at the same budget, scored on held-out patients.

    python benchmarks/real_images.py FOLDER --patch 40 56 40 --epochs 30 --iterations 50 --width 16 \\
        --system "mss-unet" --system "mss-unet strategies=()" [--write NAME]

The folder is in the Decathlon's layout. Every volume is normalised separately; the patients are split by a hash of
their names, the same for all seeds. A system may be followed by options of dsnotes.build. With --validate some of the
training patients are scored after every epoch, and the table says when each system was best. `centre-prior` is a row
that uses no image: the mean label of the training patients, thresholded at the level that is best for them. Times are
this process's processor seconds. With --last the last cases by name are held out instead: for slices of one stack,
whose neighbours are alike.

A system that learns from soft masks needs --soft, which computes them by matting from the training labels; a system
with a teacher gets the one of --teacher, trained once on the training images for all of them; its seconds are printed:

    … --last 6 --soft "radius=1 eps=1e-3" --teacher "width=16 blocks=4 scale=2 epochs=(10,2)" \\
        --system unet-2d --system "dsnet width=8 critic_width=16"
"""

from __future__ import annotations

import argparse
import ast
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from timing import keep, machine, table

import dsnotes
from dsnotes.data.augment import Augmentation
from dsnotes.data.preprocess import Preprocess
from dsnotes.data.splits import split
from dsnotes.metrics import dice
from dsnotes.papers.dsnet import train_teacher
from dsnotes.softmask import softened
from dsnotes.training.system import System


def parse(text: str) -> tuple[str, dict]:
    name, *options = text.split(maxsplit=1)
    return name, given(options[0] if options else "")


def given(text: str) -> dict:
    """The options of "key=value key=value"."""
    return {key: ast.literal_eval(value) for key, value in (pair.split("=", 1) for pair in text.split())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--system", action="append", required=True)
    parser.add_argument("--patch", type=int, nargs="+", required=True)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--spacing", type=float, nargs="+", help="mm an axis to resample to")
    parser.add_argument("--foreground", type=float, default=1 / 3)
    parser.add_argument("--clip", type=float, nargs=2)
    parser.add_argument("--normalise", default="image")
    parser.add_argument("--augment", action="store_true")
    parser.add_argument("--mirror", action="store_true", help="test-time mirroring")
    parser.add_argument("--test", type=float, default=0.2, help="share of the patients that are held out")
    parser.add_argument("--validate", type=float, help="share of the other patients to look at after every epoch")
    parser.add_argument("--last", type=int, help="hold out so many cases, the last by name, instead of a share")
    parser.add_argument("--soft", type=given, help="options of softened for the training labels: 'radius=2 eps=1e-3'")
    parser.add_argument("--teacher", type=given, help="options of train_teacher: 'width=16 blocks=4 scale=2'")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of networks and batches")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", metavar="NAME", help="keep the table as results/NAME.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    settings = Preprocess(
        spacing=None if options.spacing is None else tuple(options.spacing),
        clip=None if options.clip is None else tuple(options.clip),
        normalise=options.normalise,
    )
    with tempfile.TemporaryDirectory() as cache:
        data = dsnotes.open_dataset(options.folder).preprocess(settings, cache=cache)
        train, test = (
            (data[: -options.last], data[-options.last :])
            if options.last
            else split(data, (1 - options.test, options.test), seed=0)
        )
        parts = (
            (train, None)
            if options.validate is None
            else split(train, (1 - options.validate, options.validate), seed=0)
        )
        taught = None if options.teacher is None else teacher(options, train)
        if options.soft is not None:
            parts = tuple(part and softened(part, classes=data.classes, **options.soft) for part in parts)
        rows = [
            prior(data, train, test) if text == "centre-prior" else run(text, options, data, *parts, test, taught)
            for text in options.system
        ]
    labels = [name for value, name in data.labels.items() if value]
    columns = [
        "system",
        "parameters",
        *(f"Dice {name}" for name in labels),
        "mean ± SD of cases (± of seeds)",
        "training, CPU s",
    ]
    if options.validate is not None:
        columns += ["best epoch", "CPU s until then"]
    held_out = f"the last {options.last}" if options.last else "by a hash of their names"
    text = "\n".join(
        [
            f"## {options.write or options.folder.name}",
            "",
            f"{len(train)} patients train, {len(test)} test ({held_out}); patch {tuple(options.patch)}, "
            f"width {options.width}, {options.epochs} × {options.iterations} steps of {options.batch}, "
            f"Adam {options.lr}, poly, seeds {' '.join(map(str, options.seeds))}"
            + ", augmented" * options.augment
            + ", mirrored predictions" * options.mirror
            + (f", soft masks by {options.soft}" if options.soft else "")
            + (f", a teacher of {options.teacher}" if options.teacher else "")
            + (f", {len(parts[1])} of the training patients for validation" if options.validate else "")
            + f"; on a {machine()}.",
            "",
            table(columns, rows),
        ]
    )
    print(text)
    if options.write:
        keep(options.write, text)


def prior(data, train, test) -> list[str]:
    """Where the lesion usually is, and nothing else: every label on one grid that spans its image."""
    from scipy.ndimage import zoom

    def onto(label: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return zoom(label.astype(np.float32), [n / m for n, m in zip(shape, label.shape, strict=True)], order=1)

    grid = (48,) * len(train[0].space)
    scores = np.zeros((1, len(test), data.classes - 1))
    for value in range(1, data.classes):
        mean = np.mean([onto(case.label == value, grid) for case in train], axis=0)
        levels = np.linspace(0.05, 0.95, 19) * mean.max()

        def at(level: float, cases, mean=mean, value=value) -> list[float]:
            return [dice(onto(mean, case.space) > level, case.label == value) for case in cases]

        best = max(levels, key=lambda level: np.mean(at(level, train)))
        scores[0, :, value - 1] = at(best, test)
    print("centre-prior", scores.mean((0, 1)).round(4), flush=True)
    return ["`centre-prior`", "0", *written(scores), "0"]


def written(scores: np.ndarray) -> list[str]:
    """Of (seeds, cases, classes): the mean of every class, then of all with the cases' and the seeds' spread."""
    cases, seeds = scores.mean((0, 2)), scores.mean((1, 2))
    spread = f" (± {seeds.std(ddof=1):.3f})" if len(seeds) > 1 else ""
    return [*(f"{value:.3f}" for value in scores.mean((0, 1))), f"{cases.mean():.3f} ± {cases.std(ddof=1):.3f}{spread}"]


def teacher(options, train) -> System:
    """The super-resolution network for every system that takes one."""
    torch.manual_seed(0)
    own = {"patch": tuple(options.patch), "batch": options.batch, "iterations": options.iterations} | options.teacher
    started = time.process_time()
    system, histories = train_teacher(train, seed=0, progress=False, **own)
    squares = [f"{history[0]['squares']:.4f} → {history[-1]['squares']:.4f}" for history in histories]
    print(f"teacher {time.process_time() - started:.0f} s, squared error {', '.join(squares)}", flush=True)
    return system


def run(text: str, options, data, train, validation, test, taught) -> list[str]:
    """A system once per seed: the row of the table."""
    found = [trained(text, options, data, train, validation, test, taught, seed) for seed in options.seeds]
    parameters, scores, seconds, best = zip(*found, strict=True)
    more = [] if validation is None else [f"{np.mean([x[i] for x in best]):.0f}" for i in (0, 1)]
    return [f"`{text}`", f"{parameters[0]:,}", *written(np.stack(scores)), f"{np.mean(seconds):.0f}", *more]


def trained(text: str, options, data, train, validation, test, taught, seed: int):
    """Parameters, Dice of (cases, classes), seconds, and the best epoch with the seconds until then."""
    name, own = parse(text)
    if taught is not None and "teacher" in dsnotes.systems()[name]["options"]:
        own = {"teacher": taught} | own
    torch.manual_seed(seed)
    system = dsnotes.build(name, in_channels=train[0].channels, classes=data.classes, **{"width": options.width} | own)
    settings = replace(
        system.settings,
        patch=tuple(options.patch),
        batch=options.batch,
        accumulate=1,
        epochs=options.epochs,
        iterations=options.iterations,
        lr=options.lr,
        schedule="poly",
        stop="never",
        foreground=options.foreground,
        augment=Augmentation() if options.augment else False,
    )
    clock = [time.process_time()]
    history = dsnotes.fit(
        system,
        train,
        validation,
        settings=settings,
        seed=seed,
        progress=False,
        on_epoch=lambda _: clock.append(time.process_time()),
    )
    seconds = clock[-1] - clock[0]
    print(
        text,
        f"{seconds:.0f} s",
        history.notes,
        f"loss {history[0]['loss']:.3f} → {history[-1]['loss']:.3f}",
        flush=True,
    )
    scores = []
    for case in test:
        label = dsnotes.to_label(dsnotes.predict(system, case, patch=tuple(options.patch), mirror=options.mirror))
        scores.append([dice(label == value, case.label == value) for value in range(1, data.classes)])
    scores = np.array(scores)
    print(text, f"seed {seed}", scores.mean(0).round(4), flush=True)
    best = () if validation is None else (history.best_epoch, clock[history.best_epoch] - clock[0])
    return sum(p.numel() for p in system.network.parameters()), scores, seconds, best


if __name__ == "__main__":
    main()
