"""Prediction for a raw scan: it is prepared like the training cases, predicted, and resampled back to its own grid.

Several systems are averaged. To save memory, the probabilities of all classes are held for one row of windows at a time
if no resampling follows; otherwise large ones are kept in half precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from dsnotes.data.case import Case
from dsnotes.data.resample import Grid, onto
from dsnotes.data.task import Task
from dsnotes.inference.mirror import mirror as mirrored
from dsnotes.inference.network_input import filled_up, images_of, window_size
from dsnotes.inference.rows import finished_rows
from dsnotes.shapes import LabelMap, ProbabilityMap
from dsnotes.training import devices
from dsnotes.training.system import System

LARGE = 2**29  # larger float32 probabilities (in bytes) are kept in half precision
Model = tuple[System, Task]


def predict_scan(
    models: Sequence[Model],
    case: Case,
    *,
    mirror: bool | None = None,
    probabilities: bool = False,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> tuple[LabelMap, ProbabilityMap | None]:
    """The label map of `case` on its own grid and, with `probabilities`, the models' mean (K, *space) probabilities.

    `case` is not preprocessed: each model's task prepares it. With regions, K is the number of regions.
    """
    device = devices.pick(device)
    case = replace(case, label=None)
    task = models[0][1]
    groups = _alike(models)
    if len(groups) == 1 and not probabilities:
        prepared = _prepared(task, case)
        if prepared.space == case.space:
            label = np.empty(_rows_of(case), np.uint8)
            for at, p in _predicted(groups[0], prepared, mirror, device, progress):
                label[at] = to_label_map(p, task.order)
            return label.reshape(case.space), None
    total = None
    for group in groups:
        prepared = _prepared(group[0][1], case)
        p = None
        for at, rows in _predicted(group, prepared, mirror, device, progress):
            if p is None:
                p = np.empty((len(rows), *_rows_of(prepared)), _kind(len(rows) * int(np.prod(prepared.space))))
            p[:, at] = rows
        here, there = Grid(prepared.space, prepared.spacing), Grid(case.space, case.spacing)
        channels = (onto(one.reshape(prepared.space).astype(np.float32), here, there, order=1) for one in p)
        if len(groups) == 1 and not probabilities:
            return to_label_map(channels, task.order), None
        share = len(group) / len(models)
        if total is None:
            total = np.zeros((len(p), *case.space), _kind(len(p) * int(np.prod(case.space))))
        for k, channel in enumerate(channels):
            total[k] += share * channel
    return to_label_map((one.astype(np.float32, copy=False) for one in total), task.order), (
        total.astype(np.float32, copy=False) if probabilities else None
    )


def to_label_map(channels: Iterable[np.ndarray], order: Sequence[int] = ()) -> np.ndarray:
    """The label map from channels in turn: 1 above 0.5, the most probable class, or regions as their labels `order`."""
    label, best = None, None
    for k, p in enumerate(channels):
        if not np.isfinite(p.sum(dtype=np.float64)):
            raise ValueError("the network predicts NaN or infinite values: its weights are damaged. Train it again.")
        if label is None:
            label = np.zeros(p.shape, np.uint8)
        if order:
            np.copyto(label, np.uint8(order[k]), where=p > 0.5)
        elif best is None:
            first = p
            best, larger = p.copy(), np.empty(p.shape, bool)
        else:
            np.greater(p, best, out=larger)
            np.maximum(label, larger.view(np.uint8) * np.uint8(k), out=label)  # faster than copyto with where=
            np.maximum(best, p, out=best)
    if not order and k == 0:
        label = (first > 0.5).astype(np.uint8)
    return label


def _alike(models: Sequence[Model]) -> list[list[Model]]:
    """Group the models that use the same preprocessing and windows, so that they run together."""
    groups: dict[tuple, list[Model]] = {}
    for system, task in models:
        key = (tuple(step.json() for step in task.preprocessing), str(task.window), system.dims, system.settings.patch)
        groups.setdefault((*key, str(getattr(system.network.backbone, "stride", ()))), []).append((system, task))
    return list(groups.values())


def _predicted(group: list[Model], case: Case, mirror: bool | None, device: torch.device, progress: bool):
    """Yield (rows, mean probabilities (K, rows, *rest)) of the group, on the prepared grid."""
    system, task = group[0]
    patch = task.window.get("patch") or None
    images = images_of(system, case)
    patch = window_size(system, images.shape[2:], patch)
    images, inside = filled_up(images, patch)
    mirror = bool(task.window.get("mirror")) if mirror is None else mirror
    for one, _ in group:
        one.network.to(device)
    predictor = _mean([one for one, _ in group], device)
    predictor = mirrored(predictor, range(system.dims)) if mirror else predictor
    how = {"patch": patch, "overlap": task.window.get("overlap", 0.5), "device": device, "progress": progress}
    flat = system.dims == 2
    for at, p in finished_rows(predictor, images, **how):
        if flat:
            yield at, p[(..., *inside)]
            continue
        low, high = max(at.start, inside[0].start), min(at.stop, inside[0].stop)
        if low < high:
            kept = p[:, low - at.start : high - at.start]
            yield slice(low - inside[0].start, high - inside[0].start), kept[(..., *inside[1:])]


def _mean(systems: Sequence[System], device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    half = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)

    def predictor(image: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            first, *others = systems
            total = first.probabilities(image).float()
            for system in others:
                total = total + system.probabilities(image).float()
        return total / len(systems) if others else total

    return predictor


def _prepared(task: Task, case: Case) -> Case:
    """The case prepared for the network; an error if it cannot be resampled back to its own grid."""
    prepared = task.prepare(case) if not task.parts_only else case
    grid = prepared.extras.get("grid")
    back = prepared.space if grid is None else grid.space
    if task.parts_only or back != case.space:
        raise ValueError(
            f"this run was trained on a part of each image ({', '.join(task.parts_only)}), so it cannot predict a "
            f"whole one. Train with spacing= only, without slices=, positive=, size= or roi=."
        )
    return prepared


def _rows_of(case: Case) -> tuple[int, ...]:
    """The grid as (rows, height, width); an image of two axes is one row."""
    return case.space if len(case.space) == 3 else (1, *case.space)


def _kind(numbers: int) -> type:
    return np.float16 if 4 * numbers > LARGE else np.float32
