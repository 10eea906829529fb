"""PROMISE12: 50 prostates in T2-weighted MR.

python data_scripts/promise12.py --out data/promise12 --cases 10
"""

from __future__ import annotations

import sys
from argparse import Namespace

from fetch import About, Converted, Download, Piece, Plan, read, run

ABOUT = About(
    name="PROMISE12",
    source="https://zenodo.org/records/8026660",
    licence="research use; the citation is mandatory (LICENSE.TXT of the record)",
    citation="Litjens et al. 2014, Med Image Anal 18:359, https://doi.org/10.1016/j.media.2013.12.002",
    labels={0: "background", 1: "prostate"},
    modality=("MRI",),
    tables=("dsnet-5",),
    mind=(
        "intensities have no unit and depend on the coil: normalise each case separately",
        "spacing varies from 0.27 to 0.75 mm in the slice and 2.2 to 4 mm across: resample",
    ),
)
ZIP = Download(
    "https://zenodo.org/records/8026660/files/training_data.zip?download=1",
    "training_data.zip",
    500_000_000,
    "sha256:150287d0c74cd0105d8b70b43af4a7bf4f1fd3e1748829779177a0ccaf948f45",
)


def plan(asked: Namespace) -> Plan:
    return Plan(ABOUT, (Piece(ZIP.name, cases, (ZIP,), count=50),))


def cases(got):
    """CaseNN.mhd refers to CaseNN.raw, which must be in the same folder."""
    archive = got.archive(ZIP.name)
    for header in archive.find(r"Case\d+\.mhd"):

        def make(start: str = header.removesuffix(".mhd")) -> Converted:
            label = f"{start}_segmentation"
            for raw in (f"{start}.raw", f"{label}.raw"):
                got.extract(archive, raw)
            image, mask = (
                read(got.extract(archive, f"{one}.mhd"), kind) for one, kind in ((start, "int16"), (label, "uint8"))
            )
            if image.voxels.shape != mask.voxels.shape:
                raise ValueError(f"the image has the grid {image.voxels.shape}, the label {mask.voxels.shape}.")
            return Converted(image, mask.voxels)

        yield header.rpartition("/")[2].removesuffix(".mhd"), make


if __name__ == "__main__":
    sys.exit(run(plan, doc=__doc__))
