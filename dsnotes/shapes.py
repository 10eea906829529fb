"""The types of the arrays and tensors in this package, and what a network returns.

Axes are always (batch, channel, depth, height, width); 2-D drops depth. Outside a network a volume is
(depth, height, width) with its spacing in mm in the same order.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace

import numpy as np
import torch
from torch import Tensor

try:
    from jaxtyping import Float, Float32, Integer, UInt8
except ModuleNotFoundError:  # with torch and numpy alone the names exist, but nothing checks them

    class _Unchecked:
        def __class_getitem__(cls, item):
            return item[0]

    Float = Float32 = Integer = UInt8 = _Unchecked

Image = Float[Tensor, "batch channels *space"]  # *space: one name for 2-D and 3-D
Label = Integer[Tensor, "batch *space"]  # class indices, 0 is background
Logits = Float[Tensor, "batch classes *space"]  # one channel for two classes, else one per class
Probs = Float[Tensor, "batch classes *space"]  # in [0, 1]
SoftMask = Float[Tensor, "batch classes *space"]  # in [0, 1]; a hard mask is a special case
CoarseMask = Float[Tensor, "batch classes *coarse"]  # a target at the size of a side output
Scalar = Float[Tensor, ""]

Volume = Float32[np.ndarray, "..."]  # ([channels], depth, height, width), or ([channels], height, width)
LabelMap = UInt8[np.ndarray, "*space"]
ProbabilityMap = Float32[np.ndarray, "classes *space"]


@dataclass(frozen=True)
class Outputs:
    """What every network returns, in training and in evaluation; every dict is ordered finest first."""

    logits: Tensor  # (B, K, *space): the prediction that is deployed
    side_outputs: dict[str, Tensor] = field(default_factory=dict)  # logits of decoder levels at their own size
    upsampled: dict[str, Tensor] = field(default_factory=dict)  # logits of decoder levels at full size
    features: dict[str, Tensor] = field(default_factory=dict)  # decoder maps, the bottleneck last
    restored: Tensor | None = None  # logits of a reconstruction of the input
    restored_features: dict[str, Tensor] = field(default_factory=dict)  # maps of the reconstruction decoder
    latent: dict[str, Tensor] = field(default_factory=dict)  # "mean" and "log_variance" of a variational code, (B, n)
    side_weights: dict[str, Tensor] = field(default_factory=dict)  # weight of each upsampled output, one scalar each
    fine: Tensor | None = None  # logits on a finer grid than the image's; `logits` belong to their mean probability

    def in_float32(self) -> Outputs:
        """The same outputs with every half-precision tensor in float32, as losses need them."""
        return map_tensors(self, lambda t: t.float() if t.dtype in (torch.bfloat16, torch.float16) else t)

    def detach(self) -> Outputs:
        return map_tensors(self, Tensor.detach)

    @property
    def sides(self) -> dict[str, Tensor]:
        return _renamed(self, "sides", "side_outputs")

    @property
    def raised(self) -> dict[str, Tensor]:
        return _renamed(self, "raised", "upsampled")


def map_tensors(value, change: Callable[[Tensor], Tensor]):
    """Apply `change` to every tensor inside a dict, list, tuple or dataclass; keep everything else."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: map_tensors(item, change) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(item, change) for item in value)
    if is_dataclass(value):
        changed = {at.name: map_tensors(getattr(value, at.name), change) for at in fields(value)}
        return replace(value, **changed)
    return value


def _renamed(outputs: Outputs, old: str, new: str) -> dict[str, Tensor]:
    warnings.warn(f"Outputs.{old} is now Outputs.{new}. Write outputs.{new}.", DeprecationWarning, stacklevel=3)
    return getattr(outputs, new)


def n_logits(classes: int) -> int:
    """Channels that predict `classes` label values (background included): one sigmoid for two, else a softmax."""
    if classes < 2:
        raise ValueError(
            f"classes={classes}, but background counts as a class: a binary task has classes=2. "
            f"Pass the number of label values, for instance classes=len(dataset.labels)."
        )
    return 1 if classes == 2 else classes
