"""Predictions at every depth: all side outputs of an `Outputs` beside the mask, each at its own size."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from dsnotes.data.conversion import is_tensor
from dsnotes.viewers.maps import maps
from dsnotes.viewers.notebook_display import Picture

if TYPE_CHECKING or "torch" in sys.modules:  # `dsnotes adopt` draws without it
    from torch import Tensor

    from dsnotes.shapes import Outputs


def side_outputs(
    outputs: Outputs,
    label: np.ndarray | Tensor | None = None,
    *,
    image: int = 0,
    at: int | None = None,
    title: str = "",
) -> Picture:
    """The foreground probability of the output, of every side output, and of upsampled side outputs (second row).

    `image` is the one of the batch; of volumes the axial slice `at` is shown, counted at full size, by default the one
    with most of the label. A coarse voxel's probability is written into it.
    """
    truth = None if label is None else _whole(label, outputs, image)
    at = _slice(outputs, truth) if at is None else at
    rows = {"own size": probability_maps(outputs, image=image, at=at)}
    if truth is not None:
        rows["own size"]["truth"] = cut(truth > 0, at, truth.shape[0]).astype(np.float32)
    if outputs.upsampled:
        rows["upsampled"] = {name: _map(logits[image], at, outputs) for name, logits in outputs.upsampled.items()}
    return maps(
        rows if len(rows) > 1 else rows["own size"],
        window=(0, 1),
        colours="heat",
        title=title or "Probability of the foreground, at every depth",
    )


def probability_maps(outputs: Outputs, *, image: int = 0, at: int = 0) -> dict[str, np.ndarray]:
    """`{name: probability map}` of one image's slice: the output first, then the sides, finest first."""
    found = {"output": _map(outputs.logits[image], at, outputs)}
    return found | {name: _map(logits[image], at, outputs) for name, logits in outputs.side_outputs.items()}


def cut(volume: np.ndarray, at: int, depth: int) -> np.ndarray:
    """The slice of a volume, however coarse, that holds slice `at` of `depth`; a 2-D map is its own slice."""
    return volume if volume.ndim == 2 else volume[at * volume.shape[0] // depth]


def _map(logits: Tensor, at: int, outputs: Outputs) -> np.ndarray:
    logits = logits.detach().float().cpu()
    p = logits[0].sigmoid() if len(logits) == 1 else 1 - logits.softmax(0)[0]
    return cut(p.numpy(), at, outputs.logits.shape[2])


def _slice(outputs: Outputs, truth: np.ndarray | None) -> int:
    if outputs.logits.ndim == 4:
        return 0
    if truth is None or not truth.any():
        return outputs.logits.shape[2] // 2
    return int((truth > 0).sum((1, 2)).argmax())


def _whole(label: np.ndarray | Tensor, outputs: Outputs, image: int) -> np.ndarray:
    """The label of that image, of a batch of labels or alone."""
    array = np.asarray(label.detach().cpu() if is_tensor(label) else label)
    space = tuple(outputs.logits.shape[2:])
    if array.shape[1:] == space and array.ndim == len(space) + 1:
        array = array[image]
    if array.shape != space:
        raise ValueError(
            f"the label has shape {array.shape}, the output {space}: pass the label of the patch that the network was "
            f"given, with or without the batch in front."
        )
    return array
