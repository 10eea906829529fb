"""The picture of the README: one network's prediction and target at every depth, through its training and after it.

    python assets/overview.py          trains for a few minutes on a CPU, in build/overview, where it goes on after a
                                       kill, and writes assets/overview.gif and assets/overview.png

MSS U-Net's own supervision in 2-D, on kidney phantoms; the slice is from a held-out phantom.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

import dsnotes
from dsnotes.data import phantoms
from dsnotes.data.case import Case
from dsnotes.data.preprocess import hu_window
from dsnotes.shapes import Outputs
from dsnotes.supervision import downsample_target
from dsnotes.training.system import System
from dsnotes.viewers import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE = Path(__file__).with_name("overview.png")
FILM = PICTURE.with_suffix(".gif")
WORK = PICTURE.parents[1] / "build" / "overview"
STEPS = 25  # an epoch
SHOWN = (0, 1, 2, 3, 4, 6, 8, 10, 12)  # epochs in the film: most happens early
ACROSS, COLOURS = 900, 64  # pixels and colours of the film
EACH, LAST = 700, 5000  # milliseconds of a frame
WINDOW = hu_window(-79, 304)
SIZE = 128


def trained(system: System, epochs: int, filmed: Callable[[int], None]) -> None:
    cases = [WINDOW(case) for case in phantoms.kidneys(40, seed=0, size=(24, SIZE, SIZE))]
    how = {"patch": (SIZE, SIZE), "batch": 4, "epochs": epochs, "iterations": STEPS, "lr": 2e-3, "out": WORK}
    dsnotes.fit(system, cases, on_epoch=lambda history: filmed(int(history[-1]["epoch"])), **how)


def largest_tumour(case: Case) -> int:
    return int((case.label == 2).sum((1, 2)).argmax())


def coloured(label: np.ndarray) -> np.ndarray:
    """Kidney in blue, tumour in orange, the rest transparent: (height, width, RGBA)."""
    from matplotlib.colors import to_rgba

    return np.array([(0, 0, 0, 0), to_rgba(style.SKY), to_rgba(style.ORANGE)])[label]


def draw(image: np.ndarray, label: np.ndarray, outputs: Outputs, when: str = "") -> Figure:
    from matplotlib.patches import Patch

    depths = list(reversed(outputs.side_outputs.items()))  # coarse to fine
    with style.look():
        figure = style.sheet(11.6, 4.0)
        grid = figure.add_gridspec(2, len(depths) + 1, width_ratios=[2, *[1] * len(depths)])
        whole = figure.add_subplot(grid[:, 0])
        whole.imshow(image, cmap="gray", vmin=0, vmax=1)
        whole.set_title("input: a held-out slice", fontsize=11)
        white = {"color": "white", "va": "top", "fontsize": 11}
        whole.text(0.03, 0.97, when, transform=whole.transAxes, **white)
        patches = [Patch(color=style.SKY, label="kidney"), Patch(color=style.ORANGE, label="tumour")]
        whole.legend(handles=patches, loc="lower left", labelcolor="white", fontsize=10)
        for row, what in enumerate(("predicted", "target")):
            for column, (name, logits) in enumerate(depths, start=1):
                space = tuple(logits.shape[2:])
                target = downsample_target(torch.from_numpy(label)[None].long(), space, channels=3, how="nearest")
                shown = (target if row else logits).argmax(1)[0].numpy()
                axes = figure.add_subplot(grid[row, column])
                axes.imshow(image, cmap="gray", vmin=0, vmax=1, extent=(0, 1, 1, 0))
                axes.imshow(coloured(shown), alpha=0.85, interpolation="nearest", extent=(0, 1, 1, 0))
                if row == 0:
                    axes.set_title(" × ".join(map(str, space)) + ", the output" * (name == "stride1"), fontsize=11)
                if column == 1:
                    axes.set_ylabel(what, fontsize=11)
        for axes in figure.axes:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    return figure


def animation(frames: list[Image.Image]) -> bytes:
    """All frames in the colours of the last one; it plays three times and rests on the last."""
    small = [frame.resize((ACROSS, round(frame.height * ACROSS / frame.width))) for frame in frames]
    palette = small[-1].quantize(COLOURS)
    quantized = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in small]
    stream, durations = io.BytesIO(), [EACH] * (len(frames) - 1) + [LAST]
    quantized[0].save(stream, "GIF", save_all=True, append_images=quantized[1:], duration=durations, loop=2)
    return stream.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=SHOWN[-1])
    parser.add_argument("--case", type=int, default=4)
    options = parser.parse_args()
    case = WINDOW(phantoms.kidneys(options.case + 1, seed=1, size=(24, SIZE, SIZE))[options.case])
    at = largest_tumour(case)
    torch.manual_seed(0)
    system = dsnotes.build("mss-unet", classes=3, dims=2, width=8, patch=(SIZE, SIZE), halvings=4)

    def filmed(epoch: int) -> None:
        if epoch not in SHOWN:
            return
        system.network.eval()
        with torch.no_grad():
            outputs = system.network(torch.from_numpy(case.image[at])[None, None])
        system.network.train()
        drawn = draw(case.image[at], case.label[at], outputs, f"step {STEPS * epoch}")
        (WORK / f"{epoch:03d}.png").write_bytes(style.png(drawn))

    WORK.mkdir(parents=True, exist_ok=True)
    if not (WORK / "000.png").exists():
        filmed(0)
    trained(system, options.epochs, filmed)
    frames = [Image.open(path).convert("RGB") for path in sorted(WORK.glob("[0-9]*.png"))]
    FILM.write_bytes(animation(frames))
    frames[-1].save(PICTURE, optimize=True)
    print(f"{FILM}: {FILM.stat().st_size / 1000:.0f} kB")
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
