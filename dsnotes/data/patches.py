"""Patches for training and validation: first draw positions, then read voxels."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dsnotes.data.case import Case
from dsnotes.data.foreground import class_counts, draw_below, draw_voxel, foreground_classes, lowest, require_label


class Place(NamedTuple):
    """Position of a patch: its first voxel on the case's grid, negative where the volume is smaller than the patch."""

    case: Case
    start: tuple[int, ...]


def draw_batch(
    cases: Sequence[Case],
    *,
    patch: tuple[int, ...],
    batch: int,
    foreground: float,
    generator: torch.Generator,
    pad: str | float = "minimum",
) -> dict[str, Tensor]:
    """`image` (B, C, *patch) float32, `label` (B, *patch) int64 and, where the cases have them, `soft` (B, K, *patch)
    and `valid` (B, *patch), false where the label is "ignore".

    With two numbers, `patch` takes slices across axis 0 of volumes. A volume smaller than the patch is centred in it
    and padded by `pad`: "minimum" of its channel, "edge", or a number; the label is padded with background.
    """
    places = draw_places(cases, patch=patch, batch=batch, foreground=foreground, generator=generator)
    return gather(places, patch=patch, pad=pad)


def draw_places(
    cases: Sequence[Case], *, patch: tuple[int, ...], batch: int, foreground: float, generator: torch.Generator
) -> list[Place]:
    """The first ceil(foreground × batch) patches are centred on foreground, the others lie anywhere.

    A foreground patch draws a class of its case, then a voxel of that class, so that a small tumour is drawn as often
    as the organ around it. In a case without foreground the patch lies anywhere.
    """
    if not len(cases):
        raise ValueError("no cases to draw patches from: pass at least one, for instance phantoms.lung(8, seed=0).")
    if batch < 1 or not 0 <= foreground <= 1:
        raise ValueError(f"batch={batch}, foreground={foreground}: pass batch ≥ 1 and foreground from 0 to 1.")
    forced = math.ceil(foreground * batch - 1e-9)
    places = []
    for sample in range(batch):
        case = cases[draw_below(len(cases), generator)]
        size = patch_on(case, patch)
        classes = foreground_classes(case) if sample < forced else []
        if sample < forced and not classes:
            _require_some_foreground(cases)
        if classes:
            voxel = draw_voxel(case, classes[draw_below(len(classes), generator)], generator)
            places.append(Place(case, _around(voxel, case.space, size)))
        else:
            places.append(Place(case, _anywhere(case.space, size, generator)))
    return places


def forced_share(cases: Sequence[Case], patch: tuple[int, ...], *, enough: float = 0.25, share: float = 1 / 3) -> float:
    """0 if at least `enough` of 64 random patches hold foreground, otherwise `share`; always the same answer.

    Forced patches show foreground in places and amounts that no image has. Where random patches hold it anyway, they
    cost false positives (`benchmarks/results/recipe.md`); where it is rare, a network would hardly see it without them.
    """
    generator = torch.Generator().manual_seed(0)
    places = draw_places(cases, patch=patch, batch=64, foreground=0, generator=generator)
    if all(n <= p for case, _ in places for n, p in zip(case.space, patch_on(case, patch), strict=True)):
        return share  # whole images: there is no place to force
    held = [crop(require_label(case), start, patch_on(case, patch), pad=0).any() for case, start in places]
    return 0.0 if np.mean(held) >= enough else share


def validation_batches(
    cases: Sequence[Case],
    *,
    patch: tuple[int, ...],
    batch: int,
    seed: int = 0,
    per_case: int = 1,
    pad: str | float = "minimum",
) -> Iterator[dict[str, Tensor]]:
    """The same batches on every call: `per_case` patches of each case, centred on its classes in turn.

    Patches are a pure function of (seed, case name), so that a case has the same patches in any subset.
    """
    places: list[Place] = []
    for case in cases:
        digest = hashlib.sha256(f"{seed}/{case.name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        size, classes = patch_on(case, patch), foreground_classes(case)
        for turn in range(per_case):
            if classes:
                voxel = draw_voxel(case, classes[turn % len(classes)], generator)
                places.append(Place(case, _around(voxel, case.space, size)))
            else:
                places.append(Place(case, _anywhere(case.space, size, generator)))
            if len(places) == batch:
                yield gather(places, patch=patch, pad=pad)
                places = []
    if places:
        yield gather(places, patch=patch, pad=pad)


def tiles(case: Case, patch: tuple[int, ...]) -> list[Place]:
    """The fewest evenly spaced patches that cover the case; they overlap where its size is not a multiple of theirs."""
    starts = []
    for n, p in zip(case.space, patch_on(case, patch), strict=True):
        count = -(-n // p)
        starts.append([round(i * (n - p) / (count - 1)) for i in range(count)] if n > p else [-((p - n) // 2)])
    return [Place(case, start) for start in product(*starts)]


def gather(places: Sequence[Place], *, patch: tuple[int, ...], pad: str | float = "minimum") -> dict[str, Tensor]:
    """Read the voxels at the given places into a batch."""
    first = places[0].case
    images = np.empty((len(places), first.channels, *patch), np.float32)
    labels = np.empty((len(places), *patch), np.int64)
    softs, valids = [], np.ones(labels.shape, bool)
    for row, (case, start) in enumerate(places):
        if case.channels != first.channels:
            raise ValueError(
                f"case {case.name} has {case.channels} channels, case {first.name} {first.channels}; a batch needs "
                f"equal channels. Choose channels with Preprocess(channels=…), or train on the cases separately."
            )
        size = patch_on(case, patch)
        image = case.image if case.image.ndim > len(size) else case.image[None]
        images[row] = crop(image, start, size, pad=_filling(case, size, pad)).reshape(images.shape[1:])
        labels[row] = crop(require_label(case), start, size, pad=0).reshape(patch)
        if (valid := case.extras.get("valid")) is not None:
            valids[row] = crop(valid, start, size, pad=1).reshape(patch)
        if (soft := case.extras.get("soft")) is not None:
            soft = soft if soft.ndim > len(size) else soft[None]
            softs.append(crop(soft, start, size, pad=0).reshape(-1, *patch).astype(np.float32))
    found = {"image": torch.from_numpy(images), "label": torch.from_numpy(labels)}
    if any("valid" in case.extras for case, _ in places):
        found["valid"] = torch.from_numpy(valids)
    if softs:
        without = sorted({place.case.name for place in places if place.case.extras.get("soft") is None})
        if without or len({soft.shape for soft in softs}) > 1:
            raise ValueError(
                f"some cases of the batch have a soft mask, others ({', '.join(without[:3])}) none, or the channels "
                f"differ. Give every case extras['soft'] of (K, *space), or remove it from all."
            )
        found["soft"] = torch.from_numpy(np.stack(softs))
    return found


def patch_on(case: Case, patch: tuple[int, ...]) -> tuple[int, ...]:
    """The patch size on all of the case's axes: two numbers on a volume mean one slice."""
    missing = len(case.space) - len(patch)
    if len(patch) < 2 or missing < 0 or min(patch) < 1:
        raise ValueError(
            f"the patch {tuple(patch)} came for case {case.name} with the grid {case.space}. Pass one positive number "
            f"per axis, such as patch={tuple(min(64, n) for n in case.space)}"
            + (
                f", or two for slices, such as patch={tuple(min(64, n) for n in case.space[1:])}."
                if len(case.space) == 3
                else "."
            )
        )
    return (1,) * missing + tuple(patch)


def crop(array: np.ndarray, start: tuple[int, ...], size: tuple[int, ...], *, pad: object) -> np.ndarray:
    """A box of `size` from `start` in the last axes; `pad` fills outside: "edge" or a value that broadcasts."""
    space = array.shape[-len(size) :]
    low = [max(s, 0) for s in start]
    high = [min(s + p, n) for s, p, n in zip(start, size, space, strict=True)]
    inner = array[(..., *map(slice, low, high))]
    if inner.shape[-len(size) :] == tuple(size):
        return inner
    before = [lo - s for lo, s in zip(low, start, strict=True)]
    if isinstance(pad, str):
        after = [s + p - hi for s, p, hi in zip(start, size, high, strict=True)]
        lead = [(0, 0)] * (array.ndim - len(size))
        return np.pad(inner, [*lead, *zip(before, after, strict=True)], mode="edge")
    out = np.empty((*array.shape[: -len(size)], *size), array.dtype)
    out[...] = pad
    out[(..., *(slice(b, b + hi - lo) for b, lo, hi in zip(before, low, high, strict=True)))] = inner
    return out


def pad_to(array: np.ndarray | Tensor, size: tuple[int, ...], *, pad: str | float = "minimum") -> np.ndarray | Tensor:
    """Pad the last axes of an array or tensor to at least `size`, with the original in the middle.

    `pad` is "minimum" (of the whole array), "edge", or a number. `crop_to` removes the padding.
    """
    _require_pad(pad)
    space = tuple(array.shape[-len(size) :])
    if all(n >= want for n, want in zip(space, size, strict=True)):
        return array
    if pad == "edge":
        for axis, (n, want) in enumerate(zip(space, size, strict=True), start=array.ndim - len(size)):
            nearest = np.clip(np.arange(max(n, want)) - max(want - n, 0) // 2, 0, n - 1)
            array = array[(slice(None),) * axis + (torch.as_tensor(nearest) if torch.is_tensor(array) else nearest,)]
        return array
    shape = (*array.shape[: -len(size)], *map(max, space, size))
    value = array.min() if pad == "minimum" else pad
    out = array.new_empty(shape) if torch.is_tensor(array) else np.empty(shape, array.dtype)
    out[...] = value
    inner = (slice(max(want - n, 0) // 2, max(want - n, 0) // 2 + n) for n, want in zip(space, size, strict=True))
    out[(..., *inner)] = array
    return out


def crop_to(array: np.ndarray | Tensor, size: tuple[int, ...]) -> np.ndarray | Tensor:
    """The middle of the last axes, at most `size`: the inverse of `pad_to`."""
    space = tuple(array.shape[-len(size) :])
    starts = [max(n - want, 0) // 2 for n, want in zip(space, size, strict=True)]
    return array[(..., *(slice(start, start + want) for start, want in zip(starts, size, strict=True)))]


def _around(voxel: tuple[int, ...], space: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(
        min(max(at - p // 2, 0), n - p) if n > p else -((p - n) // 2)
        for at, n, p in zip(voxel, space, size, strict=True)
    )


def _anywhere(space: tuple[int, ...], size: tuple[int, ...], generator: torch.Generator) -> tuple[int, ...]:
    return tuple(
        draw_below(n - p + 1, generator) if n > p else -((p - n) // 2) for n, p in zip(space, size, strict=True)
    )


def _filling(case: Case, size: tuple[int, ...], pad: str | float) -> object:
    _require_pad(pad)
    if pad != "minimum" or all(n >= p for n, p in zip(case.space, size, strict=True)):
        return 0.0 if pad == "minimum" else pad
    return lowest(case).reshape(-1, *[1] * len(size))


def _require_pad(pad: str | float) -> None:
    if isinstance(pad, str) and pad not in ("minimum", "edge"):
        raise ValueError(f"pad={pad!r}: pass 'minimum', 'edge' or a number.")


def _require_some_foreground(cases: Sequence[Case]) -> None:
    if not any(class_counts(case)[:, 1:].any() for case in cases):
        raise ValueError(
            f"none of the {len(cases)} labels holds any foreground, but foreground > 0 centres patches on it. Check "
            f"the labels (is the foreground 0?), or pass foreground=0 to draw patches anywhere."
        )
