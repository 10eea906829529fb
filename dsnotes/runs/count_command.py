"""`dsnotes count FOLDER`: a dataset in numbers, as in MSDS-UNet's Table 9 and MSS U-Net's Table I."""

from __future__ import annotations

import argparse
from collections.abc import Iterator


def add_count(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "count",
        help="a dataset in numbers: patients, slices with a tumour, sizes",
        description="Counts a labelled dataset as the papers' tables of datasets do, and the parts of a published "
        "split.",
        epilog="For instance: dsnotes count data/lung1 --recipe msds, or: dsnotes count data/kits19 --recipe mss",
    )
    command.add_argument("data", help="a folder with a dataset, or phantoms: lung, kidneys, abdomen, nodules")
    command.add_argument("--recipe", default="", help="also count each part of the splits that this paper gives")
    command.add_argument("--label", type=int, metavar="VALUE", help="the label to count; by default any foreground")
    command.add_argument("--patch", type=int, nargs="+", metavar="N", help="also count a grid of patches of this size")
    command.add_argument("--patient", default="", help="the part of a case's name that names the patient: '[^_]+'")
    command.set_defaults(do=do_count)


def do_count(arguments: argparse.Namespace) -> int:
    patch = tuple(arguments.patch or ())
    how = {"recipe": arguments.recipe, "label": arguments.label, "patch": patch, "patient": arguments.patient}
    for line in lines(arguments.data, **how):
        print(line, flush=True)
    return 0


def lines(
    data: str, *, recipe: str = "", label: int | None = None, patch: tuple[int, ...] = (), patient: str = ""
) -> Iterator[str]:
    """The whole dataset, then each part; `recipe` names the paper whose split is counted."""
    from dsnotes.data.splits import printed_folds
    from dsnotes.metrics.cohort import counts, joined
    from dsnotes.runs.experiment import cases_of

    folds = _folds(recipe)
    cases, _ = cases_of(data)
    each = {}
    for case in cases:
        each[case.name] = counts(case, target=label, patch=patch or None)
    whole = joined(list(each.values()), patient=patient or None)
    yield f"{data}: {whole.cases} cases of {whole.patients} patients"
    for name, size in (("smallest", whole.min_size), ("largest", whole.max_size), ("median", whole.median_size)):
        yield f"  {name} size  {' x '.join(f'{n:g}' for n in size)} voxels"
    yield f"  median spacing  {' x '.join(f'{mm:g}' for mm in whole.median_spacing)} mm"
    yield f"  components  {', '.join(f'{n} {scale}' for scale, n in whole.tumours.items())}"
    head = ["part", "patients", "slices with", "without", *(["patches with", "without"] if patch else [])]
    rows = [head, _row("all", whole)]
    for number, parts in enumerate(printed_folds(list(each), folds, seed=0, patient=patient or None), start=1):
        for part, names in zip(("train", "validation", "test"), parts, strict=True):
            found = joined([each[name] for name in names], patient=patient or None)
            rows.append(_row(f"fold {number} {part}", found))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])


def _row(name: str, found) -> list[str]:
    return [name, str(found.patients), *map(str, found.slices), *map(str, found.patches or ())]


def _folds(recipe: str) -> list[tuple[int, ...]]:
    from dsnotes.papers.protocol import protocol, protocols
    from dsnotes.runs.source import RefusedError

    if not recipe:
        return []
    split = protocol(recipe).split
    if not split:
        with_one = ", ".join(name for name, one in protocols().items() if one.split)
        raise RefusedError(f"the paper of recipe {recipe!r} gives its split as shares alone; choose one of {with_one}")
    return [fold for folds in split.values() for fold in folds]
