"""µ-Net's supervision: the network looks at the mask as if it were an image, and its features there are the labels of
its features on the image.

S is the segmentation decoder, R the reconstruction; X the image, G the mask as one grey channel.
y, y_i = S(X)    y^x = R(X)    y^g, y_i^g = S(G)    r^g, r_i^g = R(G)        L_BD(p, t) = BCE / 2 + 1 - Dice

    seg  α L_BD(y, G) + β L_BD(y^g, G) + b BCE(y^x, X) + γ L_BD(y, y^g) + λ Σ ω_i MSE(y_i, y_i^g)
    rec  α L_BD(y, G) + a BCE(r^g, G)  + b BCE(y^x, X) + ξ L_BD(y, r^g) + η Σ σ_i MSE(y_i, r_i^g)
    hyb  both together
    deep seg without a second decoder
    auto rec with an autoencoder of its own as R, weighed by γ and λ
    vae  rec with a variational decoder as R: its squared errors and its divergence KL are weighed by .1 each

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

from dsnotes.losses import bce_dice, binary_cross_entropy, cross_entropy, min_max, restoration_mse, soft_dice
from dsnotes.networks.base import Backbone, Head, Network
from dsnotes.networks.mu_net import AutoEncoder, TiedDecoder
from dsnotes.networks.variational_decoder import VariationalDecoder
from dsnotes.shapes import Image, Label, Logits, Outputs, Scalar, SoftMask
from dsnotes.supervision.base import Batch
from dsnotes.supervision.targets import class_indices, one_hot, probabilities

RESTORER = {"auto": "autoencoder", "seg": "tied", "rec": "tied", "vae": "variational", "hyb": "tied"}
VARIANTS = ("deep", "auto", "seg", "rec", "vae", "hyb")
SEGMENTED, RESTORED = ("deep", "seg", "hyb"), ("auto", "rec", "vae", "hyb")  # where the mask's pass gives the labels


@dataclass(frozen=True)
class PseudoLabels:
    """Weights as printed: α β a b λ η and γ ξ; the defaults are those found for BraTS.

    `variational` weighs what a variational decoder restores, and its divergence; `patch` is the image size that its
    code is made for. With `squared=False` it restores as the tied one does, by cross-entropies weighed a and b: then
    only the decoder differs from rec's.
    """

    variant: str = "hyb"
    output: float | int = 5.0  # α
    mask: float | int = 1.0  # β
    restored_mask: float | int = 1.0  # a
    restored_image: float | int = 1.0  # b
    features: float | int = 9.0  # λ
    restored_features: float | int = 6.0  # η
    agree: float | int = 1.0  # γ
    agree_restored: float | int = 1.0  # ξ
    detach_targets: bool = True
    variational: float | int = 0.1
    squared: bool = True
    patch: tuple[int, ...] | None = None
    levels: dict[str, float | int] | None = None  # ω_i by level, such as {"stride16": 1.0}; None: all, 1 each
    restored_levels: dict[str, float | int] | None = None  # σ_i

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant={self.variant!r} is unknown. Choose one of {list(VARIANTS)}.")

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        if self.variant == "deep":
            return {}
        if self.variant == "auto":
            return {"autoencoder": AutoEncoder(backbone)}
        if self.variant == "vae":
            return {"variational": VariationalDecoder(backbone, patch=self.patch)}
        return {"tied": TiedDecoder(backbone)}

    def restoring(self) -> tuple[float | int, ...]:
        """The weights of the restored mask and image, and of agreeing with R in the output and in the features."""
        if self.variant == "auto":
            return self.restored_mask, self.restored_image, self.agree, self.features
        if self.variant == "vae" and self.squared:
            return self.variational, self.variational, self.agree_restored, self.restored_features
        return self.restored_mask, self.restored_image, self.agree_restored, self.restored_features

    def __call__(self, network: Network, batch: Batch) -> dict[str, Tensor]:
        image = batch["image"]
        label = class_indices(batch["label"], image)
        grey = as_image(label, network.backbone.classes, image)
        on_image, labels = self.passes(network, image, grey)
        t = one_hot(label, on_image.logits.shape[1])
        frozen = torch.Tensor.detach if self.detach_targets else (lambda target: target)
        restored = restoration_mse if self.variant == "vae" and self.squared else binary_cross_entropy
        restored_mask, restored_image, agree, features = self.restoring()
        weighed = {"output": (self.output, lambda: segmentation(on_image.logits, t))}
        if self.variant in SEGMENTED:
            weighed |= {
                "mask": (self.mask, lambda: segmentation(labels["logits"], t)),
                "agree": (
                    self.agree,
                    lambda: segmentation(on_image.logits, frozen(probabilities(labels["logits"]))),
                ),
                "features": (
                    self.features,
                    lambda: feature_distance(on_image.features, labels["features"], frozen, self.levels),
                ),
            }
        if self.variant in RESTORED:
            weighed |= {
                "restored mask": (restored_mask, lambda: restored(labels["restored"], grey)),
                "agree restored": (agree, lambda: as_grey(on_image.logits, frozen(labels["restored"].sigmoid()))),
                "restored features": (
                    features,
                    lambda: feature_distance(
                        on_image.features,
                        labels["restored_features"],
                        frozen,
                        self.levels if self.variant == "auto" else self.restored_levels,  # Eq. 7 has ω for both
                    ),
                ),
            }
        if self.variant != "deep":
            weighed["restored image"] = (restored_image, lambda: restored(on_image.restored, min_max(image)))
        if self.variant == "vae":
            weighed["divergence"] = (
                self.variational,
                lambda: divergence(on_image.latent, image) + divergence(labels["latent"], grey),
            )
        return {name: weight * value() for name, (weight, value) in weighed.items() if weight}

    def passes(self, network: Network, image: Image, grey: Image) -> tuple[Outputs, dict]:
        """The outputs on the image, and of those on the mask the fields that this variant compares with."""
        if self.variant in ("deep", "hyb"):
            on_image, on_mask = two_passes(network, image, grey)
            return on_image, vars(on_mask)
        on_image = network(image)
        with statistics_not_kept(learning_norms(network)):
            if self.variant == "seg":
                return on_image, vars(network(grey, heads=()))  # nobody asks how the mask is restored
            head = network.heads[RESTORER[self.variant]]
            down = None if self.variant == "auto" else network.backbone.encode(grey)  # nor how it is segmented
            return on_image, head(down, grey)


def segmentation(logits: Logits, t: SoftMask) -> Scalar:
    """L_BD; over several classes with their softmax and the Dice of the foreground."""
    if logits.shape[1] == 1:
        return bce_dice(logits, t)
    return 0.5 * cross_entropy(logits, t) + soft_dice(logits.softmax(1)[:, 1:], t[:, 1:], squared=False)


def divergence(latent: dict[str, Tensor], image: Image) -> Scalar:
    r"""$\frac1N \sum (\mu^2 + \sigma^2 - \ln \sigma^2 - 1)$ with N the voxels of an image, averaged over the batch."""
    mean, log_variance = latent["mean"], latent["log_variance"]
    summed = (mean.square() + log_variance.exp() - log_variance - 1).sum(1)  # (B,)
    return summed.mean() / image[0].numel()


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


def feature_distance(
    ours: dict[str, Tensor], labels: dict[str, Tensor], frozen, levels: dict[str, float | int] | None = None
) -> Scalar:
    """Σ_i ω_i MSE(y_i, label_i) over the levels, the bottleneck included; ω is 1, or 0 of those `levels` leaves out."""
    levels = dict.fromkeys(ours, 1.0) if levels is None else levels
    if not levels or not levels.keys() <= ours.keys():
        raise ValueError(
            f"levels={levels} weighs levels by name, and this network compares {list(ours)}. Name some of them, such "
            f"as levels={{{next(reversed(ours))!r}: 1.0}}; for none, give the features' weight as 0."
        )
    return sum(weight * functional.mse_loss(ours[name], frozen(labels[name])) for name, weight in levels.items())


def two_passes(network: Network, image: Image, mask: Image) -> tuple[Outputs, Outputs]:
    """The network on the image and on the mask.

    Where no batch norm is learning both go through as one batch. Otherwise they may not: each has statistics of its
    own, and the mask's are used but not kept, for deployment will see images only.
    """
    norms = learning_norms(network)
    if not norms:
        together = network(torch.cat([image, mask]))
        return _part(together, slice(None, len(image))), _part(together, slice(len(image), None))
    on_image = network(image)
    with statistics_not_kept(norms):
        return on_image, network(mask)


def learning_norms(network: Network) -> list[nn.Module]:
    """Those whose statistics are the batch's."""
    return [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]


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
