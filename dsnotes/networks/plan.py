"""Strides and kernels planned from patch and spacing, as nnU-Net does, and the initial weights of such networks.

Paper: Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z
"""

from __future__ import annotations

from math import floor, log2
from typing import NamedTuple

from torch import nn

from dsnotes.networks.blocks import CONV, UP_CONV


class Plan(NamedTuple):
    """`strides[i]`: from level i to level i + 1; `kernels[i]`: the encoder's at level i, the bottleneck's last."""

    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]


def plan(patch: tuple[int, ...], spacing: tuple[float, ...], *, smallest: int = 4, halvings: int = 5) -> Plan:
    """Strides and kernels from patch and spacing, by nnU-Net's first rule ("pool late").

    Each axis is halved as often as leaves at least `smallest` voxels; an axis with fewer halvings is halved at the
    deeper levels. A kernel is 1 along an axis whose spacing is more than half the input's coarsest while another's is
    not.
    """
    if len(patch) != len(spacing):
        raise ValueError(
            f"patch {patch} and spacing {spacing} differ in length. Pass one spacing in mm for each axis of the patch."
        )
    possible = [min(halvings, max(0, floor(log2(n / smallest)))) for n in patch]
    deepest = max(possible)
    if deepest == 0:
        raise ValueError(f"patch {patch} cannot be halved once and keep {smallest} voxels. Use {2 * smallest} or more.")
    total = [2**n for n in possible]
    if any(n % s for n, s in zip(patch, total, strict=True)):
        nearest = tuple(max(1, round(n / s)) * s for n, s in zip(patch, total, strict=True))
        raise ValueError(
            f"patch {patch} cannot be halved {tuple(possible)} times. The nearest patch that can is {nearest}; "
            f"or pass fewer halvings=."
        )
    strides = tuple(tuple(2 if n + level >= deepest else 1 for n in possible) for level in range(deepest))
    kernels, now, coarsest = [], list(spacing), max(spacing)
    for stride in (*strides, (1,) * len(patch)):
        fine = [mm / coarsest <= 0.5 for mm in now]
        kernels.append(tuple(1 if any(fine) and not is_fine else 3 for is_fine in fine))
        now = [mm * s for mm, s in zip(now, stride, strict=True)]
    return Plan(strides, (*kernels[:-1], (3,) * len(patch)))


def initialise(part: nn.Module) -> None:
    """He's normal weights for a leaky ReLU of slope 0.01, biases 0: as in the release, also for the heads."""
    for module in part.modules():
        if isinstance(module, (*CONV.values(), *UP_CONV.values())):
            nn.init.kaiming_normal_(module.weight, a=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
