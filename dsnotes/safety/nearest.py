"""The known names nearest to a misspelt one, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: object, known: Iterable[object], n: int = 3, *, cutoff: float = 0.4) -> list[str]:
    """Up to `n` known names, best first, ignoring case; `cutoff=0` always finds some."""
    names = list(dict.fromkeys(map(str, known)))
    by_letter = {one.lower(): one for one in reversed(names)}
    found = difflib.get_close_matches(str(name).lower(), by_letter, n=n, cutoff=cutoff)
    return [by_letter[one] for one in found]


def suggest(name: object, known: Iterable[object], n: int = 3) -> str:
    """The end of a message: "the nearest is a", "the nearest are a, b" or, if none is near, "there are a, b, c"."""
    known = list(map(str, known))
    near = nearest(name, known, n)
    if near:
        return f"the nearest {'is' if len(near) == 1 else 'are'} {', '.join(near)}"
    return f"there are {', '.join(known)}" if known else "there are none"
