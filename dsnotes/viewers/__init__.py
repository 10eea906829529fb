"""Figures and viewers: slices of a case, training curves, maps at every depth; each leaves one picture in the cell."""

import warnings

from dsnotes.viewers.architecture import Comparison, SecondDecoder, architecture
from dsnotes.viewers.boxes import boxes
from dsnotes.viewers.contact_sheet import contact_sheet
from dsnotes.viewers.explore import explore
from dsnotes.viewers.features import features
from dsnotes.viewers.guess import Guess
from dsnotes.viewers.maps import maps
from dsnotes.viewers.progress import progress
from dsnotes.viewers.reliability_diagram import reliability_diagram
from dsnotes.viewers.review_log import accepted
from dsnotes.viewers.show import show
from dsnotes.viewers.side_by_side import side_by_side
from dsnotes.viewers.side_outputs import side_outputs
from dsnotes.viewers.significance_table import significance_table
from dsnotes.viewers.table import Table
from dsnotes.viewers.training_movie import TrainingMovie

__all__ = [
    "Comparison",
    "Guess",
    "SecondDecoder",
    "Table",
    "TrainingMovie",
    "accepted",
    "architecture",
    "boxes",
    "contact_sheet",
    "explore",
    "features",
    "maps",
    "progress",
    "reliability_diagram",
    "show",
    "side_by_side",
    "side_outputs",
    "significance_table",
]

_RENAMED = {
    "Film": "TrainingMovie",
    "compared": "significance_table",
    "counted": "progress",
    "linked": "side_by_side",
    "sides": "side_outputs",
}


def __getattr__(name: str) -> object:
    """The names of the previous release, with a warning."""
    if name not in _RENAMED:
        raise AttributeError(f"dsnotes.viewers has no {name!r}. It offers {', '.join(__all__)}.")
    warnings.warn(
        f"dsnotes.viewers.{name} is now called {_RENAMED[name]}; the old name goes with the next release.",
        DeprecationWarning,
        stacklevel=2,
    )
    return globals()[_RENAMED[name]]
