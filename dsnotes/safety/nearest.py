"""The names nearest to a wrong one, for the message that refuses it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: object, known: Iterable[object], n: int = 3, *, cutoff: float = 0.4) -> list[str]:
    """Up to `n` of the known names, best first, whatever their capitals; a `cutoff` of 0 gives the best there are."""
    names = list(dict.fromkeys(map(str, known)))
    by_letter = {one.lower(): one for one in reversed(names)}
    found = difflib.get_close_matches(str(name).lower(), by_letter, n=n, cutoff=cutoff)
    return [by_letter[one] for one in found]


def suggest(name: object, known: Iterable[object], n: int = 3) -> str:
    """The end of a message: "the nearest is a", "the nearest are a, b", or else "there are a, b, c"."""
    known = list(map(str, known))
    near = nearest(name, known, n)
    if near:
        return f"the nearest {'is' if len(near) == 1 else 'are'} {', '.join(near)}"
    return f"there are {', '.join(known)}" if known else "there are none"
