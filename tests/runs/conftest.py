"""A notebook of a second, with the parameters that tables are sorted by, and results as its runs leave them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
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
