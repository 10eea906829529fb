"""ISBI 2012: 30 slices of neural tissue under the electron microscope, with the cell membranes.

python data_scripts/isbi2012.py --out data/isbi2012
"""

from __future__ import annotations

import io
import struct
import sys
from argparse import ArgumentParser, Namespace

import numpy as np
from fetch import About, Converted, Download, Piece, Plan, plain, run

ABOUT = About(
    name="ISBI 2012 EM",
    source="https://imagej.net/events/isbi-2012-segmentation-challenge",
    licence="terms of the challenge: research, with citation; none is stated in the files",
    citation="Arganda-Carreras et al. 2015, https://doi.org/10.3389/fnana.2015.00142; Cardona et al. 2010",
    labels={0: "interior", 1: "membrane"},
    modality=("EM",),
    tables=("dsnet-5",),
    mind=(
        "a case is a slice, its spacing is in nanometres (4 x 4; slices are 50 apart)",
        "neighbouring slices are similar: split by blocks, such as the first 20 and the last 10, never at random",
    ),
)
ZIP = Download("https://downloads.imagej.net/ISBI-2012-challenge.zip", "ISBI-2012-challenge.zip", 40_000_000)
H5 = Download(
    "https://oc.embl.de/index.php/s/h0TkwqxU0PJDdMd/download",
    "isbi.h5",
    40_000_000,
    "sha256:0e10fe909a1243084d91773470856993b7d40126a12e85f0f1345a7a9e512f29",
)
SPACING = (4.0, 4.0)
LARGEST = 64 << 20  # bytes of a stack: 30 slices of 512 x 512 are 8 MB


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--source", choices=("imagej", "embl"), default="embl", help="embl: HDF5 with a known checksum")


def plan(asked: Namespace) -> Plan:
    source = H5 if asked.source == "embl" else ZIP
    return Plan(ABOUT, (Piece(source.name, from_h5 if source is H5 else from_zip, (source,), count=30),))


def from_zip(got):
    archive = got.archive(ZIP.name)
    held = [archive.read(one(archive.find(rf"train-{what}\.tiff?"), what)) for what in ("volume", "labels")]
    return slices(*map(stack, held))


def stack(held: bytes) -> np.ndarray:
    """All pages of a TIFF; raises an error before unpacking if they are larger than the dataset's."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(held)) as file:
            if sum(page.nbytes for page in file.pages) > LARGEST:
                raise ValueError(f"its pages take more than {LARGEST} bytes")
            return file.asarray()
    except (tifffile.TiffFileError, ValueError, OverflowError, struct.error) as error:
        raise ValueError(f"{ZIP.name} is not the file expected ({error}). Delete it, and fetch it again.") from error


def from_h5(got):
    import h5py

    try:
        with h5py.File(got.file(H5.name)) as held:
            stacks = held["raw"], held["labels/membranes"]
            if max(one.nbytes for one in stacks) > LARGEST:
                raise OSError(f"it announces more than {LARGEST} bytes")
            return slices(*(one[:] for one in stacks))
    except (KeyError, OSError) as error:
        raise ValueError(f"{H5.name} is not the file expected ({error}). Delete it, and fetch it again.") from error


def slices(image: np.ndarray, label: np.ndarray):
    """In the source 0 is membrane and 255 is the inside of a cell."""
    if image.shape != label.shape or image.ndim != 3 or not np.isin(label, (0, 255)).all():
        raise ValueError(
            f"images of shape {image.shape} and labels of {label.shape} with values {np.unique(label)[:5]} came; "
            f"needed are two stacks of one size, labels 0 and 255."
        )
    for number, (grey, interior) in enumerate(zip(image, label, strict=True)):
        make = lambda grey=grey, interior=interior: Converted(  # noqa: E731
            plain(grey.astype(np.uint8), SPACING), (interior == 0).astype(np.uint8)
        )
        yield f"slice_{number:02d}", make


def one(found: list[str], what: str) -> str:
    if len(found) != 1:
        raise ValueError(f"the archive holds {found or 'no'} train-{what}.tif where one is needed.")
    return found[0]


if __name__ == "__main__":
    sys.exit(run(plan, doc=__doc__, options=options))
