"""The command `dsnotes`: notebooks as experiments.

    dsnotes adopt scans/ --label 1=kidney --output data/mine
    dsnotes run notebooks/80_experiment.py -p system=mss-unet -p epochs=20
    dsnotes predict runs/80_experiment-3f2a… scans/new/*.nii.gz --output predictions/
    dsnotes sweep sweeps/mss-2-phantom.yml --workers 2
    dsnotes table mss-2 --runs runs
    dsnotes systems
    dsnotes data
    dsnotes count data/lung1 --recipe msds
    dsnotes labs grade submissions/
    dsnotes new-paper my_net

To add a command, write a function that adds it to the subparsers, and list it in `COMMANDS`.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dsnotes.labs.command import add_labs
from dsnotes.runs.adopt_command import add_adopt
from dsnotes.runs.card import add_card
from dsnotes.runs.count_command import add_count
from dsnotes.runs.new_paper.command import add_new_paper
from dsnotes.runs.predict_command import add_predict
from dsnotes.runs.terminal import Terminal
from dsnotes.safety.nearest import nearest

if TYPE_CHECKING:
    from dsnotes.runs.plan import Plan


class Parser(argparse.ArgumentParser):
    """Accepts no abbreviated options; suggests the nearest command for an unknown one, and lists all if none is given.

    Subcommands' parsers are of this class too, so the same holds for `dsnotes labs …`.
    """

    commands: argparse._SubParsersAction | None = None

    def __init__(self, **options) -> None:
        super().__init__(allow_abbrev=False, **options)

    def add_subparsers(self, **options) -> argparse._SubParsersAction:
        self.commands = super().add_subparsers(**options)
        return self.commands

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        words = list(sys.argv[1:] if args is None else args)
        if self.commands and not words:
            self.exit(2, self.format_help())
        if self.commands and not words[0].startswith("-") and words[0] not in self.commands.choices:
            near = nearest(words[0], self.commands.choices, 1)
            hint = f"the nearest is: {self.prog} {near[0]}; " if near else ""
            self.exit(2, f"{self.prog}: no command is called {words[0]!r}; {hint}for all of them: {self.prog} --help\n")
        return super().parse_known_args(words, namespace)


class Renamed(argparse.Action):
    """An option's old name, kept for one release: appends to the new option's list and prints a notice."""

    def __init__(self, *, new: str, **options) -> None:
        super().__init__(**options | {"dest": new.lstrip("-"), "default": argparse.SUPPRESS})
        self.new = new

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        print(f"{parser.prog}: {option_string} is now called {self.new}", file=sys.stderr)
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), values])


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done; 1 a run failed; 2 an invalid request, explained in one line; 130 stopped by Ctrl-C.

    141: the reader closed the pipe, as in `dsnotes systems | head`.
    """
    from dsnotes.runs.locks import BusyError
    from dsnotes.runs.notebook import FailedError
    from dsnotes.runs.source import RefusedError

    if arguments is None:  # a process of its own, whose modules make a million objects that stay
        gc.set_threshold(20_000)
    parser = Parser(
        prog="dsnotes",
        description="Notebooks as experiments, coursework, and templates for your own paper.",
        epilog="A command's options: dsnotes COMMAND --help",
    )
    commands = parser.add_subparsers(dest="command", required=True, title="commands", metavar="command")
    for add in COMMANDS:
        add(commands)
    asked = parser.parse_args(arguments)
    try:
        return asked.do(asked)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - Python flushes it again at exit
        return 141
    except (RefusedError, BusyError) as error:
        print(f"dsnotes {asked.command}: {error}", file=sys.stderr)
        return 2
    except FailedError as error:
        if error.traceback:
            print(error.traceback, file=sys.stderr)
        print(f"dsnotes {asked.command}: {error} (kept in {error.folder})", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:  # an unreadable, unwritable or invalid file
        print(f"dsnotes {asked.command}: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\ndsnotes {asked.command}: stopped; run the same command again to resume", file=sys.stderr)
        return 130


def _one_line(error: OSError | ValueError) -> str:
    """An operating system's error with its file and a remedy; our own messages unchanged."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}; give a path that exists and that you may read and write"
    return str(error)


def add_run(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "run",
        help="execute a notebook with parameters, once",
        description="Execute a notebook with parameters; skips finished runs and resumes interrupted ones.",
        epilog="For instance: dsnotes run notebooks/80_experiment.py -p system=mss-unet -p epochs=20",
    )
    command.add_argument("notebook", type=Path, help="the .py or the .ipynb of a pair")
    _add_parameters(command)
    command.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="seconds for the whole notebook; by default no limit"
    )
    command.add_argument("--help-parameters", action="store_true", help="list the notebook's parameters and stop")
    command.set_defaults(do=do_run)


def do_run(asked: argparse.Namespace) -> int:
    from dsnotes.runs.notebook import run
    from dsnotes.runs.source import open_source

    source = open_source(asked.notebook)
    if asked.help_parameters:
        print("\n".join(map(str, source.parameters.values())))
        return 0
    values = source.read(_typed(asked.parameter))
    started, terminal = time.monotonic(), Terminal()
    done = run(asked.notebook, values, out=asked.out, timeout=asked.timeout, tell=terminal.line)
    terminal.close()
    said = f"done in {time.monotonic() - started:.0f} s" if done.fresh else "was done before"
    print(f"{said}: {done.folder}")
    for name, mean in means(done.result.get("cases", {})).items():
        print(f"  {name}  {mean}")
    return 0


def add_sweep(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "sweep",
        help="execute many runs, several at once",
        description="Compute every run of a file in sweeps/; skips finished runs and resumes interrupted ones.",
        epilog="For instance: dsnotes sweep sweeps/mss-2-phantom.yml --workers 2",
    )
    command.add_argument("sweep", type=Path, help="a file such as sweeps/mss-2-phantom.yml")
    _add_parameters(command)
    command.add_argument(
        "--workers", type=int, metavar="N", help="processes on this machine; by default one per GPU, or one"
    )
    command.add_argument("--scheduler", metavar="ADDRESS", help="address of a dask scheduler, such as tcp://node7:8786")
    command.add_argument(
        "--sbatch", type=Path, metavar="FILE", help="write the runs as a Slurm job array into FILE and stop"
    )
    command.add_argument("--dry-run", action="store_true", help="list the runs and stop")
    command.set_defaults(do=do_sweep)


def _listed(plan: Plan, out: str | os.PathLike) -> int:
    """Per row: how many runs are done, and how it differs from the first row."""
    from dsnotes.runs.differences import differences, labelled
    from dsnotes.runs.notebook import finished, folder_of

    for line in plan.missing():
        print(line, file=sys.stderr)
    rows, found = labelled(plan), differences(plan)
    first = next(iter(rows))
    for name, row in rows.items():
        folders = [folder_of(plan.source, values, out) for values in row.runs]
        done = sum(finished(folder) is not None for folder in folders)
        changed = [f"{key} {own or 'none'}, not {theirs or 'none'}" for key, (theirs, own) in found[name].items()]
        print(
            f"{done} of {len(folders)} done  {name}",
            *([] if name == first else changed or ["as the first"]),
            sep="\n    ",
        )
    return 0


def do_sweep(asked: argparse.Namespace) -> int:
    from dsnotes.runs.experiment_names import check_names
    from dsnotes.runs.plan import open_plan
    from dsnotes.runs.source import RefusedError
    from dsnotes.runs.sweep import sweep

    plan = open_plan(asked.sweep, _typed(asked.parameter))
    if asked.dry_run:
        for values in plan.runs:
            check_names(plan.source, {name: value for name, value in values.items() if name != "data"})
        return _listed(plan, asked.out)
    if missing := plan.missing():
        raise RefusedError(missing[0])
    for values in plan.runs:
        check_names(plan.source, values)
    if asked.sbatch is not None:
        from dsnotes.runs.slurm import write_job_array

        print(f"{len(plan.runs)} runs; submit them with: sbatch {write_job_array(plan, asked.sbatch, out=asked.out)}")
        return 0
    terminal = Terminal()
    state = sweep(plan, out=asked.out, workers=asked.workers, scheduler=asked.scheduler, look=terminal.sweep)
    terminal.close()
    for task in state.failed:
        print(f"failed twice: {task.folder}: {task.error}", file=sys.stderr)
    print(f"{len(state.tasks)} runs: {state.count('done')} done now, {state.count('found')} before, "
          f"{len(state.failed)} failed; in {Path(asked.out).absolute()}")  # fmt: skip
    return 1 if state.failed else 0


def add_table(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "table",
        help="a paper's table beside our results",
        description="A published table beside our runs' results: two spreads, paired tests, and what is missing.",
        epilog="For instance: dsnotes table mss-2 --filter data=kidneys --output mss-2.tex",
    )
    command.add_argument("table", help="such as mu-net-2 (`dsnotes systems` lists them), or a sweep's file")
    command.add_argument("--runs", default="runs", metavar="FOLDER", help="folder of the runs (default runs)")
    command.add_argument(
        "--filter", action="append", default=[], metavar="NAME=VALUE", help="only runs with this value; may be repeated"
    )
    command.add_argument(
        "--output",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="also write it to a .txt, .csv, .tex, .png, .svg or .pdf file; may be repeated",
    )
    command.add_argument(
        "--held-out",
        metavar="DATA",
        help="cases that no run was trained on: the gain of averaging each row's runs as one model",
    )
    command.add_argument("--where", action=Renamed, new="--filter", help=argparse.SUPPRESS)
    command.add_argument("--to", action=Renamed, new="--output", type=Path, help=argparse.SUPPRESS)
    command.set_defaults(do=do_table)


def do_table(asked: argparse.Namespace) -> int:
    from dsnotes.runs.export import save, text
    from dsnotes.runs.notebook import folder_of
    from dsnotes.runs.plan import open_plan
    from dsnotes.runs.sweep_table import sweep_table
    from dsnotes.runs.tables import compare

    where = _typed(asked.filter)
    plan = open_plan(asked.table) if asked.table.endswith((".yml", ".yaml")) else None
    if plan is not None and (plan.columns or plan.table is None):
        print(sweep_table(plan, asked.runs))
    else:
        only = plan and {folder_of(plan.source, values, asked.runs) for values in plan.runs}
        report = compare(plan.table if plan else asked.table, asked.runs, where=where, only=only)
        for file in asked.output:
            save(report, file)
        print(text(report))
    if asked.held_out:
        from dsnotes.runs.ensemble import gains, gains_of_sweep

        data = asked.held_out
        gained = gains_of_sweep(plan, asked.runs, data) if plan else gains(asked.table, asked.runs, data, where=where)
        for row, gain in gained.items():
            print(f"{row or 'the runs'} as one model: {gain}")
    return 0


def add_systems(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "systems",
        help="list every system: paper, tables, parameters, multiply-adds",
        description="Every system that dsnotes.build knows: its size at its paper's width, the tables it is a row of.",
    )
    command.add_argument("--table", metavar="NAME", help="only the rows of this table, such as mss-2")
    command.add_argument("--names", action="store_true", help="skip counting parameters and multiply-adds")
    command.set_defaults(do=do_systems)


def do_systems(asked: argparse.Namespace) -> int:
    from dsnotes.runs.size import listing

    for line in listing(asked.table, count=not asked.names):
        print(line, flush=True)
    return 0


def add_data(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "data",
        help="list the datasets on this disk, and the tables they are for",
        description="The datasets on this disk: cases, size, labels, licence, and the tables that can be run on them.",
    )
    command.add_argument("folder", nargs="?", default="data", type=Path, help="folder of the datasets (default data)")
    command.set_defaults(do=do_data)


def do_data(asked: argparse.Namespace) -> int:
    from dsnotes.papers.table_coverage import data_and_tables
    from dsnotes.runs.source import RefusedError

    found = data_and_tables(asked.folder)
    if not found:
        raise RefusedError(
            f"no dataset in {asked.folder}; fetch the smallest with: python data_scripts/decathlon.py hippocampus "
            f"--out {asked.folder / 'hippocampus'}"
        )
    for one, tables in found:
        missing = f", {one.missing} files missing" if one.missing else ""
        print(f"{one.name}  ({one.folder})")
        print(f"    {one.trouble}" if one.trouble else f"    {one.cases} cases{missing}, {one.bytes / 2**20:.0f} MiB, "
              f"{', '.join(one.labels) or 'no labels named'}; {one.licence or 'licence not recorded'}")  # fmt: skip
        for table, systems in tables.items():
            print(f"    {table}: {', '.join(systems) or 'no system of it can be built yet'}")
    return 0


COMMANDS = (
    add_adopt,
    add_run,
    add_predict,
    add_card,
    add_sweep,
    add_table,
    add_systems,
    add_data,
    add_count,
    add_labs,
    add_new_paper,
)


def means(cases: dict) -> dict[str, str]:
    """The mean of every metric over the cases in which it is finite."""
    found = {}
    for name in dict.fromkeys(key for row in cases.values() for key in row):
        values = [float(row[name]) for row in cases.values() if row.get(name) is not None]
        finite = [x for x in values if abs(x) < float("inf")]
        if finite:
            left_out = f" ({len(cases) - len(finite)} cases have no value)" if len(finite) < len(cases) else ""
            found[name] = f"{sum(finite) / len(finite):.4g}, mean of {len(finite)}{left_out}"
    return found


def _add_parameters(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the notebook, such as epochs=20; may be repeated",
    )
    command.add_argument("--out", default="runs", metavar="FOLDER", help="folder of the runs (default runs)")


def _typed(pairs: list[str]) -> dict[str, str]:
    from dsnotes.runs.source import RefusedError

    for pair in pairs:
        if "=" not in pair:
            raise RefusedError(f"{pair!r} is not name=value; write for instance epochs=20")
    return dict(pair.split("=", 1) for pair in pairs)
