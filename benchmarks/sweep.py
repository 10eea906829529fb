"""What a run costs over its bare notebook, and what a second worker brings to a sweep of 24 smoke runs.

    python benchmarks/sweep.py [--notebook notebooks/80_experiment.ipynb] [--runs 24] [--write]

The bare notebook is papermill in a process of its own, as a person would run it. A sweep's time includes starting and
ending its workers, and both sweeps compute the same runs, each with one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import keep, machine, table

ROOT = Path(__file__).resolve().parents[1]


def timed(words: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return time.perf_counter() - started


def overhead(notebook: Path, folder: Path, rounds: int) -> tuple[float, float, list[float]]:
    """Seconds bare and by `dsnotes run`, and how much longer the latter took in each round; they take turns."""
    bare, ours = [], []
    papermill = [sys.executable, "-m", "papermill", "--no-progress-bar", "--cwd", str(notebook.parent), str(notebook)]
    for turn in range(rounds + 1):
        bare.append(timed([*papermill, str(folder / f"bare{turn}.ipynb"), "-y", "{smoke: true}"]))
        words = ["run", str(notebook), "-p", "smoke=True", "--out", str(folder / f"ours{turn}")]
        ours.append(timed([sys.executable, "-m", "dsnotes", *words]))
    differences = [b - a for a, b in zip(bare[1:], ours[1:], strict=True)]  # the first round fills the caches
    return statistics.median(bare[1:]), statistics.median(ours[1:]), differences


def sweep(notebook: Path, folder: Path, workers: int, runs: int) -> float:
    plan = folder / f"sweep{workers}.yml"
    content = {"notebook": str(notebook), "parameters": {"smoke": True}, "grid": {"seed": list(range(runs))}}
    plan.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    out = folder / f"workers{workers}"
    words = [sys.executable, "-m", "dsnotes", "sweep", str(plan), "--workers", str(workers), "--out", str(out)]
    started = time.perf_counter()
    ran = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    seconds = time.perf_counter() - started
    assert re.search(rf"{runs} runs: {runs} done now", ran.stdout), ran.stdout
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--notebook", type=Path, default=ROOT / "notebooks" / "80_experiment.ipynb")
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    notebook = asked.notebook.resolve()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        bare, ours, more = overhead(notebook, folder, asked.rounds)
        one, two = (sweep(notebook, folder, workers, asked.runs) for workers in (1, 2))
    spread = f"{min(more):+.2f} … {max(more):+.2f}"
    rows = [
        ["a run, papermill alone", f"{bare:.1f} s", ""],
        ["the same by `dsnotes run`", f"{ours:.1f} s", f"{statistics.median(more):+.2f} s; {spread} by the round"],
        [f"{asked.runs} smoke runs, one worker", f"{one:.0f} s", ""],
        ["the same, two workers", f"{two:.0f} s", f"{one / two:.2f} times as fast"],
    ]
    text = "\n".join([f"## Runs and sweeps\n\n`{notebook.name}`, {machine()}.\n", table(["", "time", "change"], rows)])
    print(text)
    if asked.write:
        keep("sweep", text)


if __name__ == "__main__":
    main()
