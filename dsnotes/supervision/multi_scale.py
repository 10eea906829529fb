"""A loss at every decoder level, against the mask downsampled to that level: deep supervision in its simplest form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dsnotes.losses import cross_entropy, exponential_log, soft_dice
from dsnotes.networks.base import Backbone, Head
from dsnotes.networks.heads import SideHeads, choose_levels
from dsnotes.shapes import Logits, Outputs, Scalar, SoftMask
from dsnotes.supervision.base import Batch, Supervision
from dsnotes.supervision.plain import foreground
from dsnotes.supervision.targets import class_indices, downsample_target, probabilities
from dsnotes.supervision.valid import on_valid


def entropy_and_dice(logits: Logits, t: SoftMask) -> Scalar:
    """CE + (1 - D), the loss of `Plain`, for a side output."""
    return cross_entropy(logits, t) + soft_dice(foreground(probabilities(logits)), foreground(t), over_batch=True)


@dataclass(frozen=True)
class ExponentialLogAndEntropy:
    r"""MSS U-Net's loss of a side output: $\sum_c w_c (-\ln D_c)^{0.3}$ over the foreground, plus class-weighted CE.

    `squared=True` is the paper's denominator (Eqs. 6-7) and `normalised=False` its CE (Eq. 2), a mean over voxels of
    w_c (-ln p). The authors' release has plain sums in D and divides CE by the sum of the weights.
    """

    dice_weights: tuple[float, ...] = (0.4, 0.6)
    entropy_weights: tuple[float, ...] | None = (0.28, 0.28, 0.44)
    squared: bool = True
    normalised: bool = False
    absent: str = "kept"  # whether classes absent from the batch count, see `exponential_log`

    def __call__(self, logits: Logits, t: SoftMask) -> Scalar:
        p, of = foreground(probabilities(logits)), foreground(t)
        overlap = exponential_log(p, of, weights=self.dice_weights, squared=self.squared, absent=self.absent)
        return overlap + cross_entropy(logits, t, weights=self.entropy_weights, normalised=self.normalised)


def halving(levels: int) -> tuple[float, ...]:
    """1, 1/2, 1/4, … scaled to sum to 1, as in nnU-Net: a default for any backbone."""
    return tuple(2.0**-i / (2 - 2.0 ** (1 - levels)) for i in range(levels))


@dataclass(frozen=True)
class MultiScale(Supervision):
    """`weights`: one per level, finest first; None is `halving`. `loss(logits, t)` is computed for every level.

    `levels` names the supervised decoder levels; None means all.
    """

    weights: tuple[float, ...] | None = None
    levels: tuple[str, ...] | None = None
    reduction: str = "nearest"
    loss: Callable[[Logits, SoftMask], Scalar] = entropy_and_dice
    bias: bool = True  # of the 1x1 side heads

    voxelwise = True

    def level_weights(self, names: tuple[str, ...]) -> dict[str, float]:
        weights = self.weights or halving(len(names))
        if len(weights) != len(names):
            raise ValueError(
                f"{len(weights)} level weights {weights} came, but the network has {len(names)} levels {list(names)}. "
                f"Pass one per level, finest first, for instance weights={halving(len(names))}."
            )
        return dict(zip(names, weights, strict=True))

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        self.level_weights(choose_levels(backbone, self.levels))  # raises now instead of in the first step
        return {"sides": SideHeads(backbone, levels=self.levels, bias=self.bias)}

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Scalar]:
        label = class_indices(batch["label"], outputs.logits)
        terms = {}
        for name, weight in self.level_weights(tuple(outputs.side_outputs)).items():
            logits = outputs.side_outputs[name]
            t = downsample_target(label, tuple(logits.shape[2:]), channels=logits.shape[1], how=self.reduction)
            terms[name] = weight * on_valid(self.loss, logits, t, batch.get("valid"))
        return terms
