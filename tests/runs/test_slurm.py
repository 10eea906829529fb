"""A sweep as a Slurm job array: bash reads it, and a stand-in for the scheduler runs every job."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dsnotes.cli import main
from dsnotes.runs.notebook import finished, folder_of
from dsnotes.runs.plan import open_plan
from dsnotes.runs.slurm import MAX_ARRAY_SIZE

pytestmark = pytest.mark.skipif(os.name != "posix" or not shutil.which("bash"), reason="Slurm's scripts need bash")
SWEEP = """notebook: tiny.py
parameters: {patch: [1, 2], options: {alpha: [1, 0.5], name: "it's a $HOME"}}
list: [{system: mss-unet}, {system: "two words; exit 3"}]
timeout: 100
"""


@pytest.fixture
def script(tiny, tmp_path, monkeypatch) -> Path:
    """The job array of two runs whose values a shell could misread."""
    monkeypatch.chdir(tmp_path)
    Path("my sweep.yml").write_text(SWEEP, encoding="utf-8")
    monkeypatch.setattr("dsnotes.runs.experiment_names.check_names", lambda *_: None)
    assert main(["sweep", "my sweep.yml", "--sbatch", "jobs.sh"]) == 0
    return Path("jobs.sh").absolute()


def submit(script: Path) -> list[subprocess.CompletedProcess]:
    """What Slurm does with an array: the script once per number, from another folder."""
    first, last = map(int, re.search(r"^#SBATCH --array=(\d+)-(\d+)$", script.read_text(), flags=re.M).groups())
    return [
        subprocess.run(
            ["bash", script],
            env=os.environ | {"SLURM_ARRAY_TASK_ID": str(number)},
            cwd="/",
            capture_output=True,
            text=True,
        )
        for number in range(first, last + 1)
    ]


def test_a_job_array_computes_exactly_the_runs_of_the_sweep_and_again_none(script):
    plan = open_plan("my sweep.yml")
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    assert "#SBATCH --time=7\n" in script.read_text()  # minutes: the runs' own limit and what starting takes
    done = submit(script)
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    folders = {folder_of(plan.source, values, "runs").absolute() for values in plan.runs}
    assert all(finished(folder) for folder in folders)
    assert {path.absolute() for path in Path("runs").iterdir() if path.is_dir()} == folders
    assert all("was done before" in one.stdout for one in submit(script))


def test_a_job_outside_the_array_is_refused(script):
    without = {name: value for name, value in os.environ.items() if name != "SLURM_ARRAY_TASK_ID"}
    assert (
        "submit this file with sbatch"
        in subprocess.run(["bash", script], env=without, capture_output=True, text=True).stderr
    )
    beyond = subprocess.run(
        ["bash", script], env=without | {"SLURM_ARRAY_TASK_ID": "2"}, capture_output=True, text=True
    )
    assert beyond.returncode == 2
    assert "there is no run 2" in beyond.stderr


def test_more_runs_than_an_array_may_have_are_refused(tiny, tmp_path, capsys):
    sweep = tmp_path / "large.yml"
    sweep.write_text(f"notebook: tiny.py\ngrid: {{seed: {list(range(MAX_ARRAY_SIZE + 1))}}}\n", encoding="utf-8")
    assert main(["sweep", str(sweep), "--sbatch", str(tmp_path / "jobs.sh")]) == 2
    assert (
        f"has {MAX_ARRAY_SIZE + 1} runs, and Slurm accepts arrays of {MAX_ARRAY_SIZE}; split it"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "jobs.sh").exists()
