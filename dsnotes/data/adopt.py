"""Turn a user's folder of images into a dataset: find the cases, check each one, and only then write.

found = understand("scans", labels={"1": "kidney"});  print(found);  write(found, "data/mine")
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dsnotes.data.candidates import Candidate, Candidates, find, place
from dsnotes.data.files import save_label
from dsnotes.data.geometry import Geometry

OFF_AXIS = 0.02  # a direction cosine this far from 0 and 1 makes an image oblique


@dataclass(frozen=True)
class Checked:
    """Findings about one case. `voxels`: label value -> number of voxels."""

    candidate: Candidate
    size: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    axes: str = ""
    channels: int = 0
    voxels: dict[int, int] = field(default_factory=dict)
    note: str = ""
    wrong: str = ""


@dataclass(frozen=True)
class Understood:
    """Findings about a folder; printing it shows them as a table. `renumbered`: value in the files -> value written."""

    source: Path
    layout: str
    cases: tuple[Checked, ...]
    labels: dict[int, str]  # as written, background first, "ignore" last
    modality: tuple[str, ...]
    renumbered: dict[int, int]
    regions: dict[str, tuple[int, ...]]
    order: tuple[int, ...]
    unpaired: dict[Path, str]
    wrong: tuple[str, ...]  # problems to solve before writing
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def understand(
    folder: str | os.PathLike,
    *,
    label_folder: str | os.PathLike | None = None,
    labels: Mapping[str, str] | Mapping[int, str] | None = None,
    channels: Mapping[int, str] | None = None,
    leave_out: Sequence[str] = (),
    regions: Mapping[str, Sequence[int]] | None = None,
) -> Understood:
    """Check every case of a folder without writing anything; `labels` names the label values in the files.

    For RTSTRUCT and SEG the keys of `labels` are the names of their regions. A value named "ignore" is left out of all
    losses and scores. `channels` renames the channels; `leave_out` names cases to leave out.
    `regions` (name -> label values of the files) replace the labels in training; they may overlap, and a region inside
    another must come after it.
    """
    source = Path(folder)
    given = {str(key): name for key, name in (labels or {}).items()}
    found = find(source, None if label_folder is None else Path(label_folder), given)
    names = {case.name for case in found.cases} | set(found.wrong)
    if unknown := sorted(set(leave_out) - names):
        raise ValueError(f"there is no case {', '.join(unknown)}. The cases are {', '.join(sorted(names)[:8])}.")
    found.cases = [case for case in found.cases if case.name not in leave_out]
    found.wrong = {name: why for name, why in found.wrong.items() if name not in leave_out}
    named = _label_names(found, given)
    if regions:
        found.regions, found.order = _regions(regions, named, found.ignore)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        cases = tuple(pool.map(_check_candidate, (case for case in found.cases if case.name not in found.wrong)))
    renumbered, names_written = _renumber_labels(named, found)
    cases = tuple(_with_notes(case, named, found.ignore) for case in cases)
    wrong = tuple(_problems(found, cases, named))
    modality = list(found.modality)
    for number, name in (channels or {}).items():
        if not 0 <= number < len(modality):
            raise ValueError(f"channel {number} is named {name!r}, but channels are numbered 0 to {len(modality) - 1}.")
        modality[number] = name
    return Understood(
        source,
        found.layout,
        cases,
        names_written,
        tuple(modality),
        renumbered,
        {name: tuple(renumbered[value] for value in values) for name, values in found.regions.items()},
        tuple(renumbered[value] for value in found.order),
        found.unpaired,
        wrong,
        tuple(_notes(cases, named)),
    )


def write(found: Understood, output: str | os.PathLike, *, link: bool = False) -> Path:
    """Write the dataset in the Decathlon layout to `output`, a new or empty folder; all of it or nothing."""
    output = Path(output)
    require_new(output)
    if found.wrong:
        raise ValueError("nothing was written:\n" + "\n".join(f"  {line}" for line in found.wrong))
    part = output.with_name(f"{output.name}.part-{os.getpid()}")
    try:
        training = [_write_case(case, found, part, link=link) for case in found.cases]
        about = {
            "name": output.name,
            "source": f"{found.layout} in {found.source.absolute().name}",
            "modality": {str(number): name for number, name in enumerate(found.modality)},
            "labels": {str(value): name for value, name in found.labels.items()},
            **({"regions": {k: list(v) for k, v in found.regions.items()}} if found.regions else {}),
            **({"regions_class_order": list(found.order)} if found.regions else {}),
            "numTraining": len(training),
            "training": training,
            "test": [],
        }
        (part / "dataset.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if output.is_dir():
            output.rmdir()  # empty, as was checked
        part.rename(output)
    except OSError as error:
        remedy = "Pass --copy: links need a permission here" if link and os.name == "nt" else "Free some space"
        raise OSError(f"{output} cannot be written ({error.strerror or error}). {remedy}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return output


def require_new(output: Path) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output} exists and is not empty. Pass another --output, or move it away.")


def _label_names(found: Candidates, given: dict[str, str]) -> dict[int, str]:
    """Value in the files -> name; names passed by the user override those of dataset.json."""
    named = dict(found.labels) or {0: "background"}
    if found.ignore is not None:
        named[found.ignore] = "ignore"
    regions = {case_values for case in found.cases for case_values in getattr(case, "values", {})}
    for text, name in given.items():
        if text in regions:
            continue
        if not text.isdigit():
            known = f", or one of the regions {', '.join(sorted(regions))}" if regions else ""
            raise ValueError(f"label {text}={name}: {text!r} is not a label value. Write 1={name}{known}.")
        named[int(text)] = name
    if found.ignore is None:
        found.ignore = next((value for value, name in named.items() if name == "ignore"), None)
    return dict(sorted(named.items()))


def _regions(
    given: Mapping[str, Sequence[int]], named: dict[int, str], ignore: int | None
) -> tuple[dict[str, tuple[int, ...]], tuple[int, ...]]:
    """The regions, and the label that each is written as: the one that no later region contains."""
    regions = {name: tuple(dict.fromkeys(map(int, values))) for name, values in given.items()}
    order = []
    for number, (name, values) in enumerate(regions.items(), start=1):
        if unknown := [value for value in values if value in (0, ignore) or value not in named]:
            raise ValueError(
                f"region {name} joins {unknown}; the labels are {', '.join(f'{v} {n}' for v, n in named.items() if v)}."
                f" Name each value with --label first; 0 and ignore belong to no region."
            )
        later = {value for others in list(regions.values())[number:] for value in others}
        own = [value for value in values if value not in later]
        if len(own) != 1:
            raise ValueError(
                f"region {name} has {len(own)} labels that no later region contains ({own}); needed is exactly one, "
                f"as which it is written. Give the largest region first, then the regions inside it, such as "
                f"--region 'whole tumour=1,2,3' --region 'core=2,3' --region 'enhancing=3'."
            )
        order += own
    return regions, tuple(order)


def _renumber_labels(named: dict[int, str], found: Candidates) -> tuple[dict[int, int], dict[int, str]]:
    """Renumber labels to 0, 1, 2, … without gaps, "ignore" last."""
    values = [value for value in named if value != found.ignore] + ([] if found.ignore is None else [found.ignore])
    renumbered = {value: number for number, value in enumerate(values)}
    return renumbered, {number: named[value] for value, number in renumbered.items()}


def _check_candidate(candidate: Candidate) -> Checked:
    try:
        case = candidate.open()
    except (ValueError, OSError) as error:
        return Checked(candidate, wrong=str(error))
    geometry: Geometry = case.extras["geometry"]
    values, counts = np.unique(case.label, return_counts=True)
    shared = case.extras.get("shared")
    return Checked(
        candidate,
        case.space,
        case.spacing,
        _axes(geometry),
        case.channels,
        dict(zip(map(int, values), map(int, counts), strict=True)),
        note=f"{shared} voxels lie in two regions and take the later one" if shared else "",
    )


def _axes(geometry: Geometry) -> str:
    """Directions of the file's axes, such as LPS (left, posterior, superior); empty in 2-D."""
    n = len(geometry.size)
    if n < 3:
        return "2-D"
    towards = np.array(geometry.direction).reshape(n, n)
    letters = ("RL", "AP", "IS")
    largest = np.abs(towards).argmax(0)
    code = "".join(letters[axis][int(towards[axis, k] > 0)] for k, axis in enumerate(largest))
    oblique = np.abs(np.abs(towards) - np.eye(n)[:, largest]).max() > OFF_AXIS
    return f"{code} oblique" if oblique else code


def _with_notes(case: Checked, named: dict[int, str], ignore: int | None) -> Checked:
    if case.wrong:
        return case
    notes = [case.note] if case.note else []
    if not any(value not in (0, ignore) for value in case.voxels):
        notes.append("empty label")
    if unnamed := [value for value in case.voxels if value not in named]:
        notes.append(f"label {', '.join(map(str, unnamed))} has no name")
    return replace(case, note="; ".join(notes))


def _problems(found: Candidates, cases: Sequence[Checked], named: dict[int, str]) -> list[str]:
    lines = [f"case {name}: {why}." for name, why in found.wrong.items()]
    lines += [f"case {case.candidate.name}: {case.wrong}" for case in cases if case.wrong]
    unnamed = Counter(value for case in cases for value in case.voxels if value not in named)
    if unnamed:
        held = ", ".join(f"{value} (in {count} cases)" for value, count in sorted(unnamed.items()))
        typed = " ".join(f"--label {value}=NAME" for value in sorted(unnamed))
        lines.append(f"labels without a name: {held}. Add {typed}; the name ignore leaves a label out of all scores.")
    channels = Counter(case.channels for case in cases if not case.wrong)
    if len(channels) > 1:
        usual = channels.most_common(1)[0][0]
        odd = [case.candidate.name for case in cases if not case.wrong and case.channels != usual]
        lines.append(f"{', '.join(odd)}: not {usual} channels like the other cases. Give all cases the same channels.")
    elif channels and next(iter(channels)) != len(found.modality):
        if found.layout == "pairs by name":
            found.modality = tuple(f"channel {number}" for number in range(next(iter(channels))))
        else:
            lines.append(f"the images have {next(iter(channels))} channels, dataset.json names {len(found.modality)}.")
    if len({len(case.size) for case in cases if not case.wrong}) > 1:
        lines.append("some cases are 2-D, others volumes. Adopt them separately.")
    if not cases and not found.wrong:
        lines.append(
            "no image could be paired with a label. Name them alike (case01.nii.gz with case01_seg.nii.gz), put them "
            "in images/ and labels/, or pass the folder of the labels with --labels."
        )
    return lines


def _notes(cases: Sequence[Checked], named: dict[int, str]) -> list[str]:
    good = [case for case in cases if not case.wrong]
    notes = []
    for value, name in named.items():
        if value and good and not any(value in case.voxels for case in good):
            notes.append(f"label {value} ({name}) occurs in no case")
    axes = Counter(case.axes for case in good)
    if len(axes) > 1:
        told = ", ".join(f"{count} {code}" for code, count in axes.most_common())
        notes.append(f"the files differ in orientation ({told}); dsnotes opens all of them in one orientation")
    if good and len(good[0].spacing) == 3:
        spacings = np.array([case.spacing for case in good])
        if (spacings.max(0) > 1.5 * spacings.min(0)).any():
            low, high = ("×".join(f"{mm:.3g}" for mm in of) for of in (spacings.min(0), spacings.max(0)))
            notes.append(f"spacing varies widely, from {low} to {high} mm: train with -p 'spacing=…'")
    if empty := [case.candidate.name for case in good if "empty label" in case.note]:
        notes.append(f"{len(empty)} of {len(good)} labels are empty: {', '.join(empty[:5])}")
    return notes


def _write_case(case: Checked, found: Understood, part: Path, *, link: bool) -> dict:
    candidate = case.candidate
    images = candidate.place_images(part / "imagesTr", link=link)
    same = all(found.renumbered[value] == value for value in case.voxels)
    if same and type(candidate) is Candidate:
        ending = ".nii.gz" if candidate.label.name.lower().endswith(".nii.gz") else candidate.label.suffix
        label = place(candidate.label, part / "labelsTr" / f"{candidate.name}{ending}", link=link)
    else:
        opened = candidate.open()
        table = np.zeros(256, np.uint8)
        for old, new in found.renumbered.items():
            table[old] = new
        ending = ".png" if len(case.size) == 2 else ".nii.gz"
        label = save_label(part / "labelsTr" / f"{candidate.name}{ending}", table[opened.label], opened)
    relative = [f"./{path.relative_to(part).as_posix()}" for path in images]
    return {
        "image": relative[0] if len(relative) == 1 else relative,
        "label": f"./{label.relative_to(part).as_posix()}",
    }


def _lines(found: Understood):
    rows = [("case", "image", "label", "voxels", "mm", "axes", "label values", "note")]
    for case in found.cases:
        images = ", ".join(path.name for path in case.candidate.images)
        rows.append(
            (
                case.candidate.name,
                images,
                case.candidate.label.name,
                "×".join(map(str, case.size)),
                "×".join(f"{mm:.4g}" for mm in case.spacing),
                case.axes,
                " ".join(f"{value}:{count}" for value, count in case.voxels.items() if value),
                "WRONG, see below" if case.wrong else case.note,
            )
        )
    wide = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    yield f"{found.source}: {found.layout}, {len(found.cases)} cases"
    yield ""
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, wide, strict=True)).rstrip()
    yield ""
    yield "labels:   " + ", ".join(
        f"{value} {name}" + "".join(f" (was {old})" for old, new in found.renumbered.items() if new == value != old)
        for value, name in found.labels.items()
    )
    for name, values in found.regions.items():
        yield f"region:   {name} = labels {', '.join(map(str, values))}"
    yield "channels: " + ", ".join(f"{number} {name}" for number, name in enumerate(found.modality))
    for path, why in found.unpaired.items():
        yield f"left out: {path}: {why}"
    yield from (f"note:     {line}" for line in found.notes)
    yield from (f"wrong:    {line}" for line in found.wrong)
