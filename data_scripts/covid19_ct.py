"""COVID-19-CT-Seg: 20 CTs with labels of both lungs and the infection.

python data_scripts/covid19_ct.py --out data/covid19 --cases 10
"""

from __future__ import annotations

import sys
from argparse import Namespace

import numpy as np
from fetch import About, Converted, Download, Piece, Plan, Volume, read, run

RECORD = "https://zenodo.org/records/3757476/files/{}?download=1"
ABOUT = About(
    name="COVID-19-CT-Seg",
    source="https://zenodo.org/records/3757476",
    licence="CC BY-NC-SA 4.0 (according to the authors' repository; elsewhere the record is quoted as CC BY 4.0)",
    citation="Ma et al. 2021, Med Phys 48:1197, https://doi.org/10.1002/mp.14676",
    labels={0: "background", 1: "left lung", 2: "right lung", 3: "infection"},
    modality=("CT",),
    tables=("msds-14",),
    mind=(
        "replaces the paper's 108 CTs of four hospitals, which are not public",
        "the ten radiopaedia cases were stored as grey values 0 to 255 of the window -1250 to 250 HU; they are "
        "converted back to HU, in steps of 6 and clipped: clip the others too, or use the ten coronacases (first)",
    ),
)
IMAGES = Download(
    RECORD.format("COVID-19-CT-Seg_20cases.zip"),
    "COVID-19-CT-Seg_20cases.zip",
    1_100_000_000,
    "sha256:a5060480eff9315b069b086312dac4872777901fb80d268a5a83edd9f4e7b440",
)
LABELS = Download(
    RECORD.format("Lung_and_Infection_Mask.zip"),
    "Lung_and_Infection_Mask.zip",
    10_000_000,
    "sha256:34f5a573cb8fb53cb15abe81868395d9addf436854826a6fd6e70c2b294f19c3",
)
WINDOW = (-1250.0, 250.0)


def plan(asked: Namespace) -> Plan:
    return Plan(ABOUT, (Piece(IMAGES.name, cases, (IMAGES, LABELS), count=20),))


def cases(got):
    images, labels = got.archive(IMAGES.name), got.archive(LABELS.name)
    masks = {name.rpartition("/")[2]: name for name in labels.find(r"[^/]+\.nii\.gz")}
    for member in images.find(r"[^/]+\.nii\.gz"):
        file = member.rpartition("/")[2]

        def make(member=member, file=file) -> Converted:
            if file not in masks:
                raise ValueError(f"{LABELS.name} has no mask for it.")
            image, said = in_hu(read(got.extract(images, member), "int16"))
            mask = read(got.extract(labels, masks[file]), "uint8")
            if image.voxels.shape != mask.voxels.shape:
                raise ValueError(f"the image has the grid {image.voxels.shape}, the label {mask.voxels.shape}.")
            return Converted(image, mask.voxels, said=said)

        yield file.removesuffix(".nii.gz"), make


def in_hu(volume: Volume) -> tuple[Volume, tuple[str, ...]]:
    """Convert grey values 0 to 255 to HU; a chest in HU, mostly air, would have values below 0."""
    if volume.voxels.min() < 0 or volume.voxels.max() > 255:
        return volume, ()
    low, high = WINDOW
    hu = np.rint(volume.voxels.astype(np.float32) * ((high - low) / 255) + low).astype(np.int16)
    return Volume(hu, volume.geometry), ("grey values of a window converted to HU",)


if __name__ == "__main__":
    sys.exit(run(plan, doc=__doc__))
