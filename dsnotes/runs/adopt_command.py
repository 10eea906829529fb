"""`dsnotes adopt`: turns a folder of scans into a dataset, after showing a table of what was found."""

from __future__ import annotations

import argparse
from pathlib import Path

from dsnotes.safety.quick_imports import quick_imports


def add_adopt(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "adopt",
        help="make a dataset from a folder of your own scans",
        description="Pair images with labels, check every case, show what was found, and write a dataset. Takes "
        "files paired by name (case01.nii.gz + case01_seg.nii.gz, images/ + labels/, _0000 channels), nnU-Net's raw "
        "layout (version 2), the Decathlon's, DICOM series with RTSTRUCT or DICOM-SEG, and PNG with masks.",
        epilog="For instance: dsnotes adopt scans/ --label 1=kidney --label 2=tumour --output data/mine",
    )
    command.add_argument("folder", type=Path, help="where the scans are")
    command.add_argument("--labels", type=Path, metavar="FOLDER", help="where the labels are, if not below the scans")
    command.add_argument("--output", type=Path, metavar="FOLDER", help="the dataset's folder, such as data/mine")
    command.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="VALUE=NAME",
        help="name a label value of the files (of RTSTRUCT and SEG: a region); 255=ignore leaves it out of all counts",
    )
    command.add_argument("--channel", action="append", default=[], metavar="NUMBER=NAME", help="name a channel, from 0")
    command.add_argument(
        "--region",
        action="append",
        default=[],
        metavar="NAME=VALUE,VALUE",
        help="labels that are one region, such as 'whole tumour=1,2,3', the largest region first; they may overlap",
    )
    command.add_argument("--leave-out", action="append", default=[], metavar="CASE", help="leave out this case")
    command.add_argument("--dry-run", action="store_true", help="show the table, write nothing")
    how = command.add_mutually_exclusive_group()
    how.add_argument("--copy", action="store_true", help="copy the files (the default)")
    how.add_argument(
        "--link", action="store_true", help="link to the files instead: they must then stay where they are"
    )
    command.set_defaults(do=do_adopt)


def do_adopt(asked: argparse.Namespace) -> int:
    from dsnotes.runs.source import RefusedError

    with quick_imports():
        from dsnotes.data import adopt

    if asked.output is None and not asked.dry_run:
        raise RefusedError("say where the dataset goes, --output data/mine, or look first with --dry-run")
    try:
        if asked.output is not None:
            adopt.require_new(asked.output)
        found = adopt.understand(
            asked.folder,
            label_folder=asked.labels,
            labels=_named(asked.label, "label", "1=kidney"),
            channels={int(number): name for number, name in _named(asked.channel, "channel", "0=CT", int).items()},
            leave_out=asked.leave_out,
            regions=_joined(asked.region),
        )
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise RefusedError(str(error)) from error
    print(found)
    if asked.dry_run:
        return 2 if found.wrong else 0
    if found.wrong:
        raise RefusedError(
            "nothing was written: correct what is marked wrong above, or leave those cases out with --leave-out CASE"
        )
    try:
        adopt.write(found, asked.output, link=asked.link)
    except (ValueError, OSError) as error:
        raise RefusedError(str(error)) from error
    pages = contact_sheets(asked.output)
    print(f"\nwritten: {asked.output}, {len(found.cases)} cases; look at {pages[0]}" +
          (f" … {pages[-1].name}" if len(pages) > 1 else ""))  # fmt: skip
    system = f"unet-{len(found.cases[0].size)}d"
    print(f"next:    dsnotes run notebooks/80_experiment.py -p data={asked.output} -p system={system}")
    return 0


def contact_sheets(folder: Path) -> list[Path]:
    """Pictures of twelve cases each with their labels, in contact_sheets/."""
    with quick_imports():
        import matplotlib.figure  # noqa: F401

        from dsnotes.data import open_dataset
        from dsnotes.viewers.contact_sheet import contact_sheet

    sheet = contact_sheet(open_dataset(folder), folder / "decisions.csv", page=1, buttons=False)
    pages = []
    (folder / "contact_sheets").mkdir(exist_ok=True)
    for page in range(1, sheet.pages + 1):
        if page > 1:
            sheet.turn(page)
        pages.append(sheet.save(folder / "contact_sheets" / f"page-{page}.png"))
    return pages


def _joined(pairs: list[str]) -> dict[str, list[int]]:
    from dsnotes.runs.source import RefusedError

    named = _named(pairs, "region", "'whole tumour=1,2,3'")
    for name, values in named.items():
        if not all(value.strip().isdigit() for value in values.split(",")):
            raise RefusedError(f"--region {name}={values} came; needed is 'whole tumour=1,2,3'")
    return {name: [int(value) for value in values.split(",")] for name, values in named.items()}


def _named(pairs: list[str], what: str, example: str, kind: type = str) -> dict[str, str]:
    from dsnotes.runs.source import RefusedError

    named = {}
    for pair in pairs:
        value, _, name = pair.partition("=")
        if not value or not name or (kind is int and not value.isdigit()):
            raise RefusedError(f"--{what} {pair} came; needed is {example}")
        if value in named:
            raise RefusedError(f"--{what} names {value} twice, {named[value]!r} and {name!r}; keep one")
        named[value] = name
    return named
