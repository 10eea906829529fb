"""What a dataset's folder says of itself: in the Decathlon's layout or as nnU-Net's raw data."""

from __future__ import annotations

from pathlib import Path

from dsnotes.data import nnunet
from dsnotes.data.files import require_exists
from dsnotes.data.layout import Layout, read_about, read_decathlon


def read_layout(folder: Path, split: str) -> Layout:
    """Read dataset.json; every file it lists is looked for now, and opened later."""
    require_exists(folder)
    about = read_about(folder)
    if nnunet.is_raw(about):
        return nnunet.read_raw(folder, about, split)
    nnunet.require_not_first_version(folder, about)
    return read_decathlon(folder, about, split)
