"""Stored results on real images, for readers who have none; `benchmarks/real_images.py` made them.

results = real_images("mss_unet")
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple


class RealImages(NamedTuple):
    """Mean Dice of the test cases and its standard deviation over them, by system; `file` is in benchmarks/results."""

    images: str
    budget: str
    seeds: int
    cases: int  # tested
    file: str
    rows: dict[str, tuple[float, float]]

    @property
    def title(self) -> str:
        plural = "s" * (self.seeds > 1)
        return f"Stored: {self.images}, {self.cases} test cases, {self.seeds} seed{plural}, {self.budget}"


def real_images(paper: str) -> RealImages:
    """The stored results of a paper's systems."""
    stored = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    if paper not in stored:
        raise ValueError(f"no results on real images are stored for {paper!r}. There are {sorted(stored)}.")
    found = stored[paper]
    return RealImages(**found | {"rows": {name: tuple(values) for name, values in found["rows"].items()}})
