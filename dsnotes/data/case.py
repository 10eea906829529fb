"""One patient: an image, its label where there is one, and the millimetres between voxels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dsnotes.data.conversion import Array, Spacing, as_array, checked_spacing, is_tensor


@dataclass(frozen=True, eq=False)  # compared by identity: == on arrays is elementwise
class Case:
    """`image` is (depth, height, width) or (height, width) float32, with channels first if there are several.

    `label` holds class indices on the same grid; `spacing` is in mm, in the order of the array's axes.
    Tensors are accepted as arrays, and any sequence of numbers as a spacing.
    `extras` holds what only some tasks have: `alpha` (true lesion fraction), `readers`, `recist`, `soft`, …
    """

    name: str
    image: Array  # kept as a NumPy array, and so is the label
    label: Array | None
    spacing: Spacing  # kept as plain floats
    extras: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "spacing", checked_spacing(self.spacing, f"case {self.name}"))
        set_field(self, "image", real_image(self.image, f"case {self.name}"))
        if self.image.ndim - len(self.spacing) not in (0, 1) or 0 in self.image.shape:
            raise ValueError(
                f"case {self.name}: the image has shape {self.image.shape}, the spacing {len(self.spacing)} numbers. "
                f"Pass one spacing per axis of (depth, height, width) or (height, width), such as "
                f"spacing=(5.0, 0.8, 0.8); channels have none, and no axis may be empty."
            )
        if self.image.dtype != np.float32:
            with np.errstate(over="ignore"):  # overflow is reported as infinite below
                set_field(self, "image", self.image.astype(np.float32))
        if not isinstance(self.image, np.memmap):  # checked when cached; checking here would read the whole file
            require_finite(self.image, f"case {self.name}")
        if self.label is not None:
            label = as_array(self.label, f"case {self.name}: the label", example="label=None where there is none")
            set_field(self, "label", class_indices(label, f"case {self.name}"))
            self._require_same_grid("label", self.label.shape)
        tensors = {
            name: as_array(extra, name, example="an array") for name, extra in self.extras.items() if is_tensor(extra)
        }
        if tensors:
            set_field(self, "extras", self.extras | tensors)
        for name in ("alpha", "soft", "readers"):
            extra = self.extras.get(name)
            if isinstance(extra, np.ndarray):
                self._require_same_grid(name, extra.shape[-len(self.spacing) :])
            elif isinstance(extra, list | tuple):  # one array per reader
                for number, one in enumerate(extra):
                    self._require_same_grid(f"{name}[{number}]", tuple(np.shape(one)))

    @classmethod
    def from_arrays(
        cls,
        image: Array,
        label: Array | None = None,
        *,
        spacing: Spacing | None = None,
        name: str = "case",
        **extras: Any,
    ) -> Case:
        """A case from arrays or tensors; a channel axis of length one is dropped from the label."""
        if spacing is None:
            axes = np.ndim(image)
            raise ValueError(
                f"case {name}: spacing is missing. Pass the millimetres of each axis of the image, such as "
                f"spacing={(5.0, 0.8, 0.8)[-min(max(axes, 2), 3) :]}, or ones where the voxel size is unknown."
            )
        if label is not None and np.ndim(label) == len(tuple(spacing)) + 1 and len(label) == 1:
            label = label[0]
        return cls(name, image, label, spacing, extras)

    def _require_same_grid(self, what: str, shape: tuple[int, ...]) -> None:
        if shape != self.space:
            raise ValueError(
                f"case {self.name}: the {what} has the grid {shape}, the image {self.space}. Both must lie on one "
                f"grid: crop or resample them together (dsnotes.data.preprocess.resample does a whole case)."
            )

    @property
    def space(self) -> tuple[int, ...]:
        """The grid without channels."""
        return self.image.shape[-len(self.spacing) :]

    @property
    def channels(self) -> int:
        return self.image.shape[0] if self.image.ndim > len(self.spacing) else 1


def real_image(image: object, of: str) -> np.ndarray:
    """The image as an array of real numbers; raises an error for complex ones, which would lose their phase."""
    image = as_array(image, f"{of}: the image", example="dsnotes.open_case(file) for a file, or numpy.asarray(image)")
    if image.dtype.kind not in "biuf":
        remedy = "the magnitude, numpy.abs(image)" if image.dtype.kind == "c" else "image.astype(numpy.float32)"
        raise ValueError(f"{of}: the image has dtype {image.dtype}; needed are real numbers. Pass {remedy}.")
    return image


def require_case(case: object) -> None:
    """Raise a `TypeError` for a bare image, which has no spacing, or a path."""
    if not isinstance(case, Case):
        raise TypeError(
            f"case is of type {type(case).__name__}; needed is a Case, which knows its spacing. Pass "
            f"dsnotes.data.Case('mine', image, None, (1.0, 1.0)) for an image, dsnotes.open_case(file) for a file."
        )


def require_finite(image: np.ndarray, of: str) -> None:
    """Raise an error for NaN or infinity, which would turn every weight of a network into NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        if np.isfinite(image.sum()):  # one pass without a mask in memory: NaN and infinity survive a sum
            return
    odd = ~np.isfinite(image)
    if not odd.any():  # finite values whose sum overflows float32
        return
    first = tuple(int(i) for i in np.unravel_index(int(odd.argmax()), odd.shape))
    raise ValueError(
        f"{of}: {int(odd.sum())} of {odd.size} voxels are NaN or infinite, the first at {first} "
        f"({image[first]}). Replace them, for instance with numpy.nan_to_num(image, nan=image[finite].min()), "
        f"or leave this case out."
    )


def class_indices(label: np.ndarray, of: str) -> np.ndarray:
    """The label as uint8; raises an error for anything but whole numbers from 0 to 255."""
    if label.dtype == np.uint8:
        return label
    if label.dtype == bool:
        return label.astype(np.uint8)
    if label.dtype.kind not in "iuf":
        raise ValueError(f"{of}: the label has dtype {label.dtype}; class indices are whole numbers from 0 to 255.")
    with np.errstate(invalid="ignore"):
        indices = label.astype(np.uint8)
    wrong = indices != label
    if wrong.any():
        values = sorted({float(v) for v in label[wrong][:100_000]})[:5]
        raise ValueError(
            f"{of}: the label holds {', '.join(f'{v:g}' for v in values)} in {int(wrong.sum())} voxels; class indices "
            f"are whole numbers from 0 to 255. Threshold a soft label (label >= 0.5) and keep the soft one in "
            f"extras['soft']; renumber other values."
        )
    return indices
