"""Accept any dataset: a sequence of cases, of {"image", "label"} dicts or of (image, label) pairs.

`fit` and `validate` work on cases; other items are converted when they are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsnotes.data.case import Case
from dsnotes.data.conversion import as_array
from dsnotes.data.dataset import Dataset

EXAMPLE = "dsnotes.Case.from_arrays(image, label, spacing=(1.0, 1.0))"


def as_cases(name: str, cases: object, *, dims: int, channels: int) -> Sequence[Case]:
    """The dataset as a sequence of cases, or an error that says what to pass; it needs a length and an index.

    `dims` and `channels` are the network's; they tell channels from axes in an array that comes without a spacing.
    """
    _check_indexed(name, cases)
    if isinstance(cases, Dataset) or not len(cases):
        return cases
    if isinstance(cases, list | tuple):
        if all(isinstance(case, Case) for case in cases):
            return cases
        return [as_case(case, f"{name}[{place}]", dims=dims, channels=channels) for place, case in enumerate(cases)]
    first = cases[0]
    as_case(first, f"{name}[0]", dims=dims, channels=channels)
    return cases if isinstance(first, Case) and isinstance(cases, Sequence) else Converted(cases, name, dims, channels)


def as_case(item: object, what: str, *, dims: int, channels: int) -> Case:
    """One item of a dataset as a case."""
    if isinstance(item, Case):
        return item
    if isinstance(item, Mapping):
        if "image" not in item or "label" not in item:
            raise TypeError(
                f"{what} is a dict with the keys {list(item)}; needed are 'image' and 'label' (and 'spacing', in mm). "
                f"Rename the keys, or return cases: {EXAMPLE}."
            )
        parts = dict(item)
    elif isinstance(item, tuple | list) and len(item) == 2:
        parts = {"image": item[0], "label": item[1]}
    else:
        raise TypeError(
            f"{what} is a {type(item).__name__}, not a case. Convert each item: {EXAMPLE}, or read files with "
            f"dsnotes.open_case."
        )
    image = as_array(parts["image"], f"{what}: the image", example="an array or a tensor")
    spacing = parts.get("spacing")
    if spacing is None:
        if image.ndim != dims and not (image.ndim == dims + 1 and len(image) == channels):
            axes = ", ".join(("depth", "height", "width")[-dims:])
            raise ValueError(
                f"{what}: an image of shape {image.shape} came without a spacing, and the network is {dims}-D with "
                f"in_channels={channels}. Bring it to ({channels}, {axes}), or say which axes are space by their "
                f"millimetres: {{'image': …, 'label': …, 'spacing': {(1.0,) * max(2, min(image.ndim, 3))}}}."
            )
        spacing = (1.0,) * dims
    title = parts.get("name", what)
    return Case.from_arrays(image, parts["label"], spacing=spacing, name=title if isinstance(title, str) else what)


@dataclass(frozen=True)
class Converted(Sequence[Case]):
    """A dataset whose items become cases when they are read."""

    items: Any  # anything with a length and an index
    name: str
    dims: int
    channels: int

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> Case:
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        return as_case(self.items[place], f"{self.name}[{place}]", dims=self.dims, channels=self.channels)


def _check_indexed(name: str, cases: object) -> None:
    if isinstance(cases, Case):
        raise TypeError(f"{name} is a single case, {cases.name!r}. Pass a list: {name}=[case].")
    if isinstance(cases, str | Path):
        raise TypeError(f"{name}={str(cases)!r} is a path. Open it first: dsnotes.open_dataset({str(cases)!r}).")
    if hasattr(cases, "dataset") and hasattr(cases, "batch_size"):
        raise TypeError(
            f"{name} is a DataLoader, but fit draws the batches itself (Settings.batch, workers=). Pass its dataset: "
            f"{name}=loader.dataset, of cases, of {{'image', 'label'}} dicts or of (image, label) pairs."
        )
    if isinstance(cases, Mapping) or not (hasattr(cases, "__len__") and hasattr(cases, "__getitem__")):
        raise TypeError(
            f"{name} is a {type(cases).__name__}, but every epoch reads the cases again. Pass them as a list: "
            f"{name}=list(cases{'.values()' if isinstance(cases, Mapping) else ''})."
        )
