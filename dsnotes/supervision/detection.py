"""Mask R-CNN's five losses: class and box of the anchors, class and box of the regions, and the masks.

Objects are the connected components of each class with more than `smallest` pixels; smaller ones are background. The
authors skip images without objects; here they train the background. Sample sizes, thresholds and the unweighted sum of
the five losses are the authors'.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dsnotes.networks.base import Backbone, Head, Network, require_divisible
from dsnotes.networks.regions import Boxes, align, encode, overlaps
from dsnotes.shapes import Outputs, Scalar
from dsnotes.supervision.base import Batch, Supervision

SAMPLED, POSITIVE = 256, 0.75  # anchors (and regions) sampled per image; the largest share of objects among them
ANCHOR, ELSEWHERE = 0.7, 0.3  # an anchor is positive from the first overlap on, negative below the second
REGION, BACKGROUND = 0.75, 0.5  # the same for a region
NAMES = ("anchor class", "anchor box", "region class", "region box", "mask")


@dataclass(frozen=True)
class Objects:
    """The objects of one image: boxes (n, 4), classes (n,) from 1 on, masks (n, H, W)."""

    boxes: Boxes
    kinds: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Sampled:
    """Predictions for the sampled anchors and regions of one image, with their targets.

    Moves and masks are those of positive samples; without any, `drawn` holds one negative sample.
    """

    anchors: Tensor  # (n,) objectness logits
    holds: Tensor
    anchor_moves: Tensor  # (p, 4)
    anchor_targets: Tensor
    regions: Tensor  # (m, K) logits of the classes
    kinds: Tensor
    region_moves: Tensor  # (q, 4)
    region_targets: Tensor
    drawn: Tensor  # (q, side, side) logits
    masks: Tensor


@dataclass(frozen=True)
class DetectionOutputs(Outputs):
    sampled: tuple[Sampled, ...] = ()  # one per image


@dataclass(frozen=True)
class Detection(Supervision):
    smallest: int = 100  # pixels

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        if not hasattr(backbone, "propose"):
            raise TypeError(
                f"{type(backbone).__name__} proposes no boxes. Build covid-ct-mask-net, or supervise this network with "
                f"Plain()."
            )
        return {}

    def run(self, network: Network, batch: Batch) -> DetectionOutputs:
        """In training, `logits` are those of the sampled regions: the deployed ones would need a second pass."""
        net, image, label = network.backbone, batch["image"], batch["label"]
        require_divisible(image, net.stride)
        label = label[:, 0] if label.ndim == image.ndim else label
        sampled = []
        for pyramid, its_label in zip(net.pyramids(net.encode(image)), label, strict=True):
            things = objects(its_label, net.classes, self.smallest)
            told = net.regions(pyramid)
            anchors = sample_anchors(told, things)
            regions = sample_regions(net, pyramid, net.propose(told, tuple(image.shape[2:])), things)
            sampled.append(Sampled(*anchors, *regions))
        logits = torch.cat([one.regions for one in sampled]) if network.training else network(image).logits
        return DetectionOutputs(logits, sampled=tuple(sampled))

    def terms(self, outputs: DetectionOutputs, batch: Batch) -> dict[str, Scalar]:
        each = [losses(one) for one in outputs.sampled]
        return {name: torch.stack(terms).mean() for name, *terms in zip(NAMES, *each, strict=True)}


def losses(one: Sampled) -> tuple[Tensor, ...]:
    masks = 0.0 * one.drawn.sum()
    if len(one.masks):
        masks = functional.binary_cross_entropy_with_logits(one.drawn, one.masks)
    return (
        functional.binary_cross_entropy_with_logits(one.anchors, one.holds),
        functional.l1_loss(one.anchor_moves, one.anchor_targets, reduction="sum") / len(one.anchors),
        functional.cross_entropy(one.regions, one.kinds),
        functional.smooth_l1_loss(one.region_moves, one.region_targets, reduction="sum") / len(one.regions),
        masks,
    )


def objects(label: Tensor, classes: int, smallest: int) -> Objects:
    """The connected components of every class (8 neighbours) with more than `smallest` pixels."""
    import cc3d

    masks, kinds = [], []
    for kind in range(1, classes):
        flat = np.pad((label == kind).cpu().numpy(), 1)
        parts = cc3d.connected_components(flat, connectivity=8, binary_image=True)[1:-1, 1:-1]
        for part in np.flatnonzero(np.bincount(parts.ravel()) > smallest):
            if part:
                masks.append(torch.from_numpy(parts == part))
                kinds.append(kind)
    if not masks:
        none = torch.zeros(0, *label.shape, device=label.device)
        return Objects(none.new_zeros(0, 4), torch.zeros(0, dtype=torch.long, device=label.device), none)
    stacked = torch.stack(masks).to(label.device)
    return Objects(torch.stack([box(m) for m in stacked]), torch.tensor(kinds, device=label.device), stacked.float())


def box(mask: Tensor) -> Tensor:
    """The bounding box of a mask."""
    rows, columns = (mask.any(axis).nonzero().flatten() for axis in (1, 0))
    return torch.stack([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]).float()


def sample(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Random indices of positive and negative samples: at most 256 in all, at most three quarters of them positive."""
    chosen = []
    room = int(POSITIVE * SAMPLED)
    for side in (positive, negative):
        index = side.nonzero().flatten()
        chosen.append(index[torch.randperm(len(index), device=index.device)[:room]])
        room = SAMPLED - len(chosen[0])
    return chosen[0], chosen[1]


def sample_anchors(told: list[tuple[Boxes, Tensor, Tensor]], things: Objects) -> tuple[Tensor, ...]:
    """The first four fields of `Sampled`."""
    at, found, moves = (torch.cat(parts) for parts in zip(*told, strict=True))
    best, which = nearest(at, things)
    positive = best >= ANCHOR
    if len(things.boxes):  # the best anchor of every object is positive, whatever its overlap
        positive[overlaps(at, things.boxes).argmax(0)] = True
        which[overlaps(at, things.boxes).argmax(0)] = torch.arange(len(things.boxes), device=which.device)
    yes, no = sample(positive, (best < ELSEWHERE) & ~positive)
    holds = torch.cat([torch.ones_like(yes), torch.zeros_like(no)]).float()
    return found[torch.cat([yes, no])], holds, moves[yes], encode(at[yes], things.boxes[which[yes]])


def sample_regions(net: Backbone, pyramid: list[Tensor], proposed: Boxes, things: Objects) -> tuple[Tensor, ...]:
    """The other six fields of `Sampled`."""
    proposed = torch.cat([proposed, things.boxes])  # so that there are positive regions from the first step on
    best, which = nearest(proposed, things)
    yes, no = sample(best >= REGION, best < BACKGROUND)
    kinds, moves = net.judge(pyramid, proposed[torch.cat([yes, no])])
    true, each = things.kinds[which[yes]], torch.arange(len(yes), device=yes.device)
    drawn = net.draw(pyramid, proposed[yes] if len(yes) else proposed[:1])
    side = drawn.shape[-1]
    masks = [
        align(things.masks[i : i + 1], b[None], 1, side)[:, 0] for i, b in zip(which[yes], proposed[yes], strict=True)
    ]
    return (
        kinds,
        torch.cat([true, torch.zeros_like(no)]),
        moves[each, true],
        encode(proposed[yes], things.boxes[which[yes]]),
        drawn[each, true] if len(yes) else drawn[:, 0],
        torch.cat(masks) if masks else drawn.new_zeros(0, side, side),
    )


def nearest(boxes: Boxes, things: Objects) -> tuple[Tensor, Tensor]:
    """The largest overlap of each box with an object, and that object's index; 0 and 0 without objects."""
    if not len(things.boxes):
        return boxes.new_zeros(len(boxes)), torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
    return overlaps(boxes, things.boxes).max(1)
