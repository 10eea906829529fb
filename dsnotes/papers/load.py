"""Load a trained system from its run's folder: the network, its best weights, and how its images were prepared.

system = dsnotes.load("runs/first")                       # the folder, or a zip of it
system = dsnotes.load("runs/mine", network=my_backbone)   # a network that dsnotes.build does not know
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import urllib.request
import zipfile
from dataclasses import fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from torch import nn

from dsnotes.data.task import TASK, read_task
from dsnotes.networks.base import Backbone, Network
from dsnotes.papers import build, recipes
from dsnotes.supervision import Plain, supervise
from dsnotes.training import checkpoints
from dsnotes.training.run_identity import is_unwritten
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

FILES = (checkpoints.SETTINGS, checkpoints.BEST, checkpoints.CHECKPOINT, TASK)
LARGEST = 4 * 2**30  # bytes of a run, unpacked


def load(
    run: str | Path,
    *,
    network: nn.Module | System | None = None,
    weights: str | None = None,
    sha256: str | None = None,
    **options: Any,
) -> System:
    """The system that `dsnotes.fit(…, out=run)` trained, with its best weights, on the CPU.

    A system of `dsnotes.build` is built again as it was; `options` supplies what a file cannot hold, such as a
    teacher. For any other system pass `network`, the backbone or system that was trained, made in the same way; a
    backbone predicts with its own output, and the heads are dropped.
    `weights` is "best.pt" (if the run was validated) or "checkpoint.pt". `run` may be a zip of the folder, or the
    https address of one with its `sha256`. `system.task` says how images were prepared, `system.labels` names the
    label values.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = _folder(run, Path(scratch), sha256)
        written = _written(folder)
        path = _weights(folder, weights)
        system = _built(written, network, options, run)
        found = checkpoints.read(path)["network"]
        if isinstance(network, Backbone):  # heads serve training only
            found = {name: value for name, value in found.items() if name.startswith("backbone.")}
        checkpoints.refuse_other_network(found, system.network, path)
        system.network.load_state_dict(found)
        system.network.eval()
        known = {each.name for each in fields(Settings)}
        settings = {key: _tuples(value) for key, value in written["settings"].items() if key in known}
        if isinstance(settings.get("augment"), dict):  # used in training only
            settings["augment"] = True
        return replace(system, settings=Settings(**settings), task=read_task(folder) or system.task)


def _built(written: dict, network: nn.Module | System | None, options: dict, run: str | Path) -> System:
    name, arguments = written["system"], written["build"] or {}
    if isinstance(network, System):
        return network
    if isinstance(network, Network):
        return System(name, network, Plain())
    if network is not None:
        return System(name, supervise(network, Plain()), Plain())
    if arguments.get("name") not in recipes():
        raise ValueError(
            f"{run} holds the weights of {name!r}, which dsnotes.build did not make. Pass the backbone or the system "
            f"that was trained, made in the same way: dsnotes.load({str(run)!r}, network=backbone)."
        )
    unwritten = [key for key, value in arguments.items() if is_unwritten(value) and key not in options]
    if unwritten:
        raise ValueError(
            f"{name!r} was built with {', '.join(f'{key}={arguments[key]}' for key in unwritten)}, which a file cannot "
            f"hold. Pass the same again: dsnotes.load({str(run)!r}, {', '.join(f'{key}=…' for key in unwritten)})."
        )
    return build(**{key: _tuples(value) for key, value in arguments.items()} | options)


def _written(folder: Path) -> dict:
    path = folder / checkpoints.SETTINGS
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        return {"system": str(written["system"]), "settings": dict(written["settings"]), "build": written.get("build")}
    except FileNotFoundError:
        near = [found.parent for found in sorted(folder.glob(f"*/{checkpoints.SETTINGS}"))[:3]]
        hint = f"Did you mean {near[0]}?" if near else "Pass the folder that dsnotes.fit had as out=."
        raise FileNotFoundError(
            f"{folder} holds no {checkpoints.SETTINGS}, so it is not a run of dsnotes.fit. {hint}"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}). Copy the run again.") from error


def _weights(folder: Path, name: str | None) -> Path:
    for each in (name,) if name else (checkpoints.BEST, checkpoints.CHECKPOINT):
        if (folder / each).is_file():
            return folder / each
    there = ", ".join(sorted(path.name for path in folder.glob("*.pt"))) or "none"
    raise FileNotFoundError(f"{folder} holds no {name or checkpoints.BEST}; its weights: {there}. Pass weights=….")


def _folder(run: str | Path, scratch: Path, sha256: str | None) -> Path:
    text = str(run)
    if text.startswith("http://"):
        raise ValueError(f"{text} is not encrypted. Pass an https address with its sha256=.")
    if text.startswith("https://"):
        if not sha256:
            raise ValueError(
                f"{text} needs a sha256=, to check that the file is the right one. Take the sum from where the "
                f"address comes from, and pass sha256='…' (64 hexadecimal digits)."
            )
        run = scratch / "run.zip"
        with urllib.request.urlopen(text, timeout=60) as answer, open(run, "wb") as file:
            while piece := answer.read(1 << 20):
                file.write(piece)
                if file.tell() > LARGEST:
                    raise ValueError(f"{text} is larger than {LARGEST >> 30} GiB. Download it yourself, and load it.")
    path = Path(run)
    if not path.exists():
        raise FileNotFoundError(f"{text} does not exist. Pass a run's folder, or a zip of it.")
    if path.is_dir():
        return path
    if sha256:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256.lower():
            raise ValueError(f"{text} has the sha256 {found}, not {sha256}. Download it again, or get the new sum.")
    return _unpacked(path, scratch / "run")


def _unpacked(path: Path, into: Path) -> Path:
    """Extract only the run's four files from a zip, by base name, into `into`."""
    into.mkdir()
    try:
        with zipfile.ZipFile(path) as archive:
            members = {PurePosixPath(each.filename.replace("\\", "/")).name: each for each in archive.infolist()}
            wanted = {name: members[name] for name in FILES if name in members}
            if sum(each.file_size for each in wanted.values()) > LARGEST:
                raise ValueError(f"{path} unpacks to more than {LARGEST >> 30} GiB. Unpack it yourself, and load that.")
            for name, member in wanted.items():
                left = member.file_size
                with archive.open(member) as source, open(into / name, "wb") as file:
                    while piece := source.read(min(left, 1 << 20)):
                        file.write(piece)
                        left -= len(piece)
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"{path} is neither a folder nor a zip ({error}). Pass a run's folder, or a zip of it."
        ) from error
    return into


def _tuples(value: Any) -> Any:
    """Lists from JSON turned back into tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
