"""Progress of several training runs in one cell: the current one and the time left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TypeVar

from dsnotes.safety.markup import escape
from dsnotes.viewers.notebook_display import DisplayArea

Thing = TypeVar("Thing")
LONG = 90  # seconds; longer times are given in minutes


def progress(things: Iterable[Thing], *, of: str = "trainings") -> Iterator[Thing]:
    """Iterate over `things` with a progress line in the notebook.

    for name, seed in progress(product(systems, range(3))): …
    """
    things, spot, started = list(things), DisplayArea(), monotonic()
    for done, thing in enumerate(things):
        said, spent = f"{done + 1} of {len(things)} {of}: {_called(thing)}", monotonic() - started
        if done:
            said += f"; {_duration(spent)} so far, about {_duration(spent / done * (len(things) - done))} to go"
        spot.put(Line(said, share=done / len(things)))
        yield thing
    spot.put(Line(f"{len(things)} {of} in {_duration(monotonic() - started)}"))


class Line:
    """A line of text, with a progress bar until all is done."""

    def __init__(self, said: str, *, share: float | None = None) -> None:
        self.said, self.share = said, share

    def _repr_html_(self) -> str:
        bar = "" if self.share is None else f'<progress value="{self.share:.3f}" aria-label="done"></progress> '
        return f"<div>{bar}{escape(self.said)}</div>"

    def __repr__(self) -> str:
        return self.said


def _called(thing: object) -> str:
    return ", ".join(map(str, thing)) if isinstance(thing, tuple) else str(thing)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < LONG else f"{seconds / 60:.0f} min"
