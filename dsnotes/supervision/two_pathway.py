"""MSDS-UNet's supervision: every side output at full size (global: hard and soft fusion) and at its own size (local).

    L = Σ_m α_m d(y, z_m)  +  λ1 d(y, Σ_m α_m z_m)  +  λ2 Σ_m α_m d(y_m, l_m)        d = 1 - Dice
        hard                  soft                    side

z_m are upsampled sides, l_m local ones, y_m is the mask downsampled to their size. The published d is the Dice itself,
which training would minimise; and the published soft fusion sums probabilities, of which a further sigmoid is never
below 1/2.

The Dice has no gradient in a patch without tumour, so nothing would be learned from six of seven patches of Table 9.
There d is by default the background's; `empty="printed"` keeps the published equation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dsnotes.losses import dice_coefficient
from dsnotes.networks.base import Backbone, Head, Network
from dsnotes.networks.heads import GlobalHeads, LocalHeads
from dsnotes.shapes import CoarseMask, Logits, Outputs, Probs, Scalar
from dsnotes.supervision.base import Batch, Supervision
from dsnotes.supervision.plain import foreground
from dsnotes.supervision.targets import class_indices, downsample_target, one_hot, probabilities
from dsnotes.supervision.valid import on_valid

OBJECTIVES = ("none", "hard", "soft", "side", "hard+soft", "all")
EMPTY = ("background", "printed")
# The paper is ambiguous about which side is number 1. It gives α "from the shallow layer to the high layer" and calls
# the sides added to (4) the coarse ones, so 4 is the output; but it also says that small tumours need the "shallow
# hidden layers" 1 and 2, so 4 is the coarsest. The first reading is the default, the second an option.
NUMBERING = ("4 is the output", "1 is the output")
# α of the sides by number. The paper does not give (134) and (124): they have the weights of (234) here.
ALPHA = {
    "4": (1.0,),
    "34": (0.2, 0.8),
    "234": (0.2, 0.2, 0.6),
    "134": (0.2, 0.2, 0.6),
    "124": (0.2, 0.2, 0.6),
    "1234": (0.2, 0.2, 0.2, 0.4),
}


def distance(logits: Logits, t: CoarseMask, *, empty: str = "printed") -> Scalar:
    r"""d = 1 - Dice with the plain denominator, per image and then averaged, as 2TP / (2TP + FP + FN).

    For an image where t is 0 everywhere, the published d is 1 (up to eps), whatever the prediction. With
    `empty="background"` it is the background's: $1 - D(1 - p, 1) = \sum p / (2n - \sum p)$ over n voxels.
    """
    p, t = foreground(probabilities(logits)), foreground(t)
    d = 1 - dice_coefficient(p, t, squared=False)  # (B, C)
    if empty == "background":
        space = tuple(range(2, p.ndim))
        marked, n = p.sum(space), math.prod(p.shape[2:])
        d = torch.where(t.sum(space) == 0, marked / (2 * n - marked), d)
    return d.mean()


@dataclass(frozen=True)
class TwoPathway(Supervision):
    """`sides` are numbers, `alpha` their weights in the same order; `numbering` says which side is number 4."""

    objective: str = "all"
    sides: str = "1234"
    alpha: tuple[float, ...] | None = None
    soft_weight: float = 1.0  # λ1
    local_weight: float = 1.0  # λ2
    reduction: str = "nearest"
    local_width: int = 6
    empty: str = "background"  # d of a patch without tumour: the background's, or "printed" as published
    numbering: str = NUMBERING[0]

    voxelwise = True

    def __post_init__(self) -> None:
        if self.empty not in EMPTY:
            raise ValueError(f"empty={self.empty!r} is unknown. Choose one of {list(EMPTY)}.")
        if self.numbering not in NUMBERING:
            raise ValueError(f"numbering={self.numbering!r} is unknown. Choose one of {list(NUMBERING)}.")
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective={self.objective!r} is unknown. Choose one of {list(OBJECTIVES)}.")
        if not isinstance(self.sides, str):
            listed = self.sides if isinstance(self.sides, list | tuple) else (self.sides,)
            raise ValueError(
                f"sides={self.sides!r} must be a string of side numbers. Pass sides='({''.join(map(str, listed))})', "
                f"for instance; 4 is the output."
            )
        if self.alpha is None and self.numbers not in ALPHA:
            raise ValueError(
                f"sides={self.sides!r} has no weights in the paper. Use one of {[f'({s})' for s in ALPHA]}, "
                f"or pass alpha=, one weight per side."
            )

    @property
    def numbers(self) -> str:
        return self.sides.strip("()")

    @property
    def parts(self) -> tuple[str, ...]:
        return {"none": (), "hard+soft": ("hard", "soft"), "all": ("hard", "soft", "side")}.get(
            self.objective, (self.objective,)
        )

    def by_level(self) -> dict[int, float]:
        """α by decoder level, counted from 0 at the output, finest first."""
        alpha = self.alpha or ALPHA[self.numbers]
        level = [4 - int(number) if self.numbering == NUMBERING[0] else int(number) - 1 for number in self.numbers]
        return dict(sorted(zip(level, alpha, strict=True)))

    def weights(self, backbone: Backbone) -> dict[str, float]:
        """α by level name, finest first. Levels are counted from the output, also if there are more than four."""
        names, alpha = list(backbone.sides()), self.by_level()
        if max(alpha) >= len(names):
            raise ValueError(
                f"sides={self.sides!r} needs {max(alpha) + 1} decoder levels, this backbone has {len(names)}. "
                f"Leave out the coarsest sides, those with "
                f"{'the lowest' if self.numbering == NUMBERING[0] else 'the highest'} numbers."
            )
        return {names[level]: a for level, a in alpha.items()}

    def heads(self, backbone: Backbone) -> dict[str, Head]:
        weights = self.weights(backbone)
        levels, heads = tuple(weights), {}
        if "hard" in self.parts or "soft" in self.parts:
            heads["global"] = GlobalHeads(backbone, levels=levels, alpha=tuple(weights.values()))
        if "side" in self.parts:
            heads["local"] = LocalHeads(backbone, levels=levels, width=self.local_width)
        return heads

    def terms(self, outputs: Outputs, batch: Batch) -> dict[str, Scalar]:
        alpha = outputs.side_weights  # GradNorm may have changed them
        if not alpha and outputs.side_outputs:
            alpha = dict(zip(outputs.side_outputs, self.by_level().values(), strict=True))
        terms = {
            f"{part} {name}": alpha[name] * value
            for part, losses in self.side_losses(outputs, batch).items()
            for name, value in losses.items()
        }
        return {**terms, **self.coupled(outputs, batch)}

    def tasks(self, network: Network) -> dict[str, tuple[str, ...]]:
        """GradNorm's tasks, one per side, and the terms of each. The soft fusion belongs to no single side."""
        return {
            name: tuple(f"{part} {name}" for part in self.parts if part != "soft")
            for name in self.weights(network.backbone)
        }

    def weigh(self, network: Network, weights: Tensor) -> None:
        """Set α to GradNorm's weights, in the order of `tasks`; the soft fusion uses them too."""
        network.heads["global"].alpha.copy_(weights)

    def side_losses(self, outputs: Outputs, batch: Batch) -> dict[str, dict[str, Scalar]]:
        """The losses per side, without α: {"hard": {level: d(y, z)}, "side": {level: λ2 d(y_m, l)}}."""
        label = class_indices(batch["label"], outputs.logits)
        channels = outputs.logits.shape[1]
        losses: dict[str, dict[str, Scalar]] = {}
        if "hard" in self.parts:
            y = one_hot(label, channels)
            losses["hard"] = {name: self._distance(z, y, batch) for name, z in outputs.upsampled.items()}
        if "side" in self.parts:
            losses["side"] = {
                name: self.local_weight
                * self._distance(
                    z, downsample_target(label, tuple(z.shape[2:]), channels=channels, how=self.reduction), batch
                )
                for name, z in outputs.side_outputs.items()
            }
        return losses

    def coupled(self, outputs: Outputs, batch: Batch) -> dict[str, Scalar]:
        """The soft fusion, which joins all sides; or the output's own loss if no other term trains the output."""
        y = one_hot(class_indices(batch["label"], outputs.logits), outputs.logits.shape[1])
        if "soft" in self.parts:
            return {"soft": self.soft_weight * self._distance(fuse(outputs), y, batch)}
        finest = next(iter(outputs.features))
        reached = "hard" in self.parts or ("side" in self.parts and finest in outputs.side_outputs)
        return {} if reached else {"output": self._distance(outputs.logits, y, batch)}

    def _distance(self, logits: Logits, t: CoarseMask, batch: Batch) -> Scalar:
        return on_valid(partial(distance, empty=self.empty), logits, t, batch.get("valid"), per_image=True)


def fuse(outputs: Outputs) -> Logits:
    r"""$\sum_m \alpha_m z_m$ of logits: the sigmoid of a sum of probabilities could never predict background."""
    return sum(alpha * outputs.upsampled[name] for name, alpha in outputs.side_weights.items())


def average(outputs: Outputs, *, parts: tuple[str, ...] = ("hard", "soft")) -> Probs:
    """Deployment: the mean probability over the maps that were trained.

    "hard" trains the M upsampled maps and "soft" their fusion; the paper averages both. With only one of the two, only
    its maps are averaged, because the others were never trained. With neither, it is the output.
    """
    maps = list(outputs.upsampled.values()) if "hard" in parts else []
    if "soft" in parts and outputs.upsampled:
        maps.append(fuse(outputs))
    return torch.stack([probabilities(z) for z in maps]).mean(0) if maps else probabilities(outputs.logits)
