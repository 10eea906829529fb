"""µ-Net's supervision: the features the network computes when it is given the mask as its input serve as labels for its
features on the image.

S is the segmentation decoder, R the reconstruction; X the image, G the mask as one grey channel.
y, y_i = S(X)    y^x = R(X)    y^g, y_i^g = S(G)    r^g, r_i^g = R(G)        L_BD(p, t) = BCE / 2 + 1 - Dice

    seg  α L_BD(y, G) + β L_BD(y^g, G) + b BCE(y^x, X) + γ L_BD(y, y^g) + λ Σ ω_i MSE(y_i, y_i^g)
    rec  α L_BD(y, G) + a BCE(r^g, G)  + b BCE(y^x, X) + ξ L_BD(y, r^g) + η Σ σ_i MSE(y_i, r_i^g)
    hyb  both together
    deep seg without a second decoder
    auto rec with a separate autoencoder as R, weighted by γ and λ
    vae  rec with a variational decoder as R: squared errors and the divergence KL, each weighted by .1

The published equations put the logarithm on the mask instead of the prediction, drop two signs and train y^x against G;
the forms above follow the text. The paper does not say whether a pseudo-label receives a gradient:
`detach_targets=True` treats it as a label; with False both sides move, and shrinking all features lowers the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsnotes.losses import bce_dice, binary_cross_entropy, cross_entropy, min_max, restoration_mse, soft_dice
from dsnotes.networks.base import Backbone, Head, Network
from dsnotes.networks.heads import AutoEncoder, TiedDecoder, VariationalDecoder
from dsnotes.shapes import Image, Label, Logits, Outputs, Scalar, SoftMask, map_tensors
from dsnotes.supervision.base import Batch, Supervision
from dsnotes.supervision.targets import class_indices, one_hot, probabilities

Weighted = dict[str, tuple[float, Callable[[], Scalar]]]


@dataclass(frozen=True)
class OnMask:
    """What the network computes when it is given the mask as its input, as far as the variant needs it."""

    logits: Tensor | None = None  # y^g
    features: dict[str, Tensor] = field(default_factory=dict)  # y_i^g
    restored: Tensor | None = None  # r^g, as logits
    restored_features: dict[str, Tensor] = field(default_factory=dict)  # r_i^g
    latent: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class MuNetOutputs(Outputs):
    mask_image: Tensor | None = None  # G
    on_mask: OnMask = field(default_factory=OnMask)


@dataclass(frozen=True)
class MaskPass(Supervision):
    """Base class of the variants. The weights are the paper's α β a b λ η and γ ξ, by default its values for BraTS."""

    output: float = 5.0  # α
    mask: float = 1.0  # β
    restored_mask: float = 1.0  # a
    restored_image: float = 1.0  # b
    features: float = 9.0  # λ
    restored_features: float = 6.0  # η
    agree: float = 1.0  # γ
    agree_restored: float = 1.0  # ξ
    detach_targets: bool = True
    levels: dict[str, float] | None = None  # ω_i by level, such as {"stride16": 1.0}; None: 1 for all
    restored_levels: dict[str, float] | None = None  # σ_i

    def run(self, network: Network, batch: Batch) -> MuNetOutputs:
        label = class_indices(batch["label"], batch["image"])
        grey = as_image(label, network.backbone.classes, batch["image"])
        on_image, on_mask = self.passes(network, batch["image"], grey)
        return MuNetOutputs(**vars(on_image), mask_image=grey, on_mask=on_mask)

    def terms(self, outputs: MuNetOutputs, batch: Batch) -> dict[str, Scalar]:
        """The terms of the variant's equation; terms of weight 0 are not computed."""
        equation = self.equation(outputs, batch)
        return {name: weight * term() for name, (weight, term) in equation.items() if weight}

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        return {"tied": TiedDecoder(backbone)}

    def passes(self, network: Network, image: Image, grey: Image) -> tuple[Outputs, OnMask]:
        on_image, on_mask = two_passes(network, image, grey)
        return on_image, outputs_on_mask(vars(on_mask))

    def equation(self, o: MuNetOutputs, batch: Batch) -> Weighted:
        raise NotImplementedError

    def supervised(self, o: MuNetOutputs, batch: Batch) -> Weighted:
        t = one_hot(class_indices(batch["label"], o.logits), o.logits.shape[1])
        return {"output": (self.output, lambda: segmentation(o.logits, t))}

    def compared_with_s(self, o: MuNetOutputs, batch: Batch) -> Weighted:
        t = one_hot(class_indices(batch["label"], o.logits), o.logits.shape[1])
        y_g = o.on_mask.logits
        return {
            "mask": (self.mask, lambda: segmentation(y_g, t)),
            "agree": (self.agree, lambda: segmentation(o.logits, self.label(probabilities(y_g)))),
            "features": (
                self.features,
                lambda: feature_distance(o.features, o.on_mask.features, self.label, self.levels),
            ),
        }

    def compared_with_r(self, o: MuNetOutputs, batch: Batch, restored=binary_cross_entropy, **weights) -> Weighted:
        r_g = o.on_mask.restored
        w = {"mask": self.restored_mask, "image": self.restored_image, "agree": self.agree_restored}
        w |= {"features": self.restored_features, "levels": self.restored_levels} | weights
        return {
            "restored mask": (w["mask"], lambda: restored(r_g, o.mask_image)),
            "agree restored": (w["agree"], lambda: as_grey(o.logits, self.label(r_g.sigmoid()))),
            "restored features": (
                w["features"],
                lambda: feature_distance(o.features, o.on_mask.restored_features, self.label, w["levels"]),
            ),
            **self.image_restored(o, batch, w["image"], restored),
        }

    def image_restored(self, o: MuNetOutputs, batch: Batch, weight, restored=binary_cross_entropy) -> Weighted:
        return {"restored image": (weight, lambda: restored(o.restored, min_max(batch["image"])))}

    def label(self, target: Tensor) -> Tensor:
        return target.detach() if self.detach_targets else target


@dataclass(frozen=True)
class Deep(MaskPass):
    """α L_BD(y, G) + β L_BD(y^g, G) + γ L_BD(y, y^g) + λ Σ MSE(y_i, y_i^g)"""

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        return {}

    def equation(self, o: MuNetOutputs, batch: Batch) -> Weighted:
        return self.supervised(o, batch) | self.compared_with_s(o, batch)


@dataclass(frozen=True)
class Seg(MaskPass):
    """α L_BD(y, G) + β L_BD(y^g, G) + b BCE(y^x, X) + γ L_BD(y, y^g) + λ Σ MSE(y_i, y_i^g)"""

    def passes(self, network: Network, image: Image, grey: Image) -> tuple[Outputs, OnMask]:
        on_image = network(image)
        with statistics_not_kept(learning_norms(network)):
            return on_image, outputs_on_mask(vars(network(grey, heads=())))  # the restored mask is not needed

    def equation(self, o: MuNetOutputs, batch: Batch) -> Weighted:
        return (
            self.supervised(o, batch)
            | self.compared_with_s(o, batch)
            | self.image_restored(o, batch, self.restored_image)
        )


@dataclass(frozen=True)
class Rec(MaskPass):
    """α L_BD(y, G) + a BCE(r^g, G) + b BCE(y^x, X) + ξ L_BD(y, r^g) + η Σ MSE(y_i, r_i^g)"""

    def passes(self, network: Network, image: Image, grey: Image) -> tuple[Outputs, OnMask]:
        on_image = network(image)
        (decoder,) = network.heads.values()
        with statistics_not_kept(learning_norms(network)):  # the segmented mask is not needed
            return on_image, outputs_on_mask(decoder(network.backbone.encode(grey), grey))

    def equation(self, o: MuNetOutputs, batch: Batch) -> Weighted:
        return self.supervised(o, batch) | self.compared_with_r(o, batch)


@dataclass(frozen=True)
class Hyb(MaskPass):
    """Both at once: α L_BD(y, G) + β L_BD(y^g, G) + a BCE(r^g, G) + b BCE(y^x, X) + …, Eq. 13."""

    def equation(self, o: MuNetOutputs, batch: Batch) -> Weighted:
        return self.supervised(o, batch) | self.compared_with_s(o, batch) | self.compared_with_r(o, batch)


@dataclass(frozen=True)
class Auto(MaskPass):
    """α L_BD(y, G) + a BCE(r^g, G) + b BCE(y^x, X) + γ L_BD(y, r^g) + λ Σ MSE(y_i, r_i^g), R an autoencoder."""

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        return {"autoencoder": AutoEncoder(backbone)}

    def passes(self, network: Network, image: Image, grey: Image) -> tuple[Outputs, OnMask]:
        on_image = network(image)
        with statistics_not_kept(learning_norms(network)):
            return on_image, outputs_on_mask(network.heads["autoencoder"](None, grey))

    def equation(self, o: MuNetOutputs, batch: Batch) -> Weighted:
        weights = {"agree": self.agree, "features": self.features, "levels": self.levels}
        return self.supervised(o, batch) | self.compared_with_r(o, batch, **weights)


@dataclass(frozen=True)
class Vae(Rec):
    """rec with .1 MSE(r^g, G) + .1 MSE(y^x, X) + .1 KL. `patch` is the image size that the code is made for.

    `squared=False` uses rec's cross-entropies with the weights a and b, so that only the decoder differs from rec.
    """

    variational: float = 0.1
    squared: bool = True
    patch: tuple[int, ...] | None = None

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        return {"variational": VariationalDecoder(backbone, patch=self.patch)}

    def equation(self, o: MuNetOutputs, batch: Batch) -> Weighted:
        weights = {"mask": self.variational, "image": self.variational} if self.squared else {}
        restored = restoration_mse if self.squared else binary_cross_entropy
        divergences = lambda: divergence(o.latent, batch["image"]) + divergence(o.on_mask.latent, o.mask_image)  # noqa: E731
        return (
            self.supervised(o, batch)
            | self.compared_with_r(o, batch, restored, **weights)
            | {"divergence": (self.variational, divergences)}
        )


VARIANTS = {"deep": Deep, "auto": Auto, "seg": Seg, "rec": Rec, "vae": Vae, "hyb": Hyb}


def PseudoLabels(variant: str = "hyb", *weights: float, **options) -> MaskPass:  # noqa: N802
    """The supervision of the variant with that name, for instance PseudoLabels("rec")."""
    if variant not in VARIANTS:
        raise ValueError(f"variant={variant!r} is unknown. Choose one of {list(VARIANTS)}.")
    return VARIANTS[variant](*weights, **options)


def outputs_on_mask(found: dict) -> OnMask:
    return OnMask(**{name: found[name] for name in OnMask.__dataclass_fields__ if name in found})


def segmentation(logits: Logits, t: SoftMask) -> Scalar:
    """L_BD; for several classes with the softmax and the Dice of the foreground."""
    if logits.shape[1] == 1:
        return bce_dice(logits, t)
    return 0.5 * cross_entropy(logits, t) + soft_dice(logits.softmax(1)[:, 1:], t[:, 1:], squared=False)


def divergence(latent: dict[str, Tensor], image: Image) -> Scalar:
    r"""$\frac1N \sum (\mu^2 + \sigma^2 - \ln \sigma^2 - 1)$ with N the values of an image, averaged over the batch."""
    mean, log_variance = latent["mean"], latent["log_variance"]
    summed = (mean.square() + log_variance.exp() - log_variance - 1).sum(1)  # (B,)
    return summed.mean() / image[0].numel()


def as_image(label: Label, classes: int, like: Image) -> Image:
    """The mask as an input image: class indices scaled to [0, 1], repeated to the image's number of channels."""
    return (label.to(like.dtype) / (classes - 1)).unsqueeze(1).expand(-1, like.shape[1], *like.shape[2:])


def as_grey(logits: Logits, restored: Image) -> Scalar:
    """L_BD between the prediction, converted to grey values like the mask, and a restored mask."""
    if logits.shape[1] == restored.shape[1] == 1:
        return bce_dice(logits, restored)
    p = probabilities(logits)
    if p.shape[1] > 1:
        values = torch.linspace(0, 1, p.shape[1], device=p.device, dtype=p.dtype)
        p = torch.einsum("c,bc...->b...", values, p).unsqueeze(1)
    p = p.expand_as(restored).clamp(1e-6, 1 - 1e-6)  # sums of probabilities may exceed 1 by rounding
    return bce_dice(p.logit(), restored)


def feature_distance(
    ours: dict[str, Tensor], labels: dict[str, Tensor], frozen, levels: dict[str, float] | None = None
) -> Scalar:
    """Σ_i ω_i MSE(y_i, label_i) over the levels, including the bottleneck; `levels` gives ω_i, None is 1 for all."""
    levels = dict.fromkeys(ours, 1.0) if levels is None else levels
    if not levels or not levels.keys() <= ours.keys():
        raise ValueError(
            f"levels={levels} does not fit this network, which compares {list(ours)}. Name some of them, such "
            f"as levels={{{next(reversed(ours))!r}: 1.0}}; for none, set the features' weight to 0."
        )
    return sum(weight * functional.mse_loss(ours[name], frozen(labels[name])) for name, weight in levels.items())


def two_passes(network: Network, image: Image, mask: Image) -> tuple[Outputs, Outputs]:
    """The network on the image and on the mask.

    Without batch norm in training mode, both pass as one batch. Otherwise each pass uses its own batch statistics, and
    the mask's do not enter the running statistics, because deployment sees images only.
    """
    norms = learning_norms(network)
    if not norms:
        together = network(torch.cat([image, mask]))
        return _part(together, slice(None, len(image))), _part(together, slice(len(image), None))
    on_image = network(image)
    with statistics_not_kept(norms):
        return on_image, network(mask)


def learning_norms(network: Network) -> list[nn.Module]:
    """The batch norms in training mode."""
    return [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]


@contextmanager
def statistics_not_kept(norms: list[nn.Module]) -> Iterator[None]:
    """Inside, batch norm in training mode uses batch statistics and does not update the running ones."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _part(outputs: Outputs, rows: slice) -> Outputs:
    """The outputs of some rows of the batch."""
    return map_tensors(outputs, lambda value: value[rows])
