"""The command line of `dsnotes new-paper STEM`."""

from __future__ import annotations

import argparse


def add_new_paper(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "new-paper",
        help="add a paper: write its files from working templates",
        description="Write a paper's network, recipe, test and notebook from working templates. "
        "CONTRIBUTING.md continues from there with an example.",
        epilog="For instance: dsnotes new-paper my_net",
    )
    command.add_argument("stem", help="name of its files, lower case, such as my_net")
    command.set_defaults(do=do_new_paper)


def do_new_paper(asked: argparse.Namespace) -> int:
    from dsnotes.runs.new_paper.skeleton import checkout, new_paper, system_name

    for path in new_paper(asked.stem):
        print(path.relative_to(checkout()).as_posix())
    print(f"The system {system_name(asked.stem)!r} can be built and trained now. Replace each TO FILL in these files")
    print("with what the paper says; CONTRIBUTING.md shows how, with an example.")
    return 0
