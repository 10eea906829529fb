"""DSNet's selective fusion: the share of detail in each channel, the branches it fuses, and the attention on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dsnotes.networks.dsnet import DSNet
from dsnotes.networks.srgan import enlarged
from dsnotes.shapes import Image
from dsnotes.viewers.maps import maps
from dsnotes.viewers.notebook_display import Picture


def detail_shares(backbone: nn.Module, images: Image) -> Tensor:
    """(batch, channels): b of a · context + b · detail, for each image of the batch."""
    context, detail = _branches(backbone, images)
    return backbone.fuse.weights(context, detail)[1, :, :, 0, 0].detach()


def fusion(backbone: nn.Module, images: Image, *, image: int = 0, title: str = "") -> Picture:
    """Two channels of one image of the batch: the one with most context and the one with most detail.

    Each row shows both branches and their weighted sum, with its own grey scale.
    """
    context, detail = (branch[image] for branch in _branches(backbone, images))
    shares = detail_shares(backbone, images)[image]
    rows = {}
    for name, channel in (("most context", int(shares.argmin())), ("most detail", int(shares.argmax()))):
        b = float(shares[channel])
        shown = {
            f"context, a = {1 - b:.2f}": context[channel],
            f"detail, b = {b:.2f}": detail[channel],
            "fused": (1 - b) * context[channel] + b * detail[channel],
        }
        largest = max(float(x.max()) for x in shown.values()) or 1.0
        rows[f"{name}: channel {channel}"] = {key: x / largest for key, x in shown.items()}
    return maps(rows, window=(0, 1), title=title or "What the fusion chose between, and what it made of it")


@torch.no_grad()
def spatial_gate(backbone: nn.Module, images: Image) -> Tensor:
    """(batch, 1, H, W) on the fine grid: the spatial attention of the first CBAM, the paper's Fig. 5 (c) and (d)."""
    if not isinstance(backbone, DSNet):
        raise ValueError(
            f"{type(backbone).__name__} came, but CBAM's attention is DSNet's. Pass system.network.backbone of "
            f"dsnotes.build('dsnet') or of another name that starts with dsnet."
        )
    *before, attention = backbone.encoder[0].body
    with _evaluating(backbone):
        x = backbone.see(images)
        for layer in before:
            x = layer(x)
        return attention.gates(x)[1]


@torch.no_grad()
def _branches(backbone: nn.Module, images: Image) -> tuple[Tensor, Tensor]:
    if not isinstance(backbone, DSNet) or backbone.fusion != "sdrfm":
        what = f"fusion={backbone.fusion!r}" if isinstance(backbone, DSNet) else type(backbone).__name__
        raise ValueError(
            f"{what} came, but only selective fusion weights its branches. Pass system.network.backbone of "
            f"dsnotes.build('dsnet-sdrfm'), 'dsnet-soft' or 'dsnet'."
        )
    with _evaluating(backbone):
        return backbone.fuse.branches(enlarged(images, backbone.scale), backbone.teacher(images))


@contextmanager
def _evaluating(backbone: DSNet) -> Iterator[None]:
    """In evaluation mode, so that batch norm statistics do not change."""
    training = backbone.training
    backbone.eval()
    try:
        yield
    finally:
        backbone.train(training)
