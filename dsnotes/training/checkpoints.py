"""A run's folder: what must be on disk so that the same command goes on where the run was stopped.

checkpoint.pt   everything after the last finished epoch: weights, optimisers, the step's own state, the history
best.pt         the weights with the highest validation score, for network.load_state_dict(torch.load(…))
history.jsonl   the history again, one line an epoch, for others to read
settings.json   what the run was asked for
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dsnotes.training.history import History, to_line
from dsnotes.training.step import Step

CHECKPOINT, BEST, HISTORY, SETTINGS = "checkpoint.pt", "best.pt", "history.jsonl", "settings.json"


def prepare(out: str | Path) -> Path:
    """The folder, made if need be and found writable, before anything is computed."""
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


def save(folder: Path, *, run: dict, network: nn.Module, step: Step, history: History) -> None:
    """Everything after a finished epoch. A kill at any moment leaves the old checkpoint or the new one, never half."""
    weights = network.state_dict()
    if history.records and history.best is history[-1] and "val_score" in history[-1]:
        write(folder / BEST, lambda file: torch.save(weights, file), kept=len(history) - 1)
    content = {
        "run": run,
        "network": weights,
        "optimisers": {name: optimiser.state_dict() for name, optimiser in step.optimisers.items()},
        "step": step.state_dict(),
        "history": history.records,
        "notes": history.notes,
    }
    write(folder / CHECKPOINT, lambda file: torch.save(content, file), kept=len(history) - 1)
    lines = "".join(map(to_line, history)).encode()
    write(folder / HISTORY, lambda file: file.write(lines), kept=len(history))


def write(path: Path, fill: Callable, *, kept: int) -> None:
    """Fill a file beside `path`, bring it to disk, then put it in the place of `path` in one move."""
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        part.unlink(missing_ok=True)
        left = f"The checkpoint after epoch {kept} is kept" if kept > 0 else "No epoch had been kept yet"
        raise OSError(
            f"{path} could not be written ({error}). {left}: free some space in {path.parent} "
            f"and run the same command again, it goes on from there."
        ) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def load(folder: Path) -> dict | None:
    """What `save` left there, on the CPU; None where there is nothing yet."""
    path = folder / CHECKPOINT
    return read(path) if path.exists() else None


def read(path: Path) -> dict:
    content = _loaded(path)
    if not isinstance(content, dict) or "network" not in content:
        raise ValueError(f"{path} was not written by dsnotes.fit. Delete it to start anew, or pass another out.")
    return content


def weights_of(path: Path) -> dict[str, Tensor]:
    """The network's weights in a `best.pt`, which holds nothing else, or in a `checkpoint.pt`."""
    content = _loaded(path)
    weights = content.get("network", content) if isinstance(content, dict) else {}
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"{path} holds no weights of a network. Pass the best.pt or checkpoint.pt of a run.")
    return weights


def _loaded(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a zip error, an unpickling error, …: torch has no common class for them
        raise ValueError(
            f"{path} is no readable checkpoint ({error}). Delete it to start anew, or pass another out."
        ) from error


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
    found = weights_of(Path(path))
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
    """Name every setting in which the run on disk differs from the one asked for."""
    there, now = ({**run["settings"], **{k: v for k, v in run.items() if k != "settings"}} for run in (found, run))
    if now["schedule"] != "poly":  # any other rate is the same however long the run shall last
        there.pop("epochs"), now.pop("epochs")
    differing = [name for name in {**there, **now} if there.get(name) != now.get(name)]
    if differing:
        listed = "; ".join(f"{name} was {there.get(name)!r}, now {now.get(name)!r}" for name in differing)
        repeat = ", ".join(f"{name}={there.get(name)!r}" for name in differing)
        raise ValueError(
            f"{path} belongs to another run: {listed}. To go on with that run, repeat it ({repeat}); "
            f"to start a new one, pass another out."
        )


def writable(arguments: Mapping[str, object] | None) -> dict | None:
    """What a system was built with, as JSON gives it back; what is no value leaves its type, as "<System>"."""
    if arguments is None:
        return None
    return json.loads(json.dumps(dict(arguments), default=lambda x: str(x) if isinstance(x, Path) else _unwritten(x)))


def is_unwritten(value: object) -> bool:
    return isinstance(value, str) and value.startswith("<") and value.endswith(">")


def _unwritten(value: object) -> str:
    return f"<{type(value).__name__}>"


def describe(folder: Path, content: dict) -> None:
    """settings.json: what the run was asked for, for people and for tables."""
    text = (json.dumps(content, indent=2) + "\n").encode()
    write(folder / SETTINGS, lambda file: file.write(text), kept=0)
