"""`dsnotes new-paper STEM`, as it is typed."""

from __future__ import annotations

import argparse


def add_new_paper(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "new-paper",
        help="the files of one more paper, as a start that runs",
        description="Write a paper's network, recipe, test and notebook, as a start that runs. "
        "CONTRIBUTING.md goes on from there, with an example.",
        epilog="For instance: dsnotes new-paper my_net",
    )
    command.add_argument("stem", help="what its files will be called: lower case, such as my_net")
    command.set_defaults(do=do_new_paper)


def do_new_paper(asked: argparse.Namespace) -> int:
    from dsnotes.runs.new_paper.skeleton import checkout, new_paper, system_name

    for path in new_paper(asked.stem):
        print(path.relative_to(checkout()).as_posix())
    print(f"The system {system_name(asked.stem)!r} can be built and trained now. What only its paper can say is marked")
    print("TO FILL in these files; CONTRIBUTING.md shows how to go on, on an example.")
    return 0
