"""task.json, saved beside the weights: how to preprocess an image and what the labels are called.

With it and the weights, a trained network can predict a new scan.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from dsnotes.data.case import Case
from dsnotes.data.preprocess import Preprocess
from dsnotes.safety.atomic import write_text

TASK = "task.json"


@dataclass(frozen=True)
class Task:
    """`labels`: value -> name, background first; `regions`, `order`, `ignore` as in `Dataset`, empty where it has none.

    `window` sets the sliding-window prediction: patch, overlap, mirror, and `roi` if the network was trained on regions
    of interest only. `about` tells the source of the training cases.
    """

    labels: dict[int, str]
    channels: tuple[str, ...] = ("image",)
    preprocessing: tuple[Preprocess, ...] = ()
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    order: tuple[int, ...] = ()
    ignore: int | None = None
    postprocess: str = ""
    window: dict = field(default_factory=dict)
    about: dict = field(default_factory=dict)

    @property
    def parts_only(self) -> tuple[str, ...]:
        """Settings with which the network was trained on parts of images; it cannot predict whole ones then."""
        steps = self.preprocessing
        said = {
            "roi": self.window.get("roi"),
            "slices": any(step.slices for step in steps),
            "positive": any(step.positive_slices for step in steps),
            "size": any(step.size for step in steps),
        }
        return tuple(name for name, value in said.items() if value)

    def prepare(self, case: Case) -> Case:
        """Preprocess a case like the training cases."""
        for step in self.preprocessing:
            case = step(case)
        return case

    def save(self, folder: Path) -> Path:
        """Write task.json atomically."""
        content = asdict(self) | {"labels": {str(value): name for value, name in self.labels.items()}}
        write_text(folder / TASK, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        return folder / TASK


def read_task(folder: Path) -> Task | None:
    """Read task.json; None if there is none."""
    path = Path(folder) / TASK
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content = {one.name: _tuples(content[one.name]) for one in fields(Task) if one.name in content}
        content["labels"] = {int(value): name for value, name in content["labels"].items()}
        content["preprocessing"] = tuple(Preprocess(**step) for step in content.get("preprocessing", ()))
        return Task(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read ({error}). Copy the run's folder again, or train again.") from error


def task_of(data: Sequence[Case], **more) -> Task:
    """The task of a training set: labels, channels and preprocessing of a `Dataset`; `more` adds or overrides."""
    found = {
        "labels": getattr(data, "labels", None),
        "channels": getattr(data, "modality", None),
        "preprocessing": getattr(data, "steps", None),
        "regions": getattr(data, "regions", None),
        "order": getattr(data, "order", None),
        "ignore": getattr(data, "ignore", None),
    }
    return Task(**{name: value for name, value in found.items() if value is not None} | more)


def _tuples(value: object) -> object:
    """Turn JSON lists back into tuples."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return {key: _tuples(one) for key, one in value.items()} if isinstance(value, dict) else value
