"""BraTS 2019: brain tumours in four MR sequences, from a folder that you downloaded with your account.

python data_scripts/brats2019.py --from MICCAI_BraTS_2019_Data_Training --out data/brats2019
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path

import numpy as np
from fetch import About, Converted, Piece, Plan, Volume, read, run

SEQUENCES = ("flair", "t1", "t1ce", "t2")
ABOUT = About(
    name="BraTS 2019",
    source="https://www.med.upenn.edu/cbica/brats2019/data.html",
    licence="terms of the challenge, agreed to on registration; do not redistribute",
    citation="Menze et al. 2015, IEEE TMI 34:1993; Bakas et al. 2017, Sci Data 4:170117; "
    "Bakas et al. 2018, arXiv:1811.02629",
    labels={0: "background", 1: "necrosis and non-enhancing tumour", 2: "oedema", 3: "enhancing tumour"},
    modality=SEQUENCES,
    tables=("mu-net-1", "mu-net-2", "mu-net-3", "mu-net-4", "mu-net-5"),
    account="needed: register with the challenge (now at synapse.org), download the training set, pass its folder as "
    "--from. Without one: data_scripts/decathlon.py brain-tumour",
    mind=("the enhancing tumour is 4 in the source and 3 here", "some low-grade cases have no enhancing tumour"),
)


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--from", type=Path, dest="source", help="the folder with HGG/ and LGG/, or one above it")


def plan(asked: Namespace) -> Plan:
    if asked.source is None and not asked.dry_run:
        raise ValueError(f"an account is {ABOUT.account}.")
    found = sorted(asked.source.rglob("*_seg.nii*")) if asked.source else []
    if asked.source and not found:
        raise FileNotFoundError(
            f"{asked.source} holds no …_seg.nii or …_seg.nii.gz. Pass the folder with HGG/ and LGG/."
        )
    pieces = [Piece(file.name.partition("_seg")[0], partial(one_case, label=file)) for file in found]
    return Plan(ABOUT, tuple(pieces) or (Piece("training set", partial(one_case, label=Path()), count=335),))


def one_case(got, *, label: Path):
    def make() -> Converted:
        images = [read(file(label, sequence), "int16") for sequence in SEQUENCES]
        mask = read(label, "uint8")
        if len({one.geometry for one in (*images, mask)}) > 1:
            raise ValueError("its sequences and its label are not on one grid.")
        if odd := sorted(set(np.unique(mask.voxels).tolist()) - {0, 1, 2, 4}):
            raise ValueError(f"its label holds {odd}; BraTS 2019 has 0, 1, 2 and 4.")
        channels = Volume(np.stack([one.voxels for one in images]), images[0].geometry)
        return Converted(channels, np.where(mask.voxels == 4, np.uint8(3), mask.voxels))

    yield got.piece.name, make


def file(label: Path, sequence: str) -> Path:
    """The file of a sequence beside the label: .nii.gz in the release, .nii in some copies."""
    start = label.name.partition("_seg")[0]
    places = [label.with_name(f"{start}_{sequence}{ending}") for ending in (".nii.gz", ".nii")]
    there = next((place for place in places if place.is_file()), None)
    if there is None:
        raise ValueError(f"{places[0].name} is missing beside {label.name}.")
    return there


if __name__ == "__main__":
    sys.exit(run(plan, doc=__doc__, options=options))
