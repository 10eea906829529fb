"""Cases from files, folders and phantoms; how they are prepared, cut into patches, augmented and split."""

from dsnotes.data.case import Case
from dsnotes.data.dataset import Dataset, open_dataset
from dsnotes.data.files import open_case, save_label, save_volume

__all__ = ["Case", "Dataset", "open_case", "open_dataset", "save_label", "save_volume"]
