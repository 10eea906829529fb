"""Mask R-CNN for lesions in CT slices: it proposes boxes, classifies them, and predicts a mask in each.

Paper: Ter-Sarkisov 2022, "COVID-CT-Mask-Net", https://arxiv.org/abs/2009.05096 (its segmentation model), based on He et
al. 2017, https://arxiv.org/abs/1703.06870
Departs from it: one input channel instead of three equal ones; the output is a map of the whole image with, for each
pixel, the largest probability among the masks of confident detections. The paper's classifier of patients is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.encoders import require_slices, resnet50
from dsnotes.networks.regions import Boxes, align, anchors, decode, not_suppressed, paste
from dsnotes.shapes import Image, n_logits

SIZES, RATIOS = (2, 4, 8, 16, 32), (0.1, 0.25, 0.5, 1.0, 1.5, 2.0)  # anchors, the same at every level
STRIDES = (4, 8, 16, 32)
SURE, OVERLAP, DETECTIONS = 0.5, 0.5, 100  # detections: lowest score, largest overlap, number per image
PROPOSED, SEARCHED, CLOSE = 256, 512, 0.75  # proposals: number per image, candidates per level, largest overlap
EPS = 1e-4


def convs(n_in: int, n_out: int, count: int) -> list[nn.Module]:
    return [
        layer for i in range(count) for layer in (nn.Conv2d(n_in if i == 0 else n_out, n_out, 3, padding=1), nn.ReLU())
    ]


class CovidCTMaskNet(Backbone):
    """`width` is the ResNet's (64); the pyramid has 4 · width channels. `supervision.detection` trains its parts.

    `regions` and `propose` find boxes on an image's pyramid, `judge` classifies them, and `draw` predicts their masks.
    """

    def __init__(self, *, in_channels: int = 1, classes: int = 2, dims: int = 2, width: int = 64) -> None:
        super().__init__()
        require_slices(dims, "COVID-CT-Mask-Net")
        self.in_channels, self.classes = in_channels, classes
        self.trunk, wide, each = resnet50(in_channels=in_channels, width=width), 4 * width, len(SIZES) * len(RATIOS)
        self.stride, channels = (32, 32), self.trunk.channels[1:]
        self.levels = {
            **{f"encoder.stride{s}": Level(wide, (s, s)) for s in STRIDES[:-1]},
            "bottleneck": Level(wide, self.stride),
            "decoder.stride1": Level(n_logits(classes), (1, 1)),
        }
        self.narrow = nn.ModuleList(nn.Conv2d(n, wide, 1) for n in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(wide, wide, 3, padding=1) for _ in channels)
        self.search = nn.Sequential(*convs(wide, wide, 1))
        self.found, self.moved = nn.Conv2d(wide, each, 1), nn.Conv2d(wide, 4 * each, 1)
        joined = 2 * width
        self.join = nn.Sequential(
            nn.Flatten(), nn.Linear(49 * wide, joined), nn.ReLU(), nn.Linear(joined, joined), nn.ReLU()
        )
        self.kind, self.refine = nn.Linear(joined, classes), nn.Linear(joined, 4 * classes)
        self.mask = nn.Sequential(
            *convs(wide, wide, 4), nn.ConvTranspose2d(wide, wide, 2, 2), nn.ReLU(), nn.Conv2d(wide, classes, 1)
        )

    def encode(self, image: Image) -> Features:
        """The feature pyramid: every level includes the upsampled deeper levels."""
        maps, deepest = self.trunk(image)
        x, pyramid = None, []
        for level, map_ in reversed(list(enumerate([maps["stride4"], maps["stride8"], maps["stride16"], deepest]))):
            y = self.narrow[level](map_)
            x = y if x is None else y + functional.interpolate(x, y.shape[2:])
            pyramid.insert(0, self.smooth[level](x))
        named = {f"stride{s}": p for s, p in zip(STRIDES, pyramid, strict=True)}
        return Features(named, named.pop("stride32"), {}, None)

    def forward(self, image: Image) -> Features:
        down = self.encode(image)
        space = tuple(image.shape[2:])
        maps = [self.segment(pyramid, space) for pyramid in self.pyramids(down)]
        logits = torch.stack(maps)
        return Features(down.encoder, down.bottleneck, {"stride1": logits}, logits)

    def pyramids(self, down: Features) -> list[list[Tensor]]:
        """One list of maps (1, C, H, W) per image, finest first."""
        levels = [*down.encoder.values(), down.bottleneck]
        return [[level[i : i + 1] for level in levels] for i in range(len(down.bottleneck))]

    def regions(self, pyramid: list[Tensor]) -> list[tuple[Boxes, Tensor, Tensor]]:
        """For each level its anchors, their objectness logits, and their moves (`networks.regions.encode`)."""
        told = []
        for map_, stride in zip(pyramid, STRIDES, strict=True):
            x = self.search(map_)
            moves = self.moved(x)[0].float().unflatten(0, (-1, 4)).permute(2, 3, 0, 1).reshape(-1, 4)
            at = anchors(tuple(map_.shape[2:]), stride, SIZES, RATIOS).to(map_.device)
            told.append((at, self.found(x)[0].float().permute(1, 2, 0).flatten(), moves))  # boxes need float32
        return told

    def propose(self, told: list[tuple[Boxes, Tensor, Tensor]], space: tuple[int, ...]) -> Boxes:
        """The best boxes of all levels after non-maximum suppression, best first; suppressed ones come last."""
        boxes, scores = [], []
        for at, found, moves in told:
            best, which = found.detach().topk(min(SEARCHED, len(found)))
            moved = decode(at[which], moves.detach()[which], space)
            boxes.append(moved)
            scores.append(best - 1e4 * (~not_suppressed(moved, CLOSE)))
        joined = torch.cat(scores)
        return torch.cat(boxes)[joined.topk(min(PROPOSED, len(joined))).indices]

    def pooled(self, pyramid: list[Tensor], boxes: Boxes, size: int) -> Tensor:
        """(boxes, C, size, size), each box from the level for its size: boxes of 224 pixels use the third."""
        scale = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3).prod(1).sqrt()
        level = (4 + (scale / 224 + 1e-6).log2()).floor().clamp(2, 5).view(-1, 1, 1, 1) - 2
        found = (
            align(map_[0], boxes, s, size) * (level == i)
            for i, (map_, s) in enumerate(zip(pyramid, STRIDES, strict=True))
        )
        return sum(found)

    def judge(self, pyramid: list[Tensor], boxes: Boxes) -> tuple[Tensor, Tensor]:
        """Logits of every class (background first), and moves for every class: (boxes, K), (boxes, K, 4)."""
        x = self.join(self.pooled(pyramid, boxes, 7))
        return self.kind(x).float(), self.refine(x).float().unflatten(1, (-1, 4))

    def draw(self, pyramid: list[Tensor], boxes: Boxes) -> Tensor:
        """(boxes, K, 28, 28) logits."""
        return self.mask(self.pooled(pyramid, boxes, 14))

    def segment(self, pyramid: list[Tensor], space: tuple[int, ...]) -> Tensor:
        """(K, *space): logits of the largest probability among the confident detections."""
        proposed = self.propose(self.regions(pyramid), space)
        kinds, moves = self.judge(pyramid, proposed)
        says = [torch.zeros((), device=proposed.device).expand(space)]
        for kind in range(1, self.classes):
            score, which = kinds.softmax(1)[:, kind].topk(min(DETECTIONS, len(proposed)))
            boxes = decode(proposed[which], moves[which, kind], space)
            sure = (score >= SURE) & not_suppressed(boxes, OVERLAP)
            if not sure.is_meta:
                boxes, sure = boxes[sure], sure[sure]
            says.append(self.union(pyramid, boxes, sure, kind, space) if len(boxes) else says[0])
        p = torch.stack(says[1:])
        if self.classes == 2:
            return p.clamp(EPS, 1 - EPS).logit()
        return torch.cat([1 - p.amax(0, keepdim=True), p]).clamp(min=EPS).log()

    def union(self, pyramid: list[Tensor], boxes: Boxes, sure: Tensor, kind: int, space: tuple[int, ...]) -> Tensor:
        masks = paste(self.draw(pyramid, boxes)[:, kind].sigmoid(), boxes, space)
        return (masks * sure.view(-1, 1, 1)).amax(0)
