"""A run's folder: what must be on disk so that the same command goes on where the run was stopped.

checkpoint.pt            everything after the last finished epoch: weights, optimisers, the step's state, the history
checkpoint.previous.pt   the same after the epoch before, in case the newest is damaged
best.pt                  the weights with the highest validation score, as a state dict: torch.load reads it too
history.jsonl            the history again, one line an epoch, for others to read
settings.json            the run: system, settings, seed, and what its data are

The .pt files end in their sha256, in the comment that every zip file may have, and are refused where it does not fit.
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
    """Another training writes into the same folder."""


def prepare(out: str | Path) -> Path:
    """The folder, made if need be and found writable, before anything is computed."""
    if not str(out).strip():
        raise ValueError(
            f"out={str(out)!r} is empty. Pass the name of a folder, for instance out='runs/first', or out=None to keep "
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
            f"out={str(out)!r} cannot be written to ({error.strerror}), and training would be lost. "
            f"Pass a folder of your own, for instance out='runs/first', or out=None to keep nothing."
        ) from error
    return folder


@contextmanager
def alone(folder: Path | None) -> Iterator[None]:
    """Until it ends, no other training may use the folder; one that tries is told who is there.

    The lock belongs to the process and ends with it, however it ends. None locks nothing.
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
    """Everything after a finished epoch. A kill at any moment leaves the old checkpoint or the new one, never half."""
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
    """Fill a file beside `path` and move it into place once it is on disk; what was there is kept as `before`."""
    try:
        with atomic.atomic(path, "w+b") as file:
            fill(file)
            if sealed:
                checksums.seal(file)
            if before is not None and path.exists():
                atomic.keep(path, path.with_name(before))
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        left = f"The checkpoint after epoch {kept} is kept" if kept > 0 else "No epoch had been kept yet"
        raise OSError(
            f"{path} could not be written ({error}). {left}: free some space in {path.parent} "
            f"and run the same command again, it goes on from there."
        ) from error


def load(folder: Path) -> dict | None:
    """What `save` left there, on the CPU; None where there is nothing yet."""
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
    """A `checkpoint.pt`, or a `best.pt` as {"network": its weights}; refused where a byte of it has changed."""
    try:
        checksums.require_sealed(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except checksums.DamagedError as error:
        raise ValueError(f"{error} {_remedy(path)}") from error
    except IsADirectoryError as error:
        raise ValueError(f"{path} is a folder. Pass the file in it, {path / CHECKPOINT} or {path / BEST}.") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"there is no {path}. A run's weights are its {CHECKPOINT} and, where it was validated, its {BEST}."
        ) from error
    except Exception as error:  # a zip error, an unpickling error, …: torch has no common class for them
        raise ValueError(f"{path} cannot be read as a checkpoint ({error}). {_remedy(path)}") from error
    if isinstance(content, dict) and content and all(isinstance(value, Tensor) for value in content.values()):
        return {"network": content}
    if not isinstance(content, dict) or "network" not in content:
        raise ValueError(f"{path} holds no weights: dsnotes.fit did not write it. {_remedy(path)}")
    return content


def _remedy(path: Path) -> str:
    """What to type where a file cannot be used."""
    previous = path.with_name(PREVIOUS)
    if path.name == CHECKPOINT and previous.exists():
        return f"To go on from the epoch before it: mv {previous} {path}. To start anew, pass another out."
    return "Copy it again from where it came, delete it to start anew, or pass another out."


def restore(found: dict, *, network: nn.Module, step: Step) -> History:
    """Put network, optimisers and step back to where the checkpoint was written; its history."""
    network.load_state_dict(found["network"])
    step.load_state_dict(found["step"])  # first: it may make the optimisers of what it brings along
    if found["optimisers"].keys() != step.optimisers.keys():
        raise ValueError(
            f"the checkpoint holds the optimisers {sorted(found['optimisers'])}, this system's step has "
            f"{sorted(step.optimisers)}. Build the system as that run did, or pass another out."
        )
    for name, optimiser in step.optimisers.items():
        optimiser.load_state_dict(found["optimisers"][name])
    history = History(found["history"])
    history.notes = list(found["notes"])
    return history


def load_weights(network: nn.Module, path: str | Path) -> None:
    """The weights of a `best.pt` or `checkpoint.pt` into a network built in the same way."""
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
    """Name every field in which the run on disk differs from the one asked for."""
    there, now = flat(found), flat(run)
    if now.get("schedule") != "poly":  # any other rate is the same however long the run shall last
        there.pop("epochs", None), now.pop("epochs", None)
    differing = [name for name in {**there, **now} if there.get(name) != now.get(name)]
    if differing:
        digests = [name for name in differing if str(there.get(name, now.get(name))).startswith("sha256:")]
        told = [name for name in differing if name not in digests]
        listed = [f"{name} was {there.get(name)!r}, now {now.get(name)!r}" for name in told]
        listed = "; ".join([*listed, *(f"{name} differs" for name in digests)])
        repeat = ", ".join([*(f"{name}={there.get(name)!r}" for name in told), *(f"the same {n}" for n in digests)])
        raise ValueError(
            f"{path} belongs to another run: {listed}. To go on with that run, repeat it ({repeat}); "
            f"to start a new one, pass another out."
        )


def flat(run: dict) -> dict:
    """Settings by their own names, the rest as "objective.dice" or "training data.labels"."""
    found = dict(run.get("settings", {}))
    for key, value in run.items():
        if key != "settings":
            found |= {f"{key}.{name}": one for name, one in value.items()} if isinstance(value, dict) else {key: value}
    return found


def describe(folder: Path, content: dict) -> None:
    """settings.json: what the run is, for people and for tables."""
    text = (json.dumps(content, indent=2) + "\n").encode()
    write(folder / SETTINGS, lambda file: file.write(text), kept=0)
