"""One patient: an image, its label where there is one, and the millimetres between voxels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Case:
    """`image` is (depth, height, width) float32, or (height, width); several channels stand in front.

    `label` holds class indices on the same grid; `spacing` is in mm, in the order of the array's axes.
    `extras` carries what some tasks bring along: `alpha` (true lesion fraction), `readers`, `recist`, `soft`, …
    """

    name: str
    image: np.ndarray
    label: np.ndarray | None
    spacing: tuple[float, ...]
    extras: dict = field(default_factory=dict)

    @property
    def space(self) -> tuple[int, ...]:
        """The grid without channels."""
        return self.image.shape[-len(self.spacing) :]

    @property
    def channels(self) -> int:
        return self.image.shape[0] if self.image.ndim > len(self.spacing) else 1
