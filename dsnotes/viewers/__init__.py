"""Looking: slices through a case, training curves, maps at every depth; each leaves one picture in the notebook."""

from dsnotes.viewers.boxes import boxes
from dsnotes.viewers.compared import compared
from dsnotes.viewers.contact_sheet import contact_sheet
from dsnotes.viewers.counted import counted
from dsnotes.viewers.decisions import accepted
from dsnotes.viewers.features import features
from dsnotes.viewers.film import Film
from dsnotes.viewers.linked import linked
from dsnotes.viewers.maps import maps
from dsnotes.viewers.show import show
from dsnotes.viewers.sides import sides
from dsnotes.viewers.table import Table

__all__ = [
    "Film",
    "Table",
    "accepted",
    "boxes",
    "compared",
    "contact_sheet",
    "counted",
    "features",
    "linked",
    "maps",
    "show",
    "sides",
]
