"""Compare the feature maps of several forward passes, level by level, such as of an image and of its mask."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from dsnotes.viewers.maps import maps
from dsnotes.viewers.notebook_display import Picture
from dsnotes.viewers.side_outputs import cut

if TYPE_CHECKING or "torch" in sys.modules:  # `dsnotes adopt` draws without it
    from torch import Tensor


def features(
    passes: Mapping[str, Mapping[str, Tensor]],
    *,
    image: int = 0,
    channels: Mapping[str, int] | None = None,
    at: int | None = None,
    title: str = "",
) -> Picture:
    """`{pass: {level: (B, C, *space)}}`, such as `Outputs.features` of the image and of the mask: one row per pass.

    One channel per level is shown, the same in all rows; by default the one whose variation, at its least over the
    rows, is largest. Values are divided by the level's largest over all rows. `image` is an index into the batch; for
    volumes the axial slice `at` is shown, counted at the finest level, by default the middle one.
    """
    levels = [level for of_pass in passes.values() for level in of_pass]
    if not levels:
        raise ValueError("no feature map came. Pass {name of a pass: network(image).features, …}.")
    depth = max(of_pass[level].shape[2] for of_pass in passes.values() for level in of_pass)
    at = depth // 2 if at is None else at
    rows: dict[str, dict[str, np.ndarray]] = {name: {} for name in passes}
    for level in dict.fromkeys(levels):
        found = {name: _array(of_pass[level], image) for name, of_pass in passes.items() if level in of_pass}
        widths = {name: len(stack) for name, stack in found.items()}
        if len(set(widths.values())) > 1:
            raise ValueError(
                f"the passes have {widths} channels at {level!r}, but one channel is shown in all rows. Leave out the "
                f"pass that differs, or select channels: {{{level!r}: x[:, :n]}}."
            )
        channel = most_to_see(found.values()) if channels is None else channels[level]
        shown = {name: cut(stack[channel], at, depth) for name, stack in found.items()}
        largest = max(float(np.abs(values).max()) for values in shown.values()) or 1.0
        for name, values in shown.items():
            rows[name][f"{level}, channel {channel}"] = values / largest
    return maps(rows, title=title or "Feature maps, each level by its largest value")


def most_to_see(stacks) -> int:
    """The channel that varies most over space, in the pass where it varies least."""
    spread = [stack.reshape(len(stack), -1).std(1) for stack in stacks]
    return int(np.min(spread, axis=0).argmax())


def _array(values: Tensor, image: int) -> np.ndarray:
    return values[image].detach().float().cpu().numpy()
