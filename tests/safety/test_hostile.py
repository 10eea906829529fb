"""The script that throws wrong inputs, damaged files and flipped bytes at the package, run as anyone runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def survived(only: str) -> int:
    """How many were tried; fails with what was not survived."""
    command = [sys.executable, str(ROOT / "tests" / "hostile" / "run.py"), "--only", only]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    row = re.search(r"\| (\d+) \| (\d+) \|", ran.stdout)
    assert row, ran.stderr
    assert (ran.returncode, row[1]) == (0, row[2]), ran.stderr
    return int(row[1])


@pytest.mark.parametrize(("only", "least"), [("library", 250), ("bytes", 39)])
def test_what_is_tried_every_time(only, least):
    assert survived(only) >= least


@pytest.mark.slow
@pytest.mark.parametrize(("only", "least"), [("commands", 200), ("archives", 8000), ("kills", 10)])
def test_what_takes_minutes(only, least):
    assert survived(only) >= least
