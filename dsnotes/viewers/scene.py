"""The input of a viewer: one channel of a case and the layers over it, already checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.conversion import Array, as_array, is_tensor

WINDOWS = {"lung": (-1350.0, 150.0), "soft": (-160.0, 240.0), "bone": (-500.0, 1300.0)}  # HU, lowest and highest
Overlay = Array | Sequence


@dataclass(frozen=True)
class Scene:
    """Arrays are (depth, height, width) or (height, width), all on one grid; `spacing` in mm in the same order."""

    title: str
    image: np.ndarray
    spacing: tuple[float, ...]
    truth: np.ndarray | None
    prediction: np.ndarray | None
    soft: np.ndarray | None
    readers: dict[str, np.ndarray]
    names: dict[int, str]
    window: tuple[float, float]
    notes: tuple[str, ...]

    @cached_property
    def values(self) -> list[int]:
        """The labels other than background that the truth or the prediction holds."""
        return sorted(
            {value for layer in (self.truth, self.prediction) if layer is not None for value in _label_values(layer)}
        )

    @property
    def layers(self) -> tuple[str, ...]:
        """The overlays present, in drawing order."""
        there = {
            "soft": self.soft is not None,
            "truth": self.truth is not None,
            "readers": bool(self.readers),
            "prediction": self.prediction is not None,
        }
        return tuple(name for name, present in there.items() if present)

    def name(self, value: int) -> str:
        return self.names.get(value, "lesion" if self.values == [1] else f"label {value}")


def _label_values(label: np.ndarray) -> list[int]:
    """The values of a label map but 0, counted where there are few: sorting a large volume takes seconds."""
    low, high = int(label.min(initial=0)), int(label.max(initial=0))
    if low < 0 or high > 65_535:
        return [int(value) for value in np.unique(label) if value]
    return [int(value) for value in np.flatnonzero(np.bincount(label.ravel(), minlength=1)) if value]


def compose(
    case: Case,
    *,
    prediction: Overlay | None = None,
    soft: Overlay | None = None,
    readers: bool | Mapping[str, Overlay] | Sequence[Overlay] | np.ndarray = False,
    names: Mapping[int, str] | None = None,
    window: str | tuple[float, float] | None = None,
    channel: int = 0,
    title: str | None = None,
) -> Scene:
    """Check a viewer's arguments and bring them onto one grid."""
    image = _one_channel(case, channel)
    faults = int(image.size - np.isfinite(image).sum())
    truth = None if case.label is None else _label_map(case.label, case, "the case's label")
    predicted = None if prediction is None else _label_map(prediction, case, "prediction=")
    notes = [f"{faults} voxels are NaN or infinite (red)"] if faults else []
    notes += ["the label holds no foreground"] if truth is not None and not truth.any() else []
    notes += ["the prediction holds no foreground"] if predicted is not None and not predicted.any() else []
    return Scene(
        title=title or case.name,
        image=image,
        spacing=tuple(float(mm) for mm in case.spacing),
        truth=truth,
        prediction=predicted,
        soft=None if soft is None else _soft_mask(soft, case),
        readers=_reader_maps(readers, case),
        names={int(value): str(name) for value, name in (names or case.extras.get("names") or {}).items()},
        window=_window(window, image, truth),
        notes=tuple(notes),
    )


def _one_channel(case: Case, channel: int) -> np.ndarray:
    space = len(case.spacing)
    if space not in (2, 3) or case.image.ndim not in (space, space + 1):
        raise ValueError(
            f"{case.name!r} has an image of shape {case.image.shape} and a spacing of {space} numbers. A viewer draws "
            f"(height, width) with two, or (depth, height, width) with three, and channels in front of them."
        )
    if not 0 <= channel < case.channels:
        raise ValueError(
            f"channel={channel}, but {case.name!r} has {case.channels}: pass channel=0 … {case.channels - 1}."
        )
    return np.asarray(case.image[channel] if case.image.ndim > space else case.image, dtype=np.float32)


def _same_grid(array: np.ndarray, case: Case, what: str, remedy: str) -> np.ndarray:
    if array.shape != tuple(case.space):
        raise ValueError(f"{what} has shape {array.shape}, the image of {case.name!r} {tuple(case.space)}. {remedy}")
    return array


def _array(layer: Overlay, what: str) -> np.ndarray:
    """A tensor, even on a GPU or with gradients, as an array."""
    return as_array(layer, what, example="a label map") if is_tensor(layer) else np.asarray(layer)


def _label_map(label: Overlay, case: Case, what: str) -> np.ndarray:
    array = _array(label, what)
    remedy = "A label map has the image's grid, without channels: dsnotes.to_label(p) makes one of probabilities."
    _same_grid(array, case, what, remedy)
    if array.dtype == bool or np.issubdtype(array.dtype, np.integer):
        return array.astype(np.int64)
    whole = np.isfinite(array).all() and (array == np.round(array)).all()
    if not whole:
        raise ValueError(
            f"{what} holds values such as {_sample(array)}, but a label map holds class indices 0, 1, 2 … "
            f"Pass probabilities as soft=, or make a label of them with dsnotes.to_label(p)."
        )
    return array.astype(np.int64)


def _sample(array: np.ndarray) -> str:
    odd = array[~np.isfinite(array) | (array != np.round(array))]
    return f"{float(odd.flat[0]):.3g}"


def _soft_mask(soft: Overlay, case: Case) -> np.ndarray:
    array = _array(soft, "soft=").astype(np.float32)
    if array.ndim == len(case.spacing) + 1 and array.shape[0] == 1:
        array = array[0]
    _same_grid(
        array, case, "soft=", "A soft mask is one map on the image's grid: of several classes pass one, soft=p[2]."
    )
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise ValueError(
            f"soft= reaches from {array.min():.3g} to {array.max():.3g}, but a soft mask stays within 0 … 1. "
            f"Logits become one by 1 / (1 + exp(-x)); dsnotes.predict returns probabilities."
        )
    return array


def _reader_maps(
    readers: bool | Mapping[str, Overlay] | Sequence[Overlay] | np.ndarray, case: Case
) -> dict[str, np.ndarray]:
    if readers is True:
        if case.extras.get("readers") is None:
            raise ValueError(f"readers=True, but {case.name!r} brings none: pass readers=[label, label, …].")
        readers = case.extras["readers"]
    if readers is None or readers is False:
        return {}
    if not isinstance(readers, Mapping):
        readers = {f"reader {number}": label for number, label in enumerate(readers, start=1)}
    return {str(name): _label_map(label, case, f"readers, {name!r},") for name, label in readers.items()}


def _window(
    window: str | tuple[float, float] | None, image: np.ndarray, truth: np.ndarray | None
) -> tuple[float, float]:
    if isinstance(window, str) and window in WINDOWS:
        return WINDOWS[window]
    if isinstance(window, str) and window != "label":
        choices = ", ".join(map(repr, (*WINDOWS, "label")))
        raise ValueError(f"window={window!r} is unknown. Choose {choices}, or pass (lowest, highest).")
    if window is not None and window != "label":
        low, high = (float(edge) for edge in window)
        if not low < high:
            raise ValueError(f"window=({low:g}, {high:g}) is empty: pass (lowest, highest) in the image's own unit.")
        return low, high
    percentiles, sample = (0.5, 99.5), image.ravel()[:: max(1, image.size // 1_000_000)]  # all would take seconds
    if window == "label" and truth is not None and truth.any():
        percentiles, sample = (3, 97), _around(truth, image)
    finite = sample[np.isfinite(sample)]
    low, high = np.percentile(finite, percentiles) if finite.size else (0.0, 1.0)
    return float(low), float(high) if high > low else float(low) + 1.0


def _around(truth: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The grey values on and near the label, in the slice that holds most of it."""
    if truth.ndim == 3:
        largest = np.count_nonzero(truth, axis=(1, 2)).argmax()
        truth, image = truth[largest], image[largest]
    near, reach = truth > 0, max(2, max(truth.shape) // 16)
    for _ in range(2):  # down the columns, then along the rows
        sums = np.cumsum(np.pad(near, ((reach + 1, reach), (0, 0))), axis=0)
        near = (sums[2 * reach + 1 :] > sums[: -2 * reach - 1]).T
    return image[near]
