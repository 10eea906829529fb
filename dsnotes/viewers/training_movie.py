"""A slider through training: the predictions at every depth for one case, epoch by epoch, in one small file.

film = TrainingMovie(system, case, then=curves.live())
dsnotes.fit(system, train, val, …, on_epoch=film)
film.show()        # a slider in a browser, five epochs in the saved file
film.animate()     # a small GIF, which needs no kernel
"""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dsnotes.data.case import Case
from dsnotes.safety.markup import escape
from dsnotes.viewers import notebook_display, style
from dsnotes.viewers.maps import draw
from dsnotes.viewers.side_outputs import cut, probability_maps

if TYPE_CHECKING or "torch" in sys.modules:  # `dsnotes adopt` draws without it
    from dsnotes.training.system import System

STILLS = 5  # epochs in the picture that stays
FRAMES = 20  # of an animation, at most


class TrainingMovie:
    """Pass it as `on_epoch`. A frame is one byte a pixel; a run that goes on adds to the film of the run before."""

    def __init__(
        self,
        system: System,
        case: Case,
        path: str | os.PathLike | None = None,
        *,
        at: int | None = None,
        then: Callable[[Any], object] | None = None,
    ) -> None:
        """`at` is the slice of a volume that is filmed, by default the one with most of the label; `then` is what
        `on_epoch` would have been, such as curves.live(). Without a `path` the film stays in memory."""
        self.system, self.case, self.then = system, case, then
        self.path = None if path is None else Path(path)
        stride = system.network.backbone.stride
        if uneven := [n for n, s in zip(case.space[-len(stride) :], stride, strict=True) if n % s]:
            raise ValueError(
                f"the network halves its input and needs multiples of {stride}, but {case.name!r} has {case.space} "
                f"({uneven[0]} is none). Film a crop of it: dsnotes.data.Case of image[…], label[…]."
            )
        self.at = at if at is not None else _busiest(case) if len(case.spacing) == 3 else 0
        self.frames: dict[str, np.ndarray] = {}
        self.epochs: list[int] = []
        if self.path is not None and self.path.is_file():
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
        if self.path is not None:
            self._save(self.path)
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
        found = probability_maps(outputs, at=self.at)
        if outputs.side_outputs.get("stride1") is outputs.logits:
            del found["stride1"]  # it is the output
        if outputs.restored is not None:
            found["restored"] = cut(outputs.restored[0, 0].sigmoid().cpu().numpy(), self.at, self.case.space[0])
        return found

    def _save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{path.name}.half")
        with half.open("wb") as stream:
            np.savez_compressed(stream, epochs=np.array(self.epochs), **self.frames)
        half.replace(path)

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
            draw(rows, window=(0, 1), colours="heat", title=f"{self.case.name}: the prediction at every depth"),
            alt=f"Probability maps of {', '.join(self.frames)} at {', '.join(rows)}",
        )

    def animate(self, *, seconds: float = 6.0, path: str | os.PathLike | None = None) -> Animation:
        """A GIF through training, at most `FRAMES` epochs in `seconds`; `path` also writes it to a file."""
        from PIL import Image

        if not self.epochs:
            raise ValueError("the film is empty: pass it to dsnotes.fit as on_epoch=film first.")
        pictures = []
        for i in sorted({round(i) for i in np.linspace(0, len(self.epochs) - 1, FRAMES)}):
            drawn = draw(self._frame(i), window=(0, 1), colours="heat", title=f"epoch {self.epochs[i]}")
            picture = Image.open(io.BytesIO(style.png(drawn))).convert("RGB")
            width = notebook_display.css_width(drawn)  # the letters are as large as in the pictures around it
            pictures.append(picture.resize((width, round(picture.height * width / picture.width))).quantize(32))
        stream = io.BytesIO()
        each = round(1000 * seconds / len(pictures))
        durations = [each] * (len(pictures) - 1) + [each + 1500]  # the last stays for a moment
        pictures[0].save(
            stream, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=True
        )
        if path is not None:
            Path(path).write_bytes(stream.getvalue())
        names = ", ".join(self.frames)
        return Animation(stream.getvalue(), f"{self.case.name}: {names}, epochs {self.epochs[0]} to {self.epochs[-1]}")

    def _frame(self, index: int) -> dict[str, np.ndarray]:
        maps = {name: frames[index] / np.float32(255) for name, frames in self.frames.items()}
        if self.case.label is None:
            return maps
        label = np.asarray(self.case.label)
        return maps | {"truth": (cut(label, self.at, label.shape[0]) > 0).astype(np.float32)}

    def _slider(self) -> Any:
        import ipywidgets

        picture = ipywidgets.Image(format="png", layout={"max_width": "100%"})
        slider = ipywidgets.SelectionSlider(
            options=[(str(epoch), i) for i, epoch in enumerate(self.epochs)],
            value=len(self.epochs) - 1,
            description="epoch",
        )

        def turn(change: Any) -> None:
            frame = draw(self._frame(change["new"]), window=(0, 1), colours="heat")
            picture.value, picture.layout.width = notebook_display.png_and_width(frame)

        slider.observe(turn, "value")
        turn({"new": slider.value})
        return ipywidgets.VBox([slider, picture])


class Animation:
    """A GIF for the notebook; it moves in the book; printed, it shows its first frame."""

    def __init__(self, gif: bytes, alt: str) -> None:
        self.gif, self.alt = gif, alt

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.gif).decode()
        return f'<img alt="{escape(self.alt)}" style="max-width:100%" src="data:image/gif;base64,{data}">'

    def __repr__(self) -> str:
        return f"An animation of {len(self.gif) / 1000:.0f} kB: {self.alt}"


def _busiest(case: Case) -> int:
    if case.label is None or not case.label.any():
        return case.space[0] // 2
    return int((np.asarray(case.label) > 0).sum((1, 2)).argmax())
