"""Compile a function with numba; import this where it is used, since importing numba takes time."""

from __future__ import annotations

import numba


def kernel(function):
    """Compile; cache the machine code beside the source, else in the user's cache folder, else not at all."""
    options = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz", "arcp"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError as error:
        if "cannot cache function" not in str(error):
            raise
        return numba.njit(**options)(function)  # read-only install without a home folder: compile every time
