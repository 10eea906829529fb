"""The plain arguments of `fit`, checked before anything is computed."""

from __future__ import annotations

from numbers import Integral, Real


def check_arguments(*, seed: object, workers: object, prefetch: object, on_epoch: object, memory: object) -> None:
    for name, value, least, example in (("seed", seed, 0, 0), ("workers", workers, 0, 1), ("prefetch", prefetch, 0, 2)):
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(
                f"{name}={value!r} is of type {type(value).__name__}. Pass a whole number: {name}={example}."
            )
        if value < least:
            raise ValueError(
                f"{name}={value} is too small. Pass a whole number from {least} on, such as {name}={example}."
            )
    if on_epoch is not None and not callable(on_epoch):
        raise TypeError(
            f"on_epoch={on_epoch!r} cannot be called. Pass a function of the history, such as on_epoch=print, or None."
        )
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, Real) or not memory > 0):
        raise ValueError(f"memory={memory!r} leaves no room. Pass gigabytes, such as memory=8, or None for no limit.")
