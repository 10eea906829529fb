"""One patient: an image, its label where there is one, and the millimetres between voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)  # a case equals itself alone: arrays have no single truth, and caches key on identity
class Case:
    """`image` is (depth, height, width) float32, or (height, width); several channels stand in front.

    `label` holds class indices on the same grid; `spacing` is in mm, in the order of the array's axes.
    `extras` carries what some tasks bring along: `alpha` (true lesion fraction), `readers`, `recist`, `soft`, …
    """

    name: str
    image: np.ndarray
    label: np.ndarray | None
    spacing: tuple[float | int, ...]  # kept as plain floats
    extras: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "spacing", checked_spacing(self.spacing, f"case {self.name}"))
        if self.image.ndim - len(self.spacing) not in (0, 1) or 0 in self.image.shape:
            raise ValueError(
                f"case {self.name}: the image has shape {self.image.shape}, the spacing {len(self.spacing)} numbers. "
                f"Pass one spacing an axis of ([channels], depth, height, width) or ([channels], height, width), "
                f"such as spacing=(5.0, 0.8, 0.8), and no empty axis."
            )
        if self.image.dtype != np.float32:
            with np.errstate(over="ignore"):  # what does not fit is named as infinite below
                set_field(self, "image", self.image.astype(np.float32))
        if not isinstance(self.image, np.memmap):  # checked when it was cached: reading it all here would undo the map
            require_finite(self.image, f"case {self.name}")
        if self.label is not None:
            set_field(self, "label", class_indices(self.label, f"case {self.name}"))
            self._require_same_grid("label", self.label.shape)
        for name in ("alpha", "soft", "readers"):
            if isinstance(self.extras.get(name), np.ndarray):
                self._require_same_grid(name, self.extras[name].shape[-len(self.spacing) :])

    def _require_same_grid(self, what: str, shape: tuple[int, ...]) -> None:
        if shape != self.space:
            raise ValueError(
                f"case {self.name}: the {what} has the grid {shape}, the image {self.space}. Both must lie on one "
                f"grid: crop or resample them together (dsnotes.data.preprocess.resample takes a whole case)."
            )

    @property
    def space(self) -> tuple[int, ...]:
        """The grid without channels."""
        return self.image.shape[-len(self.spacing) :]

    @property
    def channels(self) -> int:
        return self.image.shape[0] if self.image.ndim > len(self.spacing) else 1


def checked_spacing(spacing: tuple, of: str) -> tuple[float, ...]:
    """Two or three positive millimetres as plain floats."""
    spacing = tuple(float(mm) for mm in spacing)
    if len(spacing) not in (2, 3) or not all(math.isfinite(mm) and mm > 0 for mm in spacing):
        raise ValueError(
            f"{of}: spacing {spacing} came. Needed are two or three positive millimetres in the order of the array's "
            f"axes, such as (5.0, 0.8, 0.8); where the size of a voxel is unknown, pass ones."
        )
    return spacing


def require_finite(image: np.ndarray, of: str) -> None:
    """Refuse NaN and infinity, which would turn every weight of a network into NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        if np.isfinite(image.sum()):  # one pass without a mask in memory; any NaN or infinity survives a sum
            return
    odd = ~np.isfinite(image)
    if not odd.any():  # finite values whose sum alone is too large for float32
        return
    first = tuple(int(i) for i in np.unravel_index(int(odd.argmax()), odd.shape))
    raise ValueError(
        f"{of}: {int(odd.sum())} of {odd.size} voxels are NaN or infinite, the first at {first} "
        f"({image[first]}). Replace them, for instance with numpy.nan_to_num(image, nan=image[finite].min()), "
        f"or leave this case out."
    )


def class_indices(label: np.ndarray, of: str) -> np.ndarray:
    """The label as uint8, refused where it holds anything but whole numbers from 0 to 255."""
    if label.dtype == np.uint8:
        return label
    if label.dtype == bool:
        return label.astype(np.uint8)
    if label.dtype.kind not in "iuf":
        raise ValueError(f"{of}: a label of {label.dtype} came; class indices are whole numbers from 0 to 255.")
    with np.errstate(invalid="ignore"):
        indices = label.astype(np.uint8)
    wrong = indices != label
    if wrong.any():
        values = sorted({float(v) for v in label[wrong][:100_000]})[:5]
        raise ValueError(
            f"{of}: the label holds {', '.join(f'{v:g}' for v in values)} in {int(wrong.sum())} voxels; class indices "
            f"are whole numbers from 0 to 255. Threshold a soft label (label >= 0.5) and put the soft one into "
            f"extras['soft']; renumber other values."
        )
    return indices
