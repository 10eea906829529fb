"""Draws where each paper adds supervision: its U, read from the network itself, and prediction and target there.

    python assets/supervision_diagrams.py               draws all five papers; minutes on a CPU
    python assets/supervision_diagrams.py mss_unet      draws one, and writes assets/supervision_diagrams/mss_unet.png

Channels and strides are those of the system at its paper's size; the pictures are of the same system in 2-D, eight
channels wide, after a short training on phantoms, on a held-out slice. Each PNG contains a description of what it
shows.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import dsnotes
from dsnotes.data import phantoms
from dsnotes.data.case import Case
from dsnotes.data.preprocess import hu_window
from dsnotes.networks.base import Backbone
from dsnotes.papers.dsnet import train_teacher
from dsnotes.shapes import Outputs
from dsnotes.softmask.cases import softened
from dsnotes.supervision import downsample_target
from dsnotes.supervision.pseudo_labels import as_image
from dsnotes.supervision.two_pathway import average
from dsnotes.training.system import System
from dsnotes.viewers import style

FOLDER = Path(__file__).with_name("supervision_diagrams")
WIDTH = 8


@dataclass(frozen=True)
class Pair:
    """One place of supervision: the prediction there, its target, and the loss."""

    level: str  # "stride4", or "restored" for a second decoder's output
    prediction: np.ndarray
    target: np.ndarray
    loss: str
    column: str = "predictions"


@dataclass(frozen=True)
class Paper:
    """`pairs(system, batch, outputs)` -> [Pair]; `second` says what a second decoder does, if there is one."""

    system: str
    title: str
    cases: Callable[[], list[Case]]
    pairs: Callable[[System, dict[str, Tensor], Outputs], list[Pair]]
    options: dict
    how: dict
    epochs: int = 3  # enough to show what each level predicts
    second: str = ""


def flat(tensor: Tensor) -> np.ndarray:
    """The first image of a batch as 2-D: one channel as it is, several by their root mean square."""
    maps = tensor[0].detach().float()
    if len(maps) == 1:
        return maps[0].numpy()
    return maps.square().mean(0).sqrt().numpy()


def named(classes: Tensor) -> np.ndarray:
    """Class planes as one map of 0 … 1: background, kidney, tumour."""
    return (classes.argmax(1)[0].float() / (classes.shape[1] - 1)).numpy()


def mask(batch: dict[str, Tensor]) -> np.ndarray:
    return batch["label"][0].float().numpy()


def of_msds(system: System, batch: dict[str, Tensor], outputs: Outputs) -> list[Pair]:
    alpha = system.objective.weights(system.network.backbone)
    whole = [
        Pair(name, flat(z.sigmoid()), mask(batch), f"{alpha[name]:g} (1 − Dice)", "at full size")
        for name, z in outputs.upsampled.items()
    ]
    own = [
        Pair(
            name,
            flat(z.sigmoid()),
            downsample_target(batch["label"], tuple(z.shape[2:]), channels=1, how="nearest")[0, 0].numpy(),
            f"{alpha[name]:g} (1 − Dice)",
            "at its own size",
        )
        for name, z in outputs.side_outputs.items()
    ]
    fused = Pair("fused", flat(average(outputs)), mask(batch), "1 − Dice", "at full size")
    return [*whole, fused, *own]


def of_dsms(system: System, batch: dict[str, Tensor], outputs: Outputs) -> list[Pair]:
    goal = system.objective
    return [
        Pair("stride1", flat(outputs.logits.sigmoid()), mask(batch), f"{goal.segmentation:g} × cross-entropy"),
        Pair(
            "restored", flat(outputs.restored.sigmoid()), flat(batch["image"]), f"{goal.restoration:g} × cross-entropy"
        ),
    ]


def of_mss(system: System, batch: dict[str, Tensor], outputs: Outputs) -> list[Pair]:
    weights = system.objective.level_weights(tuple(outputs.side_outputs))
    return [
        Pair(
            name,
            named(z),
            named(downsample_target(batch["label"], tuple(z.shape[2:]), channels=z.shape[1], how="nearest")),
            f"{weights[name]:.2g} (exp-log Dice + CE)",
        )
        for name, z in outputs.side_outputs.items()
    ]


def of_mu(system: System, batch: dict[str, Tensor], outputs: Outputs) -> list[Pair]:
    grey = as_image(batch["label"], system.classes, batch["image"])
    on_mask = system.network(grey)
    goal = system.objective
    return [
        Pair(name, flat(outputs.features[name]), flat(on_mask.features[name]), f"{goal.features:g} × squared error")
        for name in outputs.features
    ]


def of_dsnet(system: System, batch: dict[str, Tensor], outputs: Outputs) -> list[Pair]:
    goal, prediction = system.objective, flat(outputs.fine.sigmoid())
    _, fake = goal.pairs(outputs, batch)
    verdict = flat(system.make_step().critic.eval()(fake).sigmoid())
    return [
        Pair("finer4", prediction, mask(batch), f"{goal.dice:g} (1 − Dice)"),
        Pair("finer4", prediction, flat(batch["soft"]), f"{goal.soft:g} × |difference|"),
        Pair("finer4", prediction, verdict, f"{goal.adversarial:g} × −ln critic"),
    ]


def slices_of(cases: list[Case], each: int) -> list[Case]:
    """2-D cases: from every volume the slices with the most foreground."""
    found = []
    for case in cases:
        fullest = np.argsort(-(case.label > 0).sum((1, 2)))[:each]
        found += [
            replace(
                case,
                name=f"{case.name} {z}",
                image=case.image[z],
                label=case.label[z],
                spacing=case.spacing[1:],
                extras={},
            )
            for z in sorted(fullest)
        ]
    return found


def chests() -> list[Case]:
    return slices_of([hu_window(-1000, 400)(case) for case in phantoms.lung(24, seed=0)], 8)


def bellies() -> list[Case]:
    return slices_of([hu_window(-160, 240)(case) for case in phantoms.abdomen(24, seed=0, size=(16, 64, 64))], 6)


def kidneys(size: int, *, merged: bool = False) -> list[Case]:
    cases = [hu_window(-79, 304)(case) for case in phantoms.kidneys(24, seed=0, size=(16, size, size))]
    cases = slices_of(cases, 6)
    return [replace(case, label=np.minimum(case.label, 1)) for case in cases] if merged else cases


def nodules() -> list[Case]:
    cases = [hu_window(-1000, 400)(case) for case in phantoms.nodules(64, seed=0, size=48)]
    return softened(cases, radius=3, eps=1e-2)


PAPERS = {
    "msds_unet": Paper(
        "msds-unet",
        "MSDS-UNet",
        chests,
        of_msds,
        {"dims": 2},
        {"patch": (64, 64), "batch": 8, "iterations": 60},
        epochs=6,
    ),
    "dsms_unet": Paper(
        "dsmsc-unet",
        "DSMS U-Net",
        bellies,
        of_dsms,
        {},
        {"patch": (64, 64), "batch": 8, "iterations": 40, "accumulate": 1},
        second="restores the image",
    ),
    "mss_unet": Paper(
        "mss-unet",
        "MSS U-Net",
        lambda: kidneys(128),
        of_mss,
        {"dims": 2, "classes": 3, "patch": (128, 128)},
        {"patch": (128, 128), "batch": 4, "iterations": 40},
        epochs=12,
    ),
    "mu_net": Paper(
        "mu-net-hyb",
        "µ-Net",
        lambda: kidneys(64, merged=True),
        of_mu,
        {"preset": "spleen"},
        {"patch": (64, 64), "batch": 8, "iterations": 40},
        second="restores, with the encoder's own kernels",
    ),
    "dsnet": Paper("dsnet", "DSNet", nodules, of_dsnet, {}, {"patch": (48, 48), "batch": 4, "iterations": 20}),
}


def trained(paper: Paper, cases: list[Case], epochs: int) -> System:
    torch.manual_seed(0)
    options = dict(paper.options)
    if paper.system == "dsnet":
        options["teacher"], _ = train_teacher(
            cases,
            width=WIDTH,
            blocks=2,
            epochs=(max(2, epochs // 2), 0),
            patch=(48, 48),
            batch=4,
            iterations=20,
            progress=False,
        )
    system = dsnotes.build(paper.system, width=WIDTH, **options)
    settings = replace(system.settings, stop="never")  # some papers stop on a validation set
    steps = []

    def make_step(*given, **how):
        steps.append(system.make_step(*given, **how))
        return steps[-1]

    training = replace(system, make_step=make_step)
    dsnotes.fit(training, cases, settings=settings, epochs=epochs, lr=2e-3, progress=False, **paper.how)
    return replace(system, make_step=lambda: steps[-1])  # the step that has the trained critic


def at_papers_size(paper: Paper) -> Backbone:
    """The backbone at the published size, on the meta device."""
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # the teacher is not used here
        return dsnotes.build(paper.system, **({"classes": 3} if paper.system == "mss-unet" else {})).network.backbone


def seen(system: System, case: Case) -> tuple[dict[str, Tensor], Outputs]:
    batch = {"image": torch.from_numpy(case.image)[None, None], "label": torch.from_numpy(case.label)[None].long()}
    if "soft" in case.extras:
        batch["soft"] = torch.from_numpy(np.asarray(case.extras["soft"], np.float32))[None, None]
    system.network.eval()
    with torch.no_grad():
        return batch, system.network(batch["image"])


def strides(backbone: Backbone) -> list[tuple[str, int, tuple[int, ...]]]:
    """(level, channels, stride) of the decoder from fine to coarse, with the bottleneck last.

    DSNet's U starts on a finer grid than the image's; no head can be attached to those levels, so they have no name.
    """
    deepest = backbone.levels["bottleneck"]
    scale, width = getattr(backbone, "scale", 1), backbone.output.weight.shape[1]
    return [
        *((f"finer{scale >> i}", width << i, (-(scale >> i),)) for i in range(scale.bit_length() - 1)),
        *((name, level.channels, level.stride) for name, level in backbone.sides().items()),
        (f"stride{max(deepest.stride)}", deepest.channels, deepest.stride),
    ]


def draw_u(
    axes, levels: list[tuple[str, int, tuple[int, ...]]], paper: Paper, supervised: set[str], *, rows: int
) -> None:
    """Encoder on the left, decoder on the right, finest on top; a filled box has a target."""
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    def box(x, y, text, filled, colour=style.BLUE):
        width, height = 0.9, 0.52
        axes.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - height / 2),
                width,
                height,
                boxstyle="round,pad=0.02,rounding_size=0.09",
                facecolor=colour if filled else style.BACKGROUND,
                edgecolor=colour,
                linewidth=1.4,
            )
        )
        axes.text(
            x, y, text, ha="center", va="center", fontsize=8.5, color=style.BACKGROUND if filled else style.FOREGROUND
        )

    def arrow(a, b, colour=style.FAINT, style="-|>", dashes="-"):
        axes.add_patch(
            FancyArrowPatch(
                a,
                b,
                arrowstyle=style,
                mutation_scale=8,
                color=colour,
                linewidth=1.2,
                linestyle=dashes,
                shrinkA=0,
                shrinkB=0,
            )
        )

    depth = len(levels) - 1
    for x, part in ((0, "encoder"), (2.4, "decoder")):
        axes.text(x, 0.53, part, ha="center", va="bottom", fontsize=9)
    for row, (name, channels, _) in enumerate(levels):
        if row == depth:
            box(1.2, -row, str(channels), name in supervised)
            arrow((0.02, -row + 0.72), (0.75, -row + 0.1))
            arrow((1.66, -row + 0.1), (2.38, -row + 0.72))
            continue
        box(0, -row, str(channels), False)
        box(2.4, -row, str(channels), name in supervised)
        arrow((0.48, -row), (1.92, -row), style.GRID)
        if row < depth - 1:
            arrow((0, -row - 0.28), (0, -row - 0.72))
            arrow((2.4, -row - 0.72), (2.4, -row - 0.28))
    if paper.second:
        arrow((1.2, -depth + 0.28), (1.2, 0.28), style.VERMILION, dashes=(0, (4, 2)))
        axes.text(
            1.2,
            -depth / 2 + 0.1,
            paper.second,
            rotation=90,
            ha="center",
            va="center",
            fontsize=8,
            color=style.FOREGROUND,
            bbox={"facecolor": style.BACKGROUND, "edgecolor": "none", "pad": 1.5},
        )
    for row, (_, _, stride) in enumerate(levels):
        axes.text(-0.62, -row, size_of(stride), ha="right", va="center", fontsize=8, color=style.FOREGROUND)
    axes.set(xlim=(-1.6, 3.0), ylim=(0.5 - rows, 0.5))  # one unit per row, level with the pictures
    axes.axis("off")


def size_of(stride: tuple[int, ...]) -> str:
    """A level's size relative to the image's."""
    if len(set(stride)) > 1:
        return "×".join(map(str, stride))
    return f"{-stride[0]} × finer" if stride[0] < 0 else f"1/{stride[0]}" if stride[0] > 1 else "full size"


def show(axes, values: np.ndarray, *, top: float | None = None, grey: bool = False) -> None:
    axes.imshow(
        values, cmap="gray" if grey else "magma", vmin=0, vmax=top, interpolation="nearest", extent=(0, 1, 1, 0)
    )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def places(pairs: list[Pair], levels: list[str]) -> dict[tuple[int, int], Pair]:
    """(row, column of pairs) -> pair: rows are levels, finest on top; pairs without a level get rows of their own."""
    columns = list(dict.fromkeys(pair.column for pair in pairs))
    found: dict[tuple[int, int], Pair] = {}
    for pair in pairs:
        column = columns.index(pair.column)
        row = levels.index(pair.level) if pair.level in levels else len(levels) - 1
        while (row, column) in found:
            row += 1
        found[row, column] = pair
    return found


def draw(paper: Paper, backbone: Backbone, image: np.ndarray, pairs: list[Pair]) -> tuple[object, str]:
    levels = strides(backbone)
    names = [name for name, _, _ in levels]
    placed = places(pairs, names)
    rows = max(len(levels), 1 + max(row for row, _ in placed))
    columns = 1 + max(column for _, column in placed)
    with style.look():
        figure = style.sheet(4.7 + 2.9 * columns, 0.86 * rows + 0.5)
        grid = figure.add_gridspec(
            rows, 2 + 3 * columns, width_ratios=[3.7, 1.1, *[1, 1.25, 1] * columns], wspace=0.02, hspace=0.05
        )
        draw_u(figure.add_subplot(grid[:, 0]), levels, paper, {pair.level for pair in pairs}, rows=rows)
        scan = figure.add_subplot(grid[0, 1])
        show(scan, image, grey=True, top=1)
        scan.set_title("input", fontsize=9)
        for (row, column), pair in placed.items():
            prediction, middle, target = (figure.add_subplot(grid[row, 2 + 3 * column + i]) for i in range(3))
            grey = pair.level == "restored"
            top = float(pair.target.max()) if "squared" in pair.loss else 1.0
            show(prediction, pair.prediction, top=top, grey=grey)
            show(target, pair.target, top=top, grey=grey)
            middle.axis("off")
            middle.set(xlim=(0, 1), ylim=(0, 1))
            middle.annotate("", (0.97, 0.42), (0.03, 0.42), arrowprops={"arrowstyle": "<->", "color": style.FAINT})
            middle.text(0.5, 0.53, wrapped(pair.loss), ha="center", va="bottom", fontsize=7.5)
            if pair.level == "fused":
                middle.text(0.5, 0.3, "all four fused", ha="center", va="top", fontsize=7.5)
            if row == min(r for r, c in placed if c == column):
                prediction.set_title("prediction" if columns == 1 else f"prediction\n{pair.column}", fontsize=9)
                target.set_title("target" if columns == 1 else "target\n", fontsize=9)
    return figure, in_words(paper, levels, pairs)


def wrapped(loss: str) -> str:
    """Break a long loss into two lines."""
    return loss if len(loss) < 15 else loss.replace(" × ", " ×\n", 1).replace(" (exp", "\n(exp", 1)


def in_words(paper: Paper, levels: list[tuple[str, int, tuple[int, ...]]], pairs: list[Pair]) -> str:
    def place(pair: Pair) -> str:
        return {
            "restored": "the second decoder's output",
            "fused": "the four fused",
            "finer4": "the output, on a grid four times finer than the image's",
        }.get(pair.level, "the output" if pair.level == "stride1" else f"stride {pair.level.removeprefix('stride')}")

    said = "; ".join(
        f"{place(pair)}{f' {pair.column}' if pair.column != 'predictions' else ''}: {pair.loss}" for pair in pairs
    )
    channels = ", ".join(str(n) for _, n, _ in levels)
    second = f" A second decoder {paper.second}." if paper.second else ""
    return (
        f"{paper.title} as a U with {channels} channels from the finest level to the bottleneck.{second} Beside it, "
        f"for a slice of a phantom, prediction and target at every supervised place: {said}."
    )


def best_slice(cases: list[Case]) -> Case:
    return max(cases, key=lambda case: int((case.label == case.label.max()).sum() + (case.label > 0).sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paper", nargs="*", choices=[[], *PAPERS], default=[])
    parser.add_argument("--epochs", type=int, help="instead of those of the committed pictures")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for stem in options.paper or PAPERS:
        paper = PAPERS[stem]
        cases = paper.cases()
        held_out = cases[-len(cases) // 8 :]
        system = trained(paper, cases[: -len(held_out)], options.epochs or paper.epochs)
        case = best_slice(held_out)
        batch, outputs = seen(system, case)
        with torch.no_grad():
            figure, words = draw(paper, at_papers_size(paper), case.image, paper.pairs(system, batch, outputs))
        file = FOLDER / f"{stem}.png"
        with style.look():
            figure.savefig(file, dpi=120, metadata={"Description": words})
        print(f"{file}: {file.stat().st_size / 1000:.0f} kB. {words}")


if __name__ == "__main__":
    main()
