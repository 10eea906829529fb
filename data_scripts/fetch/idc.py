"""Fetch series from the Imaging Data Commons with idc-index, and check that they arrived completely.

idc-index cannot combine ids, raises no error when a download fails and adds machine-made annotations to a patient. So
series are selected here, fetched by id, and counted: files against instanceCount, bytes against the size.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fetch import download as http
from fetch.download import DownloadError, require_space

PATIENCE = 3  # s5cmd itself tries each file ten times
COLUMNS = {
    "PatientID": "patient",
    "StudyInstanceUID": "study",
    "SeriesInstanceUID": "uid",
    "Modality": "modality",
    "SeriesDescription": "description",
    "instanceCount": "files",
    "series_size_MB": "megabytes",
}


@dataclass(frozen=True)
class Series:
    """A row of the index; its sizes are decimal megabytes, exact to the byte."""

    patient: str
    study: str
    uid: str
    modality: str
    description: str
    files: int
    megabytes: float

    @property
    def bytes(self) -> int:
        return round(self.megabytes * 1e6)


def listed(collection: str, modalities: Sequence[str]) -> list[Series]:
    """The original series of a collection (no analysis results), smallest first."""
    import idc_index_data
    import pyarrow.parquet as parquet

    rows = parquet.read_table(
        idc_index_data.IDC_INDEX_PARQUET_FILEPATH,
        columns=[*COLUMNS, "analysis_result_id"],
        filters=[("collection_id", "=", collection), ("Modality", "in", list(modalities))],
    ).to_pylist()
    series = [
        Series(**{ours: row[theirs] if row[theirs] is not None else "" for theirs, ours in COLUMNS.items()})
        for row in rows
        if not row["analysis_result_id"]
    ]
    return sorted(series, key=lambda one: (one.megabytes, one.uid))


def fetch(series: Sequence[Series], folder: Path) -> dict[str, list[Path]]:
    """uid -> files, each series in its own folder, which is renamed when complete."""
    growing = folder / "part-idc"
    wanted = [one for one in series if not (folder / one.uid).is_dir()]
    if wanted:
        require_space(folder, sum(one.bytes for one in wanted), f"{len(wanted)} DICOM series")
    for attempt in range(PATIENCE):
        if not wanted:
            break
        if attempt:
            http.pause(2.0**attempt)
        growing.mkdir(parents=True, exist_ok=True)
        _client().download_from_selection(
            downloadDir=str(growing),
            seriesInstanceUID=[one.uid for one in wanted],
            dirTemplate="%SeriesInstanceUID",
            use_s5cmd_sync=True,  # resumes an earlier attempt
            show_progress_bar=True,
        )
        for one in wanted:
            if not _lacks(one, growing / one.uid):
                os.replace(growing / one.uid, folder / one.uid)
        wanted = [one for one in wanted if not (folder / one.uid).is_dir()]
    if wanted:
        raise DownloadError(
            f"of DICOM series {wanted[0].uid} ({wanted[0].patient}) {_lacks(wanted[0], growing / wanted[0].uid)} after "
            f"{PATIENCE} attempts. Check that you are online, then run the same command again to resume."
        )
    if growing.is_dir() and not any(growing.iterdir()):
        shutil.rmtree(growing)
    return {one.uid: sorted((folder / one.uid).iterdir()) for one in series}


def _lacks(one: Series, folder: Path) -> str | None:
    sizes = [file.stat().st_size for file in folder.iterdir()] if folder.is_dir() else []
    if len(sizes) == one.files and sum(sizes) == one.bytes:
        return None
    return f"{len(sizes)} of {one.files} files and {sum(sizes)} of {one.bytes} bytes came"


@cache
def _client():
    """Import and create the client only when needed: it takes five seconds."""
    from idc_index import IDCClient

    logging.getLogger("idc_index").setLevel(logging.ERROR)
    return IDCClient()
