"""Imports that cost less: without garbage collection, and without what a library can do without.

An import makes a million objects that all stay, and the collector looks through them many times.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Saves a sixth of the time of `import torch`, and later collections no longer look through what it made.

    Collection is on again afterwards if it was before.
    """
    on, modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > modules:
            gc.freeze()
        if on:
            gc.enable()


def import_notebook_libraries() -> None:
    """nbformat without jsonschema's check of IRIs, whose 38 grammars take a second and of which notebooks contain none;
    jupytext without Jupyter's server, papermill without Hadoop's files.
    """
    _import_without("nbformat", "rfc3987_syntax")
    _import_without("jupytext", "jupytext.sync_contentsmanager", "jupytext.async_contentsmanager")
    _import_without("papermill.iorw", "pyarrow")


def _import_without(wanted: str, *others: str) -> None:
    """Import `wanted`, which can do without the `others`, as if they were not installed; those that are loaded stay."""
    hidden = [name for name in others if name not in sys.modules] if wanted not in sys.modules else []
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        importlib.import_module(wanted)
    finally:
        for name in hidden:
            del sys.modules[name]
