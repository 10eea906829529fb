"""µ-Net's supervision: the network looks at the mask as if it were an image, and its features there are the labels of
its features on the image.

S is the segmentation decoder, R the reconstruction; X the image, G the mask as one grey channel.
y, y_i = S(X)    y^x = R(X)    y^g, y_i^g = S(G)    r^g, r_i^g = R(G)        L_BD(p, t) = BCE / 2 + 1 - Dice

    seg  α L_BD(y, G) + β L_BD(y^g, G) + b BCE(y^x, X) + γ L_BD(y, y^g) + λ Σ ω_i MSE(y_i, y_i^g)
    rec  α L_BD(y, G) + a BCE(r^g, G)  + b BCE(y^x, X) + ξ L_BD(y, r^g) + η Σ σ_i MSE(y_i, r_i^g)
    hyb  both together
    deep seg without a second decoder
    auto rec with an autoencoder of its own as R, weighed by γ and λ

Print has the logarithm on the mask instead of the prediction, loses two signs and trains y^x against G; the forms
above are what the text describes. It does not say whether a pseudo-label gets a gradient: `detach_targets=True` treats
it as a label; with False both sides move, and shrinking all features lowers the loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsnotes.losses import bce_dice, binary_cross_entropy, cross_entropy, min_max, soft_dice
from dsnotes.networks.mu_net import AutoEncoder, TiedDecoder
from dsnotes.networks.outputs import Backbone, Head, Network
from dsnotes.shapes import Image, Label, Logits, Outputs, Scalar, SoftMask
from dsnotes.supervision.objective import Batch
from dsnotes.supervision.targets import class_indices, one_hot, probabilities

VARIANTS = ("deep", "auto", "seg", "rec", "hyb")


@dataclass(frozen=True)
class PseudoLabels:
    """Weights as printed: α β a b λ η and γ ξ; the defaults are those found for BraTS."""

    variant: str = "hyb"
    output: float = 5.0  # α
    mask: float = 1.0  # β
    restored_mask: float = 1.0  # a
    restored_image: float = 1.0  # b
    features: float = 9.0  # λ
    restored_features: float = 6.0  # η
    agree: float = 1.0  # γ
    agree_restored: float = 1.0  # ξ
    detach_targets: bool = True

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant={self.variant!r} is unknown. Choose one of {list(VARIANTS)}.")

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        if self.variant == "deep":
            return {}
        return {"autoencoder": AutoEncoder(backbone)} if self.variant == "auto" else {"tied": TiedDecoder(backbone)}

    def __call__(self, network: Network, batch: Batch) -> dict[str, Tensor]:
        image = batch["image"]
        label = class_indices(batch["label"], image)
        grey = as_image(label, network.backbone.classes, image)
        on_image, on_mask = two_passes(network, image, grey)
        t = one_hot(label, on_image.logits.shape[1])
        frozen = torch.Tensor.detach if self.detach_targets else (lambda target: target)
        weighed = {"output": (self.output, lambda: segmentation(on_image.logits, t))}
        if self.variant in ("deep", "seg", "hyb"):
            weighed |= {
                "mask": (self.mask, lambda: segmentation(on_mask.logits, t)),
                "agree": (
                    self.agree,
                    lambda: segmentation(on_image.logits, frozen(probabilities(on_mask.logits))),
                ),
                "features": (
                    self.features,
                    lambda: feature_distance(on_image.features, on_mask.features, frozen),
                ),
            }
        if self.variant in ("auto", "rec", "hyb"):
            labels = {**on_mask.features, **on_mask.restored_features}  # the bottleneck is shared by both decoders
            agree, features = (
                (self.agree, self.features) if self.variant == "auto" else (self.agree_restored, self.restored_features)
            )
            weighed |= {
                "restored mask": (self.restored_mask, lambda: binary_cross_entropy(on_mask.restored, grey)),
                "agree restored": (
                    agree,
                    lambda: as_grey(on_image.logits, frozen(on_mask.restored.sigmoid())),
                ),
                "restored features": (
                    features,
                    lambda: feature_distance(on_image.features, labels, frozen),
                ),
            }
        if self.variant != "deep":
            weighed["restored image"] = (
                self.restored_image,
                lambda: binary_cross_entropy(on_image.restored, min_max(image)),
            )
        return {name: weight * value() for name, (weight, value) in weighed.items() if weight}


def segmentation(logits: Logits, t: SoftMask) -> Scalar:
    """L_BD; over several classes with their softmax and the Dice of the foreground."""
    if logits.shape[1] == 1:
        return bce_dice(logits, t)
    return 0.5 * cross_entropy(logits, t) + soft_dice(logits.softmax(1)[:, 1:], t[:, 1:], squared=False)


def as_image(label: Label, classes: int, like: Image) -> Image:
    """The mask as the network is shown it: class indices spread over [0, 1], on as many channels as the image."""
    return (label.to(like.dtype) / (classes - 1)).unsqueeze(1).expand(-1, like.shape[1], *like.shape[2:])


def as_grey(logits: Logits, restored: Image) -> Scalar:
    """L_BD between the prediction, turned into grey values as the mask was, and a restored mask."""
    if logits.shape[1] == restored.shape[1] == 1:
        return bce_dice(logits, restored)
    p = probabilities(logits)
    if p.shape[1] > 1:
        values = torch.linspace(0, 1, p.shape[1], device=p.device, dtype=p.dtype)
        p = torch.einsum("c,bc...->b...", values, p).unsqueeze(1)
    p = p.expand_as(restored).clamp(1e-6, 1 - 1e-6)  # a sum of probabilities may miss 1 by a rounding
    return bce_dice(p.logit(), restored)


def feature_distance(ours: dict[str, Tensor], labels: dict[str, Tensor], frozen) -> Scalar:
    """Σ_i MSE(y_i, label_i) over the levels, the bottleneck included."""
    return sum(functional.mse_loss(ours[name], frozen(labels[name])) for name in ours)


def two_passes(network: Network, image: Image, mask: Image) -> tuple[Outputs, Outputs]:
    """The network on the image and on the mask.

    Without batch norm both go through as one batch. With it they may not: each has statistics of its own, and the
    mask's are used but not kept, for deployment will see images only.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        together = network(torch.cat([image, mask]))
        return _part(together, slice(None, len(image))), _part(together, slice(len(image), None))
    on_image = network(image)
    with statistics_not_kept(norms):
        return on_image, network(mask)


@contextmanager
def statistics_not_kept(norms: list[nn.Module]) -> Iterator[None]:
    """Inside, batch norm in training mode uses the batch and leaves its running statistics alone."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _part(outputs: Outputs, rows: slice) -> Outputs:
    """The same outputs of some of the batch."""

    def cut(value):
        if isinstance(value, dict):
            return {name: item[rows] for name, item in value.items()}
        return value if value is None else value[rows]

    return Outputs(**{name: cut(value) for name, value in vars(outputs).items()})
