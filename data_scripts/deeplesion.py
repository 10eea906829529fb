"""DeepLesion: CT slices of 4427 patients with a lesion's two diameters, one case per lesion.

python data_scripts/deeplesion.py --out data/deeplesion --cases 100
"""

from __future__ import annotations

import csv
import sys
from argparse import ArgumentParser, Namespace
from functools import cache, partial
from pathlib import Path

import numpy as np
from fetch import About, Converted, Download, Piece, Plan, plain, run

from dsnotes.data.deeplesion import Lesion, read_lesions, read_slice

ABOUT = About(
    name="DeepLesion",
    source="https://nihcc.app.box.com/v/DeepLesion",
    licence="terms of the NIH Clinical Center, see the readme at the source; do not redistribute",
    citation="Yan et al. 2018, J Med Imaging 5:036501, https://doi.org/10.1117/1.JMI.5.3.036501",
    labels={0: "background", 1: "lesion"},
    modality=("CT",),
    tables=("dsnet-1", "dsnet-3", "dsnet-4"),
    mind=(
        "no masks: recistTr.json holds both diameters of each lesion; softmask.nodule_set.make_set labels them",
        "DL_info.csv comes from a copy on Hugging Face, since the NIH has no fixed address for it",
        "values below -1024 HU, which scanners write outside their field of view, become -1024",
    ),
)
TABLE = Download(
    "https://huggingface.co/datasets/farrell236/DeepLesion/resolve/main/DL_info.csv", "DL_info.csv", 8_480_000
)
ZIPS = Path(__file__).with_name("deeplesion_zips.csv")  # name, address and md5 of the 56 archives
ZIP_BYTES = 225e9 / 56
LESIONS = 32_735  # in all; how many each archive holds is not published


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--kind", type=int, choices=range(1, 9), help="only this type: 4 liver, 5 lung, 6 kidney, …")


def plan(asked: Namespace) -> Plan:
    with ZIPS.open(newline="", encoding="utf-8") as rows:
        archives = [
            Download(row["url"], row["name"], round(ZIP_BYTES), f"md5:{row['md5']}") for row in csv.DictReader(rows)
        ]
    convert = partial(lesions_of_an_archive, kind=asked.kind)
    count = LESIONS / len(archives)
    return Plan(ABOUT, tuple(Piece(one.name, convert, (TABLE, one), count=count) for one in archives))


def lesions_of_an_archive(got, *, kind: int | None):
    lesions = by_slice(got.file(TABLE.name))
    archive = got.archive(got.piece.downloads[1].name)
    for member in archive.find(r"\d+_\d+_\d+/\d+\.png"):
        for lesion in lesions.get("_".join(member.split("/")[-2:]), ()):
            if kind is None or lesion.kind == kind:
                yield lesion.name, lambda member=member, lesion=lesion: one_case(got, archive, member, lesion)


@cache
def by_slice(table: Path) -> dict[str, list[Lesion]]:
    found: dict[str, list[Lesion]] = {}
    for lesion in read_lesions(table):
        found.setdefault(lesion.file, []).append(lesion)
    return found


def one_case(got, archive, member: str, lesion: Lesion) -> Converted:
    png = got.extract(archive, member)
    hu = read_slice(png.parents[1], lesion.file)
    axes = {"long_axis": lesion.long_axis, "short_axis": lesion.short_axis}
    about = {"kind": lesion.kind, "noisy": lesion.noisy} if "Coarse_lesion_type" in lesion.row else None
    return Converted(plain(hu.astype(np.int16), lesion.spacing), recist=axes, about=about)


if __name__ == "__main__":
    sys.exit(run(plan, doc=__doc__, options=options))
