"""Progress of several training runs in one cell: the current one, the time so far and the time left."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from time import monotonic
from typing import TypeVar

from dsnotes.safety.markup import escape
from dsnotes.viewers import notebook_display
from dsnotes.viewers.notebook_display import DisplayArea

Thing = TypeVar("Thing")
LONG = 90  # seconds; longer times are given in minutes
BEAT = 4.0  # seconds between two updates of the line


def progress(things: Iterable[Thing], *, of: str = "trainings") -> Iterator[Thing]:
    """Iterate over `things` with a progress line in the notebook, renewed every few seconds.

    for name, seed in progress(product(systems, range(3))): …
    """
    things, spot, started = list(things), DisplayArea(), monotonic()
    for done, thing in enumerate(things):
        said, spent = f"{done + 1} of {len(things)} {of}: {_item_name(thing)}", monotonic() - started
        if done:
            said += f"; {_duration(spent)} so far, about {_duration(spent / done * (len(things) - done))} to go"
        line = Line(said, share=done / len(things))
        spot.put(line)
        with _show_elapsed(spot, line):
            yield thing
    spot.put(Line(f"{len(things)} {of} in {_duration(monotonic() - started)}"))


@contextmanager
def _show_elapsed(spot: DisplayArea, line: Line) -> Iterator[None]:
    """Inside, the line is renewed with the seconds that the current thing has taken."""
    if notebook_display.shell() is None:
        yield
        return
    over, began = threading.Event(), monotonic()

    def renew() -> None:
        while not over.wait(BEAT):
            spot.put(Line(f"{line.said} [{_duration(monotonic() - began)}]", share=line.share))

    thread = threading.Thread(target=copy_context().run, args=(renew,), daemon=True)  # the context names the cell
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Line:
    """A line of text, with a progress bar until all is done."""

    def __init__(self, said: str, *, share: float | None = None) -> None:
        self.said, self.share = said, share

    def _repr_html_(self) -> str:
        bar = "" if self.share is None else f'<progress value="{self.share:.3f}" aria-label="done"></progress> '
        return f"<div>{bar}{escape(self.said)}</div>"

    def __repr__(self) -> str:
        return self.said


def _item_name(thing: object) -> str:
    return ", ".join(map(str, thing)) if isinstance(thing, tuple) else str(thing)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < LONG else f"{seconds / 60:.0f} min"
