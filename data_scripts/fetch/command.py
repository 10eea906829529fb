"""The command line shared by all scripts: --out, --cases, --dry-run, --discard, check."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from fetch.check import check
from fetch.download import FULL, DownloadError, MissingError, in_words, no_space
from fetch.layout import Folder
from fetch.pieces import Fetched, Piece, Plan

MISSING = 3  # missing files in a row after which the whole source counts as moved
SPEED = 10e6  # bytes per second, for the time estimate
SHARED = ("command", "out", "cases", "dry_run", "discard")  # options of every script
EPILOG = "Run the same command again to resume after an interruption. `check` opens and draws every converted case."


def run(
    plan: Callable[[argparse.Namespace], Plan],
    *,
    doc: str,
    options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
    argv: Sequence[str] | None = None,
) -> int:
    """The script's main function; returns 0 on success, 1 if something failed, 130 after Ctrl-C."""
    asked = arguments(doc, options).parse_args(argv)
    try:
        if asked.command == "check":
            return check(asked.out)
        return _fetch(plan(asked), asked)
    except (DownloadError, ValueError, FileNotFoundError) as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f'stopped: {error.name} is not installed: pip install -c constraints.txt -e ".[data]"', file=sys.stderr)
        return 1
    except OSError as error:
        print(f"stopped: {no_space(error, asked.out) if error.errno in FULL else error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; run the same command again to resume", file=sys.stderr)
        return 130


def arguments(doc: str, options: Callable[[argparse.ArgumentParser], None]) -> argparse.ArgumentParser:
    """The script's own options and the shared ones."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0], epilog=EPILOG, allow_abbrev=False)
    options(parser)
    parser.add_argument("command", nargs="?", choices=("fetch", "check"), default="fetch", help="fetch by default")
    parser.add_argument("--out", type=Path, required=True, help="folder that gets dataset.json, imagesTr/, labelsTr/")
    parser.add_argument("--cases", type=_positive, help="maximum number of cases, smallest downloads first")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be done")
    parser.add_argument("--discard", action="store_true", help="delete each download once it is converted")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of cases: pass 1 or more")
    return int(text)


def _fetch(plan: Plan, asked: argparse.Namespace) -> int:
    _announce(plan, asked)
    if asked.dry_run:
        return 0
    own = {key: value for key, value in vars(asked).items() if key not in SHARED and not isinstance(value, Path)}
    folder = Folder(asked.out, plan.about, made_with=own)
    needed = Counter(one.name for piece in plan.pieces for one in piece.downloads)
    shared = {name for name, times in needed.items() if times > 1}
    try:
        for piece in plan.pieces:
            wanted = None if asked.cases is None else asked.cases - len(folder.names)
            if wanted is not None and wanted <= 0:
                break
            if not folder.has_all_of(piece.name):
                got = Fetched(piece, folder.downloads, wanted, keep=folder.received, say=_say)
                try:
                    whole = _convert(piece, got, folder, asked, patience=min(MISSING, len(plan.pieces)))
                finally:
                    got.close()
                if whole and asked.discard:
                    got.discard(keep=shared)
    finally:
        folder.save()
    return _conclude(folder, plan, asked)


def _convert(piece: Piece, got: Fetched, folder: Folder, asked: argparse.Namespace, *, patience: int) -> bool:
    """Convert a piece; returns whether all its cases exist now."""
    names, refused = [], False
    try:
        for name, make in piece.cases(got):
            if name not in folder.names:
                if asked.cases is not None and len(folder.names) >= asked.cases:
                    return False
                try:
                    _say(f"{name}: {folder.add(name, make(), piece=piece.name)}")
                except (ValueError, MissingError) as error:
                    refused = True
                    _leave_out(name, error, folder, patience)
                    continue
                finally:
                    got.forget()
            names.append(name)
    except (ValueError, MissingError) as error:  # before any case, such as for a damaged archive
        _leave_out(piece.name, error, folder, patience)
        return False
    if not refused:  # else it is tried again next time
        folder.finish(piece.name, names)
    return not refused


def _leave_out(name: str, error: Exception, folder: Folder, patience: int) -> None:
    folder.absent += isinstance(error, MissingError)
    if folder.absent >= patience:
        raise error
    _say(f"{name}: left out. {error}")
    folder.refuse(name, str(error))


def _say(what: str) -> None:
    print(f"  {what}", flush=True)


def _announce(plan: Plan, asked: argparse.Namespace) -> None:
    about, total = plan.about, round(sum(piece.count for piece in plan.pieces))
    count = min(asked.cases or total, total)
    size, left, known = 0.0, count, set()
    for piece in plan.pieces:
        new = [one for one in (*piece.downloads, *piece.series) if one not in known]
        known.update(new)
        size += sum(one.bytes for one in new) * min(1.0, left / piece.count)
        left -= piece.count
        if left <= 0:
            break
    there = next(parent for parent in (asked.out, *asked.out.absolute().parents) if parent.is_dir())
    print(about.name)
    for what, text in (
        ("cases", f"{count} of {total}"),
        ("size", f"about {in_words(size)} to fetch; {in_words(shutil.disk_usage(there).free)} free" if size else ""),
        ("time", f"about {_duration(size / SPEED)} at 10 MB/s" if size else ""),
        ("licence", about.licence),
        ("cite", about.citation),
        ("account", about.account or "none needed"),
        ("source", about.source),
        ("serves", ", ".join(about.tables)),
        ("writes", f"{asked.out}: dataset.json, imagesTr/, labelsTr/, provenance.json, downloads/"),
        *(("mind", text) for text in about.mind),
    ):
        if text:
            print(f"  {what:8} {text}")
    if asked.dry_run:
        for one in [*plan.pieces[0].downloads, *plan.pieces[0].series][:4]:
            print(f"  begins   with {getattr(one, 'url', None) or f'DICOM series {one.uid} ({one.patient})'}")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _conclude(folder: Folder, plan: Plan, asked: argparse.Namespace) -> int:
    names, refused = folder.names, folder.log["refused"]
    print(f"{len(names)} cases of {plan.about.name} in {asked.out}" + (f", {len(refused)} left out" if refused else ""))
    for name, why in refused.items():
        print(f"  {name}: {why}")
    if names:
        print(f"  look at them: python {Path(sys.argv[0])} check --out {asked.out}")
        if folder.downloads.is_dir() and any(folder.downloads.iterdir()):
            print(f"  {folder.downloads} is no longer needed")
    return 0 if names else 1
