"""One batch, one change of the weights."""

from __future__ import annotations

from typing import Protocol


class Step(Protocol):
    """What `fit` calls for every batch."""


class PlainStep:
    """Forward, backward, step."""
