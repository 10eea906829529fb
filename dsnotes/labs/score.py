"""What a lab's own test measures of a submission, for the leaderboard."""

from __future__ import annotations

RECORDED: dict[str, float] = {}


def record(name: str, value: float | int) -> None:
    """Show a figure and keep it: `record("Dice of small tumours", 0.61)`. Counts in the grading process alone."""
    RECORDED[name] = float(value)
    print(f"{name}: {RECORDED[name]:.4f}")
