"""Preprocessing as one frozen value, which also names the cache: spacing, window, normalisation and more.

stats = foreground_statistics(train)
kits = Preprocess(spacing=(3.0, 0.78162, 0.78162), clip=stats.percentiles, normalise=stats.z_score)
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import numpy as np

from dsnotes.data.case import Case
from dsnotes.data.conversion import Spacing, checked_spacing
from dsnotes.data.foreground import require_label
from dsnotes.data.planes import between, positive, resized
from dsnotes.data.resample import resample, restore

__all__ = ["Preprocess", "Statistics", "foreground_statistics", "hu_window", "resample", "restore"]

Pair = tuple[float, float]  # low and high, or mean and standard deviation
Pairs = Pair | tuple[Pair, ...]  # one for all channels, or one per channel
RULES = ("image", "slice", "nonzero", "minmax", "window")


@dataclass(frozen=True)
class Preprocess:
    """The steps applied to every case, in this order; a field left at None does nothing."""

    channels: tuple[int, ...] | None = None  # channels to keep
    slices: tuple[int, int] | None = None  # first and last slice to keep
    positive_slices: bool = False  # keep only slices with foreground
    relabel: tuple[int, ...] | None = None  # the new value of each old one: (0, 1, 1) merges two classes
    spacing: Spacing | None = None  # mm in the order of the array's axes
    image_order: int = 3  # spline order for resampling the image: 3, 1 or 0
    label_rule: str = "nearest"  # resampling of labels: nearest or linear
    size: tuple[int, int] | None = None  # pixels per slice
    lungs: float | None = None  # mm to keep around the lungs in a chest CT; the rest becomes air
    clip: Pairs | None = None  # (low, high)
    # "image", "slice" (each slice of axis 0 by itself), "nonzero", "minmax", "window", or (mean, standard deviation)
    normalise: str | Pairs | None = None

    def __post_init__(self) -> None:
        if self.spacing is not None and not isinstance(self.spacing, tuple):  # a tuple is kept: its text names a cache
            object.__setattr__(self, "spacing", checked_spacing(self.spacing, "Preprocess"))
        if isinstance(self.normalise, str) and self.normalise not in RULES:
            raise ValueError(
                f"normalise={self.normalise!r}: pass {', '.join(map(repr, RULES))} or (mean, standard deviation), "
                f"such as foreground_statistics(train).z_score."
            )
        if self.clip is not None:
            for pair in self.clip if isinstance(self.clip[0], tuple | list) else (self.clip,):
                if len(pair) != 2 or not pair[0] < pair[1]:
                    raise ValueError(
                        f"clip={self.clip}: {tuple(pair)} is an empty range. Pass the lower value first, "
                        f"such as clip=(-1000, 400)."
                    )
        if self.normalise == "window" and self.clip is None:
            raise ValueError("normalise='window' scales the clipped range to 0…1: pass clip=(low, high) with it.")

    def __call__(self, case: Case) -> Case:
        if self.channels is not None:
            case = _choose_channels(case, self.channels)
        if self.slices is not None:
            case = between(case, *self.slices)
        if self.positive_slices:
            case = positive(case)
        if self.relabel is not None:
            case = _relabelled(case, self.relabel)
        if self.spacing is not None:
            case = resample(case, self.spacing, image_order=self.image_order, label_rule=self.label_rule)
        if self.size is not None:
            case = resized(case, self.size)
        if self.lungs is not None:
            from dsnotes.data.lungs import within_lungs

            case = within_lungs(case, margin=self.lungs, crop=False)
        if self.clip is None and self.normalise is None:
            return case
        image = case.image.reshape(case.channels, *case.space)
        bounds, moments = _a_channel(self.clip, case), _a_channel(self.normalise, case)
        done = [_rescale(*of_channel) for of_channel in zip(image, bounds, moments, strict=True)]
        return replace(case, image=np.stack(done).reshape(case.image.shape))

    def json(self) -> str:
        """The settings as text: equal settings give equal text."""
        return json.dumps(asdict(self), sort_keys=True)


def hu_window(low: float, high: float) -> Preprocess:
    """min(max(x, low), high) scaled to 0…1: a CT window, such as hu_window(-1000, 400) for the lung."""
    if not low < high:
        raise ValueError(f"hu_window({low}, {high}): pass the lower value first, such as hu_window(-1000, 400).")
    return Preprocess(clip=(float(low), float(high)), normalise="window")


@dataclass(frozen=True)
class Statistics:
    """Grey values of the foreground of a training set, one entry per channel."""

    percentiles: tuple[tuple[float, float], ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def z_score(self) -> tuple[tuple[float, float], ...]:
        """(mean, standard deviation) per channel, for `Preprocess(normalise=…)`."""
        return tuple(zip(self.mean, self.std, strict=True))


def foreground_statistics(
    cases: Iterable[Case], *, percentiles: Pair = (0.5, 99.5), most: int = 20_000_000
) -> Statistics:
    """Percentiles, mean and standard deviation of all foreground voxels of the training cases, as in nnU-Net.

    Pass training cases only: test data must not influence preprocessing. Beyond `most` voxels, percentiles use every
    second, fourth, … voxel; mean and standard deviation always use all.
    """
    kept: list[np.ndarray] = []  # (channels, voxels) of every case
    every, count, mean, squares = 1, 0, 0.0, 0.0
    for case in cases:
        voxels = case.image.reshape(case.channels, *case.space)[:, require_label(case) > 0]
        n = voxels.shape[1]
        if n == 0:
            continue
        own = voxels.mean(1, dtype=np.float64)
        spread = ((voxels - own[:, None]) ** 2).sum(1)
        squares = squares + spread + (own - mean) ** 2 * (count * n / (count + n))  # Chan et al. 1983, for two parts
        mean = mean + (own - mean) * (n / (count + n))
        count += n
        kept.append(voxels[:, ::every])
        while sum(part.shape[1] for part in kept) > most:
            every, kept = every * 2, [part[:, ::2] for part in kept]
    if not count:
        raise ValueError(
            "no case has a foreground voxel to compute statistics from. Check the labels (is the foreground 0?), or "
            "normalise with Preprocess(normalise='image')."
        )
    bounds = np.percentile(np.concatenate(kept, 1), percentiles, axis=1)
    std = np.sqrt(squares / count)
    return Statistics(
        percentiles=tuple((float(low), float(high)) for low, high in bounds.T),
        mean=tuple(float(value) for value in mean),
        std=tuple(float(value) for value in std),
    )


def _rescale(image: np.ndarray, bounds: Pair | None, rule: str | Pair | None) -> np.ndarray:
    if bounds is not None:
        image = np.clip(image, *map(np.float32, bounds))
    if rule is None:
        return image
    if rule in ("minmax", "window"):
        low, high = bounds if rule == "window" else (float(image.min()), float(image.max()))
        return _divided(image - np.float32(low), high - low)
    if rule == "nonzero":  # a skull-stripped brain: zeros outside stay zero
        inside = image != 0
        voxels = image[inside] if inside.any() else image
        mean, std = voxels.mean(dtype=np.float64), voxels.std(dtype=np.float64)
        return _divided(np.where(inside, image - np.float32(mean), np.float32(0)), std)
    if rule == "slice" and image.ndim == 3:
        return np.stack([_rescale(plane, None, "image") for plane in image])
    mean, std = (image.mean(dtype=np.float64), image.std(dtype=np.float64)) if rule in ("image", "slice") else rule
    return _divided(image - np.float32(mean), std)


def _divided(centred: np.ndarray, scale: float) -> np.ndarray:
    """Divide by the scale; a constant image, whose scale is 0, becomes zero."""
    scale = np.float32(scale)
    return centred / scale if scale > 0 else np.zeros_like(centred)


def _a_channel(value: str | Pairs | None, case: Case) -> list:
    if value is None or isinstance(value, str) or not isinstance(value[0], tuple):
        return [value] * case.channels
    if len(value) == 1 or len(value) == case.channels:
        return list(value) * (case.channels if len(value) == 1 else 1)
    raise ValueError(
        f"{len(value)} pairs came for the {case.channels} channels of case {case.name}. Pass one pair for all, or one "
        f"per channel, from statistics of cases with the same channels."
    )


def _choose_channels(case: Case, channels: tuple[int, ...]) -> Case:
    if not all(0 <= channel < case.channels for channel in channels):
        raise ValueError(
            f"channels={channels} came, but case {case.name} has {case.channels}: pass some of "
            f"{tuple(range(case.channels))}."
        )
    return replace(case, image=case.image.reshape(case.channels, *case.space)[list(channels)])


def _relabelled(case: Case, values: tuple[int, ...]) -> Case:
    if case.label is None:
        return case
    if int(case.label.max()) >= len(values):
        raise ValueError(
            f"relabel={values} names {len(values)} values, but the label of case {case.name} goes to "
            f"{int(case.label.max())}. Pass the new value of every old one, background first."
        )
    return replace(case, label=np.array(values, np.uint8)[case.label])
