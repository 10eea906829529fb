"""The parts of an experiment around training: its cases, its system and settings, every metric in the tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from dsnotes.data import open_dataset, phantoms
from dsnotes.data.case import Case
from dsnotes.data.dataset import Dataset
from dsnotes.inference import at_thresholds, keep_kidneys, remove_small, to_label
from dsnotes.inference.scan import to_label_map
from dsnotes.metrics import confusion, score, slice_errors, tumour_scores
from dsnotes.metrics.overlap import dice_of, ppv_of, sensitivity_of
from dsnotes.metrics.score import counted
from dsnotes.metrics.tumours import SCALES
from dsnotes.papers import build, systems
from dsnotes.papers.protocol import OWN, protocol, under
from dsnotes.runs.results_io import path
from dsnotes.safety.nearest import nearest, suggest
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

PHANTOMS = {
    "lung": (phantoms.lung, {1: "tumour"}),
    "kidneys": (phantoms.kidneys, {1: "kidney", 2: "tumour"}),
    "abdomen": (phantoms.abdomen, {1: "pancreas"}),
    "nodules": (phantoms.nodules, {1: "nodule"}),
}
POSTPROCESS = ("", "kidneys", "small")


def cases_of(
    data: str, *, phantom_cases: int = 20, size: Sequence[int] = (), seed: int = 0
) -> tuple[list[Case] | Dataset, dict]:
    """The cases of a folder, or `phantom_cases` phantoms, and the names of their labels without the background."""
    if data in PHANTOMS:
        make, names = PHANTOMS[data]
        return make(phantom_cases, seed=seed, **({"size": tuple(size)} if size else {})), names
    folder = path(data)
    if not folder.is_dir():
        near = nearest(data, PHANTOMS, 1)
        hint = f"Did you mean the phantoms {near[0]!r}? " if near else ""
        raise ValueError(
            f"data={data!r} is neither a folder (looked at {folder}) nor one of the phantoms {', '.join(PHANTOMS)}. "
            f"{hint}The scripts in data_scripts/ fetch the public datasets into folders."
        )
    found = open_dataset(folder)
    return found, {value: name for value, name in found.labels.items() if value}


def system_of(
    values: Mapping[str, Any],
    *,
    in_channels: int = 1,
    classes: int = 2,
    spacing: Sequence[float] = (),
    regions: Mapping[str, Sequence[int]] | None = None,
    **options,
) -> System:
    """The system for a run's parameters, with the settings and loss of its recipe, overridden by the run's.

    The run's own options override `options`; `regions` are the dataset's. Strides are derived from patch and voxel size
    where a system allows it.
    """
    offered = systems()[values["system"]]
    dims = (values.get("options") or {}).get("dims") or offered["dims"]
    chosen = values.get("recipe") or OWN
    patch = tuple(values.get("patch") or ())[-dims:]
    fitting = {"patch": patch, "spacing": tuple(spacing)[-dims:], "preset": values.get("preset")} | options
    fitting = {key: value for key, value in fitting.items() if value and key in offered["options"]}
    shared = () if chosen == OWN else protocol(chosen).settings.patch[-dims:]
    if side := patch or shared:
        fitting |= {k: v for k, v in {"patch": side, "size": side[-1]}.items() if k in offered["options"]}
    width = {"width": values["width"]} if values.get("width") else {}
    given = fitting | {key: _tuple(value) for key, value in (values.get("options") or {}).items()}
    sizes = {"in_channels": in_channels, "classes": classes, **width}
    system = build(values["system"], **sizes, **({"regions": regions} if regions else {}), **given)
    system = under(system, chosen, values.get("loss") or "")
    own = {key: values.get(key) for key in ("batch", "epochs", "iterations", "lr")}
    settings = settings_of(system, values.get("settings") or {}, patch=patch or shared, **own)
    return replace(system, settings=replace(settings, augment=values.get("augment") or settings.augment))


def settings_of(system: System, more: Mapping[str, Any], **given: Any) -> Settings:
    """The system's settings, replaced by values given that are neither empty nor 0; `more` replaces any field."""
    known = {field.name for field in fields(Settings)}
    for name in more:
        if name not in known:
            raise ValueError(f"settings has no {name!r}; {suggest(name, sorted(known))}.")
    asked = {name: value for name, value in given.items() if value} | dict(more)
    return replace(system.settings, **{key: _tuple(value) for key, value in asked.items()})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def label_of(p: np.ndarray, order: Sequence[int] = ()) -> np.ndarray:
    """The label map of a case's probabilities; regions are written one over the other as `order` says."""
    return to_label_map(p, order) if order else to_label(p)


def cleaned(label: np.ndarray, how: str) -> np.ndarray:
    """ "kidneys": at most two, with their tumours; "small": opened, no piece below 64 voxels; "": as it is."""
    if how not in POSTPROCESS:
        raise ValueError(f"postprocess={how!r} is unknown. Choose one of {POSTPROCESS}.")
    return {"": lambda x: x, "kidneys": keep_kidneys, "small": remove_small}[how](label)


def figures(
    p: np.ndarray,
    case: Case,
    *,
    names: Mapping[int, str] | None = None,
    postprocess: str = "",
    thresholds: Sequence[float | str] = (),
    regions: Mapping[str, Sequence[int]] | None = None,
    order: Sequence[int] = (),
    eps: float = 0,
) -> dict[str, float]:
    """Every metric of a case that a table needs, from its probabilities.

    "dice" … of `dsnotes.score`, per class if there are several; tp, fp, fn for a pooled F1; for volumes with one
    foreground also "dice_large" … (the case's mean over its tumours of that size), "dice_tumour_slices" and
    "dice_all_slices" …, "false_positives" and "false_negatives" (slices), and at each threshold "dice@0.6" …

    `regions` scores unions of classes, such as {"kidney_and_tumour": [1, 2]}; "dice" … are then their means. `eps` is
    added to numerator and denominator of each score. A case with several readers also gets "dice_reader_1" …
    For probabilities of regions, `order` is the label value that each is saved as (`Dataset.order`). Voxels that the
    case ignores (extras["valid"]) do not count.
    """
    label = cleaned(label_of(p, order), postprocess)
    valid = case.extras.get("valid")
    if valid is not None:
        label, case = counted(label, valid), replace(case, label=counted(case.label, valid))
    how = {"spacing": case.spacing, "eps": eps, "valid": valid}
    found = {} if order else score(label, case.label, labels={0: "background", **names} if names else None, **how)
    found |= of_readers(label, case.extras["readers"], eps=eps) if "readers" in case.extras else {}
    found |= score(label, case.label, regions=regions, **how) if regions else {}
    counts = confusion(label > 0, case.label > 0)
    found |= {"tp": counts.tp, "fp": counts.fp, "fn": counts.fn}
    if len(p) > 1 or order or label.ndim < 3:
        return found
    found |= of_scales(label, case) | of_slices(label, case)
    if thresholds:
        voxels, opening = (64, 1) if postprocess == "small" else (0, 0)
        numbers = [t for t in thresholds if t != "none"]
        seen = p[0] if valid is None else counted(p[0], valid)
        found |= without_threshold(seen, case) if "none" in thresholds else {}
        for t, marked in (
            at_thresholds(p, thresholds=numbers, voxels=voxels, opening=opening).items() if numbers else ()
        ):
            marked = marked if valid is None else counted(marked, valid)
            errors = slice_errors(marked > 0, case.label > 0)
            found[f"dice@{t:g}"] = dice_of(confusion(marked > 0, case.label > 0))
            found[f"false_positives@{t:g}"] = errors.false_positives
            found[f"false_negatives@{t:g}"] = errors.false_negatives
    return found


def of_readers(label: np.ndarray, readers: np.ndarray, *, eps: float = 0) -> dict[str, float]:
    """The Dice with each reader separately: "dice_reader_1" …"""
    counts = [confusion(label > 0, drawn > 0) for drawn in readers]
    return {f"dice_reader_{number}": dice_of(each, eps=eps) for number, each in enumerate(counts, start=1)}


def without_threshold(p: np.ndarray, case: Case) -> dict[str, float]:
    """Our reading of Table 12's "no threshold": the Dice of the probabilities in 8-bit precision.

    2 Σ p t / (Σ p + Σ t); a slice counts as marked if any p is at least 1/255. The paper does not define it.
    """
    grey = np.where(p * 255 >= 1, p, 0)
    truth = case.label > 0
    whole = float(grey.sum() + truth.sum())
    errors = slice_errors(grey > 0, truth)
    return {
        "dice@none": 2 * float(grey[truth].sum()) / whole if whole else 1.0,
        "false_positives@none": errors.false_positives,
        "false_negatives@none": errors.false_negatives,
    }


def of_scales(label: np.ndarray, case: Case) -> dict[str, float]:
    """Means over the tumours of each size, and their pooled voxels; sizes that the case lacks are absent."""
    found: dict[str, float] = {}
    voxel = math.prod(float(mm) for mm in case.spacing)
    tumours = tumour_scores(label > 0, case.label > 0, spacing=case.spacing)
    for scale in SCALES:
        own = [tumour for tumour in tumours if tumour.scale == scale]
        if not own:
            continue
        for name in ("dice", "ppv", "sensitivity"):
            found[f"{name}_{scale}"] = float(np.mean([getattr(tumour, name) for tumour in own]))
        tp = fp = fn = 0
        for tumour in own:  # recover the voxel counts from its diameter and its ratios
            present = round(math.pi / 6 * tumour.diameter_mm**3 / voxel)
            hit = round(tumour.sensitivity * present)
            tp, fn, fp = tp + hit, fn + present - hit, fp + (round(hit / tumour.ppv) - hit if hit else 0)
        found |= {f"tp_{scale}": tp, f"fp_{scale}": fp, f"fn_{scale}": fn}
    return found


def of_slices(label: np.ndarray, case: Case) -> dict[str, float]:
    """The case's means over its slices with a tumour, and over those with a tumour or a mark."""
    pairs = list(zip(label > 0, case.label > 0, strict=True))
    errors = slice_errors(label > 0, case.label > 0)
    found: dict[str, float] = {
        "false_positives": errors.false_positives,
        "false_negatives": errors.false_negatives,
    }
    for of, seen in (
        ("tumour_slices", [confusion(p, t) for p, t in pairs if t.any()]),
        ("all_slices", [confusion(p, t) for p, t in pairs if t.any() or p.any()]),
    ):
        if not seen:
            continue
        found[f"dice_{of}"] = float(np.mean([dice_of(c) for c in seen]))
        found[f"ppv_{of}"] = float(np.mean([ppv_of(c) if c.tp + c.fp else 0.0 for c in seen]))
        if present := [c for c in seen if c.tp + c.fn]:
            found[f"sensitivity_{of}"] = float(np.mean([sensitivity_of(c) for c in present]))
        for name in ("tp", "fp", "fn"):
            found[f"{name}_{of}"] = sum(getattr(c, name) for c in seen)
    return found
