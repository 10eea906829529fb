"""Faster imports: garbage collection is off meanwhile, and optional dependencies can be left out.

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
    """Saves a sixth of the time of `import torch`. After an import, later collections skip all objects alive by then.

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
    """Import nbformat, jupytext and papermill without optional parts: jsonschema's check of IRIs, which takes a second
    and which notebooks do not need; Jupyter's server; pyarrow, for files in Hadoop.
    """
    _import_without("nbformat", "rfc3987_syntax")
    _import_without("jupytext", "jupytext.sync_contentsmanager", "jupytext.async_contentsmanager")
    _import_without("papermill.iorw", "pyarrow")


def _import_without(wanted: str, *others: str) -> None:
    """Import `wanted` as if its optional `others` were not installed; those that are loaded stay visible."""
    hidden = [name for name in others if name not in sys.modules] if wanted not in sys.modules else []
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        importlib.import_module(wanted)
    finally:
        for name in hidden:
            del sys.modules[name]
