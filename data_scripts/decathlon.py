"""Medical Segmentation Decathlon: six of its ten tasks.

python data_scripts/decathlon.py hippocampus --out data/hippocampus
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass

from fetch import About, Converted, Download, Piece, Plan, run

URL = "https://msd-for-monai.s3-us-west-2.amazonaws.com/{}.tar"
CT, MR = ("CT",), ("MRI",)


@dataclass(frozen=True)
class Task:
    archive: str
    md5: str
    bytes: float  # approximate
    cases: int
    labels: tuple[str, ...]
    modality: tuple[str, ...]
    tables: tuple[str, ...] = ()
    mind: tuple[str, ...] = ()


TASKS = {
    "brain-tumour": Task(
        "Task01_BrainTumour",
        "240a19d752f0d9e9101544901065d872",
        7.6e9,
        484,
        ("background", "oedema", "non-enhancing tumour", "enhancing tumour"),
        ("FLAIR", "T1w", "T1gd", "T2w"),
        mind=(
            "BraTS 2016 and 2017 with other case numbers: use it instead of BraTS 2019 if you have no account",
            "never train on this and test on BraTS 2019: they share cases",
        ),
    ),
    "heart": Task(
        "Task02_Heart",
        "06ee59366e1e5124267b774dbd654057",
        435e6,
        20,
        ("background", "left atrium"),
        MR,
        ("mu-net-1", "mu-net-2", "mu-net-3"),
    ),
    "liver": Task(
        "Task03_Liver",
        "a90ec6c4aa7f6a3d087205e23d4e6397",
        27e9,
        131,
        ("background", "liver", "tumour"),
        CT,
        ("mu-net-1", "mu-net-2", "mu-net-3", "mu-net-4", "mu-net-5"),
        mind=(
            "13 of the 131 have no tumour",
            "LiTS gives 1 mm for all axes of liver_28 to liver_47: look at them first",
        ),
    ),
    "hippocampus": Task(
        "Task04_Hippocampus",
        "9d24dba78a72977dbd1d2e110310f31b",
        27e6,
        260,
        ("background", "anterior", "posterior"),
        MR,
        mind=("intensities differ by a factor of 10 000 between cases: normalise each case by itself",),
    ),
    "pancreas": Task(
        "Task07_Pancreas",
        "4f7080cfca169fa8066d17ce6eb061e4",
        11.4e9,
        281,
        ("background", "pancreas", "tumour"),
        CT,
        ("dsms-1",),
        mind=("the archive holds 281 cases; papers say 282 or 283",),
    ),
    "spleen": Task(
        "Task09_Spleen",
        "410d4a301da4e5b2f6f86ec3ddba524e",
        1.5e9,
        41,
        ("background", "spleen"),
        CT,
        ("mu-net-1", "mu-net-2", "mu-net-3"),
    ),
}


def options(parser: ArgumentParser) -> None:
    parser.add_argument("task", choices=TASKS)


def plan(asked: Namespace) -> Plan:
    task = TASKS[asked.task]
    about = About(
        name=f"Decathlon {asked.task}",
        source="http://medicaldecathlon.com",
        licence="CC BY-SA 4.0",
        citation="Antonelli et al. 2022, Nat Commun 13:4128, https://doi.org/10.1038/s41467-022-30695-9",
        labels=dict(enumerate(task.labels)),
        modality=task.modality,
        tables=task.tables,
        mind=task.mind,
    )
    tar = Download(URL.format(task.archive), f"{task.archive}.tar", round(task.bytes), f"md5:{task.md5}")
    return Plan(about, (Piece(task.archive, cases, (tar,), count=task.cases),))


def cases(got):
    """The training cases; the test images have no labels and stay in the archive."""
    tar = got.archive(got.piece.downloads[0].name)
    for label in tar.find(r"labelsTr/[^/]+\.nii\.gz"):

        def make(label=label) -> Converted:
            image = label.replace("labelsTr/", "imagesTr/")
            return Converted(image=got.extract(tar, image), label=got.extract(tar, label))

        yield label.rpartition("/")[2].removesuffix(".nii.gz"), make


if __name__ == "__main__":
    sys.exit(run(plan, doc=__doc__, options=options))
