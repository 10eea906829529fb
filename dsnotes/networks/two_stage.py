"""Two networks in a row: one finds the region on a shrunk image, the other segments only that region.

VB-Net (https://doi.org/10.24926/548719.003) finds kidneys in a whole abdomen in this way. It resamples both grids to
fixed spacings in mm; here the coarse grid is the fine one shrunk by a whole factor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import AVG_POOL
from dsnotes.shapes import Image, n_logits

Where = tuple[slice, ...]
NOTHING = -20.0  # the foreground logit outside the region


class TwoStage(Backbone):
    """If the coarse network finds nothing, the region is the whole image; outside the region the logits say background.

    Of the decoder's maps, "stride1" is the fine network's output and f"stride{shrink}" the coarse one's.
    """

    def __init__(self, coarse: Backbone, fine: Backbone, *, shrink: int = 4, margin: int = 8) -> None:
        super().__init__()
        if shrink < 2:
            raise ValueError(f"shrink={shrink} gives both networks the same grid. Pass shrink=2 or more (default 4).")
        self.in_channels, self.classes = fine.in_channels, fine.classes
        self.coarse, self.fine, self.shrink, self.margin = coarse, fine, shrink, margin
        self.stride = tuple(math.lcm(shrink, s) for s in fine.stride)
        dims = len(self.stride)
        deepest = coarse.levels["bottleneck"]
        self.levels = {
            "bottleneck": Level(deepest.channels, tuple(shrink * s for s in deepest.stride)),
            "decoder.stride1": Level(n_logits(fine.classes), (1,) * dims),
            f"decoder.stride{shrink}": Level(n_logits(coarse.classes), (shrink,) * dims),
        }
        self.small = AVG_POOL[dims](shrink)

    def forward(self, image: Image) -> Features:
        seen = self.find(image)
        masks = seen.logits[:, 0] > 0 if seen.logits.shape[1] == 1 else seen.logits.argmax(1) > 0
        boxes = [self.box(mask) for mask in masks]
        logits = torch.cat([
            pasted(self.fine(one[None][(..., *box)]).logits, box, tuple(image.shape[2:]))
            for one, box in zip(image, boxes, strict=True)
        ])  # fmt: skip
        return Features({}, seen.bottleneck, {"stride1": logits, f"stride{self.shrink}": seen.logits}, logits)

    def find(self, image: Image) -> Features:
        """The coarse network's maps: its image is padded to its stride at the far ends, its logits are cut back."""
        small = self.small(image)
        space = small.shape[2:]
        pad = [n for size, step in zip(space, self.coarse.stride, strict=True) for n in (-size % step, 0)][::-1]
        found = self.coarse(functional.pad(small, pad, mode="replicate"))
        return replace(found, logits=found.logits[(..., *(slice(0, n) for n in space))])

    def box(self, mask: Tensor) -> Where:
        """The region of a mask on the coarse grid (*space), as slices of the fine grid.

        It is the bounding box plus `margin` voxels, rounded up to strides of the fine network, two at least; or the
        whole image if the mask is empty (or on the meta device, which has no values).
        """
        whole = tuple(n * self.shrink for n in mask.shape)
        if mask.is_meta or not mask.any():
            return tuple(slice(0, n) for n in whole)
        where = []
        for axis, (size, step) in enumerate(zip(whole, self.fine.stride, strict=True)):
            hit = mask.movedim(axis, 0).flatten(1).any(1).nonzero()
            first = max(int(hit[0]) * self.shrink - self.margin, 0)
            last = min((int(hit[-1]) + 1) * self.shrink + self.margin, size)
            length = min(max(-(-(last - first) // step), 2) * step, size)
            first = max(min((first + last - length) // 2, size - length), 0)
            where.append(slice(first, first + length))
        return tuple(where)


def pasted(logits: Tensor, box: Where, space: Sequence[int]) -> Tensor:
    """(1, K, *box) logits on a grid of `space`, with background elsewhere."""
    pad = [n for at, size in zip(reversed(box), reversed(space), strict=True) for n in (at.start, size - at.stop)]
    background = logits[:, :-1][:, :1]  # empty if the single channel is the foreground
    others = functional.pad(logits[:, background.shape[1] :], pad, value=NOTHING)
    return torch.cat([functional.pad(background, pad, value=0.0), others], dim=1)
