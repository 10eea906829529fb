"""What a network was trained on, kept beside its weights: how an image is prepared and what its labels are called.

task.json is what a prediction of a new scan needs besides the weights.
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

    `window` is how a prediction is put together: patch, overlap, mirror, and `roi` where the network saw regions of
    interest alone. `about` is where the training cases came from.
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
        """What makes the network see a part of each image: such a network has no answer for a whole one."""
        steps = self.preprocessing
        said = {
            "roi": self.window.get("roi"),
            "slices": any(step.slices for step in steps),
            "positive": any(step.positive_slices for step in steps),
            "size": any(step.size for step in steps),
        }
        return tuple(name for name, value in said.items() if value)

    def prepare(self, case: Case) -> Case:
        """The case as the training cases were prepared."""
        for step in self.preprocessing:
            case = step(case)
        return case

    def save(self, folder: Path) -> Path:
        """Write task.json; in one move, so that a kill leaves the old file or the new one."""
        content = asdict(self) | {"labels": {str(value): name for value, name in self.labels.items()}}
        write_text(folder / TASK, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        return folder / TASK


def read_task(folder: Path) -> Task | None:
    """What `Task.save` left there; None where there is none."""
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
        raise ValueError(
            f"{path} does not say how to prepare an image ({error}). Copy the run again, or train it anew."
        ) from error


def task_of(data: Sequence[Case], **more) -> Task:
    """Of a training set: its labels, channels and preprocessing where it is a `Dataset`, else as `more` says."""
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
    """JSON's lists as the tuples they were."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return {key: _tuples(one) for key, one in value.items()} if isinstance(value, dict) else value
