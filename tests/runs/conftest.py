"""A notebook of a second, results as its runs leave them, and a tiny trained run of the experiment's notebook."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import jupytext
import pytest

from dsnotes.runs.results_io import write_json, write_result

TINY = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A notebook of a second

# %% tags=["parameters"]
system: str = "mss-unet"  # the row of the table
data: str = "phantoms"  # the dataset
options: dict = {}  # of the system
fold: int = 0  # which third of the nine cases is tested
seed: int = 0  # moves every figure a little
scale: float = 1.0  # what every figure is multiplied with
patch: list[int] | None = None  # voxels an axis
wait: float = 0.0  # seconds
fail: str = ""  # raise, with these words
smoke: bool = False  # changes nothing

# %%
import time

from dsnotes import runs

print("waiting")
time.sleep(wait)

# %%
if fail:
    raise ValueError(fail)

# %%
base = {"mss-unet": 0.90, "classic-unet-3d": 0.80}.get(system, 0.5)
cases = {f"case{i}": {"dice_kidney": scale * (base + 0.01 * i + 0.003 * seed * (i % 2))} for i in range(fold, 9, 3)}
kept = runs.record(cases, system=system, dataset=data)
"""


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """What a shell keeps in the background is deaf to it, with all that it starts: not in this test."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """tiny.py, and its pair tiny.ipynb."""
    path = tmp_path / "tiny.py"
    path.write_text(TINY, encoding="utf-8")
    jupytext.write(jupytext.read(path), path.with_suffix(".ipynb"))
    return path


DEFAULTS = {"system": "mss-unet", "data": "phantoms", "options": {}, "fold": 0, "seed": 0, "scale": 1.0}


@pytest.fixture
def result(tmp_path: Path) -> Callable[..., Path]:
    """result(cases, system="fcn", …) writes what a finished run leaves; returns the folder of all runs."""
    number = iter(range(10_000))

    def write(cases: dict, *, about: dict | None = None, error: str = "", started: str = "2026", **parameters) -> Path:
        parameters = DEFAULTS | parameters
        folder = tmp_path / "runs" / f"tiny-{next(number):012}"
        folder.mkdir(parents=True)
        content = {"parameters": parameters, "cases": cases, "started": started}
        content["about"] = {"system": parameters["system"], "dataset": parameters["data"]} | (about or {})
        content |= {"error": error} if error else {}
        (write_json if error else write_result)(folder / ("failure.json" if error else "result.json"), content)
        return tmp_path / "runs"

    return write


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """run(seed) -> the folder of a tiny finished run, saved as `fit` and the experiment's notebook save it."""

    import numpy as np
    import torch

    import dsnotes
    from dsnotes.data import phantoms
    from dsnotes.data.preprocess import Preprocess
    from dsnotes.data.task import Task

    steps = (Preprocess(clip=(-100.0, 300.0), normalise="window"),)
    names = {0: "background", 1: "kidney", 2: "big tumour"}

    def make(seed=0, *, name=None, result=True, **changed):
        changes = {
            "labels": names,
            "preprocessing": steps,
            "window": {"patch": (16, 16, 16), "overlap": 0.25},
        } | changed
        channels = changes.pop("in_channels", 1)
        torch.manual_seed(seed)
        system = dsnotes.build("unet-3d", in_channels=channels, classes=3, width=4)
        for norm in system.network.modules():
            if hasattr(norm, "momentum"):
                norm.momentum = 0.0  # one step of training changes nothing that the next lines prepare
        with torch.no_grad():  # every class is the likeliest somewhere
            logits = system.network.eval()(torch.rand(1, channels, 16, 32, 32)).logits
            system.network.backbone.output.bias -= logits.flatten(2).median(2).values[0]
        folder = tmp_path / "runs" / (name or f"80_experiment-{seed}")
        cases = phantoms.kidneys(1, seed=0, size=(16, 32, 32))
        if channels > 1:
            cases = [replace(case, image=np.stack([case.image] * channels)) for case in cases]
        how = {
            "patch": (16, 32, 32),
            "epochs": 1,
            "iterations": 1,
            "batch": 1,
            "lr": 1e-9,
            "device": "cpu",
            "progress": False,
        }
        task = Task(**changes)
        dsnotes.fit(replace(system, task=task), cases, out=folder / "training", **how)
        if result:
            (folder / "result.json").write_text('{"parameters": {}, "cases": {}, "started": "2026"}')
        return folder

    return make
