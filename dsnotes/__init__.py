"""Deep-supervision notes: five papers on deeply supervised medical segmentation, to run, inspect, question and change.

These are the names a notebook needs. Each is imported from its subpackage on first use, so that `import dsnotes` is
fast and needs only the libraries that are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsnotes.data import Case, open_case, open_dataset
    from dsnotes.inference import predict, to_label
    from dsnotes.metrics import score
    from dsnotes.networks.wrap import wrap
    from dsnotes.papers import build, systems
    from dsnotes.papers.load import load
    from dsnotes.training.fit import fit
    from dsnotes.training.settings import Settings
    from dsnotes.training.system import System, system
    from dsnotes.viewers import show

__version__ = "0.1.0"
__all__ = [
    "Case",
    "Settings",
    "System",
    "build",
    "fit",
    "load",
    "open_case",
    "open_dataset",
    "predict",
    "score",
    "show",
    "system",
    "systems",
    "to_label",
    "wrap",
]

_HOME = {
    "systems": "dsnotes.papers",
    "build": "dsnotes.papers",
    "load": "dsnotes.papers.load",
    "wrap": "dsnotes.networks.wrap",
    "system": "dsnotes.training.system",
    "System": "dsnotes.training.system",
    "Settings": "dsnotes.training.settings",
    "Case": "dsnotes.data",
    "fit": "dsnotes.training.fit",
    "predict": "dsnotes.inference",
    "to_label": "dsnotes.inference",
    "score": "dsnotes.metrics",
    "show": "dsnotes.viewers",
    "open_case": "dsnotes.data",
    "open_dataset": "dsnotes.data",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(
            f"dsnotes has no {name!r}. It has {', '.join(sorted(_HOME))}; import everything else from its "
            f"subpackage, for instance `from dsnotes.data import phantoms`."
        )
    globals()[name] = found = getattr(import_module(_HOME[name]), name)
    return found


def __dir__() -> list[str]:
    return [*__all__, "__doc__", "__version__"]
