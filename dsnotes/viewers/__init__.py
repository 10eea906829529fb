"""Looking: slices through a case, training curves, maps at every depth; each leaves one picture in the notebook."""

from dsnotes.viewers.boxes import boxes
from dsnotes.viewers.maps import maps
from dsnotes.viewers.show import show
from dsnotes.viewers.table import Table

__all__ = ["Table", "boxes", "maps", "show"]
