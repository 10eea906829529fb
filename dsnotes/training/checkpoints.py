"""A run's folder, from which the same command resumes an interrupted run.

checkpoint.pt            everything after the last finished epoch: weights, optimisers, the step's state, the history
checkpoint.previous.pt   the same after the epoch before, in case the newest is damaged
best.pt                  the weights with the highest validation score, as a state dict that torch.load reads too
history.jsonl            the history once more, one line per epoch, for other programs
settings.json            a description of the run: system, settings, seed and data

The .pt files hold their sha256 in their zip comment; a file that does not match it is rejected.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from dsnotes.safety import atomic, checksums
from dsnotes.training.history import History, to_line
from dsnotes.training.step import Step

CHECKPOINT, BEST, HISTORY, SETTINGS = "checkpoint.pt", "best.pt", "history.jsonl", "settings.json"
PREVIOUS, LOCK, HOLDER = "checkpoint.previous.pt", ".lock", ".running.json"
KEYS = ("run", "network", "optimisers", "step", "history", "notes")


class BusyError(RuntimeError):
    """Another training is running in the same folder."""


def prepare(out: str | Path) -> Path:
    """The folder, created if needed and checked to be writable, before anything is computed."""
    if not str(out).strip():
        raise ValueError(
            f"out={str(out)!r} is empty. Pass the name of a folder, for instance out='runs/first', or out=None to save "
            f"nothing."
        )
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"cannot write to out={str(out)!r} ({error.strerror}), so the training would be lost. "
            f"Pass a writable folder, for instance out='runs/first', or out=None to save nothing."
        ) from error
    return folder


@contextmanager
def locked_folder(folder: Path | None) -> Iterator[None]:
    """Lock the folder against other trainings; a second one gets an error that names this process.

    The lock ends with the process, however it ends. With None nothing is locked.
    """
    if folder is None:
        yield
        return
    from filelock import FileLock, Timeout

    holder = folder / HOLDER
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        try:
            who = json.loads(holder.read_text(encoding="utf-8"))
            named = f"process {who['pid']} on {who['host']}"
        except (OSError, ValueError, KeyError, TypeError):
            named = "another process"
        raise BusyError(
            f"{folder} is in use: {named} is training there. Wait for it or stop it, or pass another out."
        ) from None
    try:
        for name in (CHECKPOINT, PREVIOUS, BEST, HISTORY, SETTINGS, HOLDER):
            atomic.remove_leftovers(folder, name)
        atomic.write_text(holder, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def save(folder: Path, *, run: dict, network: nn.Module, step: Step, history: History) -> None:
    """Save everything after a finished epoch, atomically: a kill leaves the old checkpoint or the new one."""
    weights = network.state_dict()
    kept = len(history) - 1
    if history.records and history.best is history[-1] and "val_score" in history[-1]:
        write(folder / BEST, lambda file: torch.save(weights, file), kept=kept, sealed=True)
    content = {
        "run": run,
        "network": weights,
        "optimisers": {name: optimiser.state_dict() for name, optimiser in step.optimisers.items()},
        "step": step.state_dict(),
        "history": history.records,
        "notes": history.notes,
    }
    write(folder / CHECKPOINT, lambda file: torch.save(content, file), kept=kept, sealed=True, before=PREVIOUS)
    lines = "".join(map(to_line, history)).encode()
    write(folder / HISTORY, lambda file: file.write(lines), kept=len(history))


def write(path: Path, fill: Callable, *, kept: int, sealed: bool = False, before: str | None = None) -> None:
    """Write a file beside `path` and move it into place once it is on disk; the old file is kept as `before`."""
    try:
        with atomic.atomic(path, "w+b") as file:
            fill(file)
            if sealed:
                checksums.seal(file)
            if before is not None and path.exists():
                atomic.keep(path, path.with_name(before))
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        left = f"The checkpoint after epoch {kept} is intact" if kept > 0 else "No epoch has been saved yet"
        raise OSError(
            f"cannot write {path} ({error}). {left}: free some space in {path.parent} "
            f"and run the same command again to resume from there."
        ) from error


def load(folder: Path) -> dict | None:
    """The checkpoint in `folder`, on the CPU; None if there is none yet."""
    path = folder / CHECKPOINT
    if not path.exists():
        if (folder / PREVIOUS).exists():
            raise ValueError(f"{path} is missing. {_remedy(path)}")
        return None
    found = read(path)
    if missing := [key for key in KEYS if key not in found]:
        raise ValueError(f"{path} lacks {', '.join(missing)}: dsnotes.fit did not write it. {_remedy(path)}")
    return found


def read(path: Path) -> dict:
    """A `checkpoint.pt`, or a `best.pt` as {"network": its weights}; an error if the file is damaged."""
    try:
        checksums.require_sealed(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except checksums.DamagedError as error:
        raise ValueError(f"{error} {_remedy(path)}") from error
    except IsADirectoryError as error:
        raise ValueError(f"{path} is a folder. Pass the file in it, {path / CHECKPOINT} or {path / BEST}.") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path} does not exist. A run's weights are in its {CHECKPOINT} and, if it was validated, its {BEST}."
        ) from error
    except Exception as error:  # a zip error, an unpickling error, …: torch has no common class for them
        raise ValueError(f"cannot read the checkpoint {path} ({error}). {_remedy(path)}") from error
    if isinstance(content, dict) and content and all(isinstance(value, Tensor) for value in content.values()):
        return {"network": content}
    if not isinstance(content, dict) or "network" not in content:
        raise ValueError(f"{path} holds no weights: dsnotes.fit did not write it. {_remedy(path)}")
    return content


def _remedy(path: Path) -> str:
    """What to type if a file cannot be used."""
    previous = path.with_name(PREVIOUS)
    if path.name == CHECKPOINT and previous.exists():
        return f"To resume from the epoch before it: mv {previous} {path}. To start over, pass another out."
    return "Copy it again from its source, delete it to start over, or pass another out."


def restore(found: dict, *, network: nn.Module, step: Step) -> History:
    """Load a checkpoint into network, optimisers and step; returns its history."""
    network.load_state_dict(found["network"])
    step.load_state_dict(found["step"])  # first, because it may create optimisers
    if found["optimisers"].keys() != step.optimisers.keys():
        raise ValueError(
            f"the checkpoint holds the optimisers {sorted(found['optimisers'])}, but this system's step has "
            f"{sorted(step.optimisers)}. Build the system as that run did, or pass another out."
        )
    for name, optimiser in step.optimisers.items():
        optimiser.load_state_dict(found["optimisers"][name])
    history = History(found["history"])
    history.notes = list(found["notes"])
    return history


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load the weights of a `best.pt` or `checkpoint.pt` into a network built in the same way."""
    found = read(Path(path))["network"]
    refuse_other_network(found, network, Path(path))
    network.load_state_dict(found)


def refuse_other_network(found: dict[str, Tensor], network: nn.Module, path: Path) -> None:
    there = {name: tuple(value.shape) for name, value in found.items()}
    now = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    differing = [name for name in {**there, **now} if there.get(name) != now.get(name)]
    if differing:
        few = "; ".join(
            f"{name} {there.get(name, 'absent')} there, {now.get(name, 'absent')} here" for name in differing[:3]
        )
        raise ValueError(
            f"{path} holds another network: {len(differing)} of its tensors differ ({few}). "
            f"Build the system as that run did (settings.json beside it says how), or pass another out."
        )


def refuse_other_run(found: dict, run: dict, path: Path) -> None:
    """Raise if the run on disk differs from this one, naming every field that differs."""
    there, now = flat(found), flat(run)
    if now.get("schedule") != "poly":  # other schedules do not depend on the number of epochs
        there.pop("epochs", None), now.pop("epochs", None)
    differing = [name for name in {**there, **now} if there.get(name) != now.get(name)]
    if differing:
        digests = [name for name in differing if str(there.get(name, now.get(name))).startswith("sha256:")]
        told = [name for name in differing if name not in digests]
        listed = [f"{name} was {there.get(name)!r}, now {now.get(name)!r}" for name in told]
        listed = "; ".join([*listed, *(f"{name} differs" for name in digests)])
        repeat = ", ".join([*(f"{name}={there.get(name)!r}" for name in told), *(f"the same {n}" for n in digests)])
        raise ValueError(
            f"{path} belongs to another run: {listed}. To resume that run, repeat its settings ({repeat}); "
            f"to start a new one, pass another out."
        )


def flat(run: dict) -> dict:
    """One flat dict: settings under their own names, other values as "objective.dice" or "training data.labels"."""
    found = dict(run.get("settings", {}))
    for key, value in run.items():
        if key != "settings":
            found |= {f"{key}.{name}": one for name, one in value.items()} if isinstance(value, dict) else {key: value}
    return found


def describe(folder: Path, content: dict) -> None:
    """Write settings.json, the description of the run, for people and for tables."""
    text = (json.dumps(content, indent=2) + "\n").encode()
    write(folder / SETTINGS, lambda file: file.write(text), kept=0)
