"""A slider through training: the predictions at every depth for one case, epoch by epoch, in one small file.

film = TrainingMovie(system, case, "runs/film.npz", then=curves.live())
dsnotes.fit(system, train, val, …, on_epoch=film)
film.show()
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dsnotes.data.case import Case
from dsnotes.viewers import notebook_display, style
from dsnotes.viewers.maps import draw
from dsnotes.viewers.side_outputs import cut, probability_maps

if TYPE_CHECKING or "torch" in sys.modules:  # `dsnotes adopt` draws without it
    from dsnotes.training.system import System

STILLS = 5  # epochs in the picture that stays


class TrainingMovie:
    """Pass it as `on_epoch`. A frame is one byte a pixel; a run that goes on adds to the film of the run before."""

    def __init__(
        self,
        system: System,
        case: Case,
        path: str | os.PathLike,
        *,
        at: int | None = None,
        then: Callable[[Any], object] | None = None,
    ) -> None:
        """`at` is the slice of a volume that is filmed, by default the one with most of the label; `then` is what
        `on_epoch` would have been, such as curves.live()."""
        self.system, self.case, self.path, self.then = system, case, Path(path), then
        stride = system.network.backbone.stride
        if uneven := [n for n, s in zip(case.space[-len(stride) :], stride, strict=True) if n % s]:
            raise ValueError(
                f"the network halves its input and needs multiples of {stride}, but {case.name!r} has {case.space} "
                f"({uneven[0]} is none). TrainingMovie a crop of it: dsnotes.data.Case of image[…], label[…]."
            )
        self.at = at if at is not None else _busiest(case) if len(case.spacing) == 3 else 0
        self.frames: dict[str, np.ndarray] = {}
        self.epochs: list[int] = []
        if self.path.is_file():
            self._load()

    def __call__(self, history: Any) -> object:
        epoch = int(history[-1]["epoch"])
        keep = [i for i, known in enumerate(self.epochs) if known < epoch]  # a run that was begun again overwrites
        frame = {name: np.round(255 * p).astype(np.uint8) for name, p in self._answers().items()}
        self.frames = {
            name: np.stack([*(self.frames[name][i] for i in keep if name in self.frames), p])
            for name, p in frame.items()
        }
        self.epochs = [*(self.epochs[i] for i in keep), epoch]
        self._save()
        return self.then(history) if self.then is not None else None

    def _answers(self) -> dict[str, np.ndarray]:
        import torch

        network, image = self.system.network, np.asarray(self.case.image, np.float32)
        dims = network.backbone.dims
        if dims < len(self.case.spacing):  # a 2-D network sees the slice alone
            image = image[..., self.at, :, :]
        whole = torch.from_numpy(image)
        whole = whole[None] if whole.ndim == dims else whole
        was_training = network.training
        network.eval()
        with torch.no_grad():
            outputs = network(whole[None].to(next(network.parameters()).device))
        network.train(was_training)
        return probability_maps(outputs, at=self.at)

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        half = self.path.with_name(f".{self.path.name}.half")
        with half.open("wb") as stream:
            np.savez_compressed(stream, epochs=np.array(self.epochs), **self.frames)
        half.replace(self.path)

    def _load(self) -> None:
        with np.load(self.path) as kept:
            self.frames = {name: kept[name] for name in kept.files if name != "epochs"}
            self.epochs = kept["epochs"].tolist()

    def show(self) -> notebook_display.Picture:
        """A picture of some epochs; in a browser with a slider that steps through all of them."""
        if not self.epochs:
            raise ValueError("the film is empty: pass it to dsnotes.fit as on_epoch=film first.")
        chosen = sorted({round(i) for i in np.linspace(0, len(self.epochs) - 1, STILLS)})
        if notebook_display.here() == "browser":
            notebook_display.DisplayArea().put(self._slider())
        rows = {f"epoch {self.epochs[i]}": self._frame(i) for i in chosen}
        return notebook_display.Picture(
            draw(rows, window=(0, 1), colours="heat", title=f"{self.case.name}: what every depth said"),
            alt=f"Probability maps of {', '.join(self.frames)} at {', '.join(rows)}",
        )

    def _frame(self, index: int) -> dict[str, np.ndarray]:
        maps = {name: frames[index] / np.float32(255) for name, frames in self.frames.items()}
        if self.case.label is None:
            return maps
        label = np.asarray(self.case.label)
        return maps | {"truth": (cut(label, self.at, label.shape[0]) > 0).astype(np.float32)}

    def _slider(self) -> Any:
        import ipywidgets

        picture = ipywidgets.Image(format="png", layout={"width": "100%", "max-width": "900px"})
        slider = ipywidgets.SelectionSlider(
            options=[(str(epoch), i) for i, epoch in enumerate(self.epochs)],
            value=len(self.epochs) - 1,
            description="epoch",
        )

        def turn(change: Any) -> None:
            picture.value = style.png(draw(self._frame(change["new"]), window=(0, 1), colours="heat"))

        slider.observe(turn, "value")
        turn({"new": slider.value})
        return ipywidgets.VBox([slider, picture])


def _busiest(case: Case) -> int:
    if case.label is None or not case.label.any():
        return case.space[0] // 2
    return int((np.asarray(case.label) > 0).sum((1, 2)).argmax())
