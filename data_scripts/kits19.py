"""KiTS19: 210 CTs of kidneys with tumours.

python data_scripts/kits19.py --out data/kits19 --cases 5
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

import numpy as np
from fetch import About, Converted, Download, Piece, Plan, idc, read, run
from fetch.stack import read_slices
from fetch.structures import read_segments

LABELS = "https://raw.githubusercontent.com/neheller/kits19/456b293435b25303bbc7995f094f83a0afdff0eb/data/{}/{}"
IMAGES = (
    "https://huggingface.co/datasets/neheller/KiTS-Challenge-Imaging/resolve/"
    "65f1f295873a326230153c7e1de0c7dba10f0b29/images/{}.nii.gz"
)
SMALL = (61, 38, 110, 148, 21, 30, 152, 94, 113)  # 29 to 43 slices
ORDER = (*SMALL, *(number for number in range(210) if number not in SMALL))
CHECKED = {  # sha256 of labels at that commit
    0: "d1019d9a690e193e167cadf3518499e9ed54c1c7757ce520152a3ed072159e09",
    30: "c378fdfaf1eafa265404b70dfc9ad7078c368d9313f7b89076054c8377454dec",
    38: "8a8efd82c8ba84ea454a1011afbe6f22c49886548cba9f899f085023cc79d524",
    61: "f0ac28b3fae9303378f40121ee4ccc725a69c9e88a899e5d634e1ff0dfd20469",
    110: "d33f4a66ea40f85331174a77fc0787edf6e4481a30b39b02c7cc162fcf3e5e37",
    113: "b227cf3286a99027a9de4984c37b331d22d22c334fbcc60e3315bc8be4b4fd5b",
    148: "506cfc726c58de0ca2517178b68c48ba95bc22d53cfd8fd2c95c6c49ba9bc015",
}


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--source", choices=("github", "idc"), default="github", help="idc: as DICOM, under CC BY 3.0")


def about(source: str) -> About:
    return About(
        name="KiTS19" if source == "github" else "KiTS19 (C4KC-KiTS)",
        source="https://github.com/neheller/kits19"
        if source == "github"
        else "https://doi.org/10.7937/TCIA.2019.IX49E8NX",
        licence="CC BY-NC-SA 4.0" if source == "github" else "CC BY 3.0",
        citation="Heller et al. 2021, Med Image Anal 67:101821, https://doi.org/10.1016/j.media.2020.101821",
        labels={0: "background", 1: "kidney", 2: "tumour"},
        modality=("CT",),
        tables=("mss-1", "mss-2", "mss-3", "mss-4"),
        mind=(
            "nnU-Net leaves out cases 15, 23, 37, 68, 125 and 133; all but 68 and 133 were corrected in 2019",
            "resample to the paper's spacing when opening: dsnotes.open_dataset(…, spacing=(3.0, 0.78162, 0.78162))",
        ),
    )


def plan(asked: Namespace) -> Plan:
    return Plan(about(asked.source), tuple(from_github() if asked.source == "github" else from_idc()))


def from_github():
    """Labels from the challenge's repository, images from their new location."""
    for number in ORDER:
        name = f"case_{number:05d}"
        image = Download(IMAGES.format(name), f"{name}/imaging.nii.gz", round(17e6 if number in SMALL else 110e6))
        checksum = f"sha256:{CHECKED[number]}" if number in CHECKED else None
        label = Download(LABELS.format(name, "segmentation.nii.gz"), f"{name}/segmentation.nii.gz", 400_000, checksum)
        yield Piece(name, one_case, (image, label))


def one_case(got):
    """Images are stored as float64, nine labels as uint16."""
    image, label = (one.name for one in got.piece.downloads)

    def make() -> Converted:
        volume, mask = read(got.file(image), "int16"), read(got.file(label), "uint8")
        if volume.voxels.shape != mask.voxels.shape:
            raise ValueError(f"the image has the grid {volume.voxels.shape}, the label {mask.voxels.shape}.")
        return Converted(volume, mask.voxels)

    yield got.piece.name, make


def from_idc():
    """The arterial phase, which is the labelled one, and the segments of the same patient."""
    series = idc.listed("c4kc_kits", ("CT", "SEG"))
    segments = {one.patient: one for one in series if one.modality == "SEG"}
    for ct in series:
        if ct.modality == "CT" and "arterial" in ct.description.lower() and ct.patient in segments:
            yield Piece(f"case_{int(ct.patient.removeprefix('KiTS-')):05d}", from_dicom, (), (ct, segments[ct.patient]))


def from_dicom(got):
    ct, seg = got.piece.series

    def make() -> Converted:
        slices = read_slices(got.series(ct.uid), ct.uid)
        masks = read_segments(got.series(seg.uid)[0], slices)
        label = np.zeros(slices.voxels.shape, np.uint8)
        for name, mask in sorted(masks.items(), key=lambda item: value(item[0])):  # the tumour over its kidney
            label[mask] = value(name)
        volume, said = slices.volume()
        return Converted(volume, slices.even(label), said=said)

    yield got.piece.name, make


def value(segment: str) -> int:
    if "kidney" in segment.lower() and "mass" not in segment.lower():
        return 1
    if any(word in segment.lower() for word in ("tumor", "tumour", "mass", "neoplasm")):
        return 2
    raise ValueError(f"a segment is named {segment!r}; known names are kidney, tumour, mass and neoplasm.")


if __name__ == "__main__":
    sys.exit(run(plan, doc=__doc__, options=options))
