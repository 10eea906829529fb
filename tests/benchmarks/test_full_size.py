"""The dry run at full size finds a row that cannot start, and counts a row's steps from the real sizes."""

from __future__ import annotations

import re
from pathlib import Path

import full_size
import pytest
import torch

from dsnotes.papers import build

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"
SMALL = """
notebook: {notebook}
parameters: {{recipe: dsnet, data: data/lidc, patch: [64, 64], split: [[387, 55, 544]]}}
list:
  - {{system: unet-2d}}
  - {{system: deeplabv3+}}
"""


def test_a_row_that_cannot_start_is_told_with_its_error(tmp_path, capsys, monkeypatch):
    """DeepLabV3+ cannot normalise one value of one image, and DSNet's batches hold one."""
    sweep = tmp_path / "small.yml"
    sweep.write_text(SMALL.format(notebook=SWEEPS.parent / "notebooks" / "80_experiment.py"))
    monkeypatch.setattr("sys.argv", ["full_size.py", str(sweep), "--shrink", "16"])
    with pytest.raises(SystemExit, match="1 rows do not start"):
        full_size.main()
    first, second = capsys.readouterr().out.splitlines()[-2:]
    assert first.startswith("unet-2d | yes | 352 / 50 / 494 | 352 | 60 | ")
    assert "deeplabv3+ | ValueError: DeepLabV3+ normalises one value per image" in second


def test_operations_are_three_forward_passes_of_the_real_batch():
    """A 2-D U-Net of width 4 by hand: 9 C C' multiply-adds a pixel, two operations each, for 2 x 4 images of 32²."""
    with torch.device("meta"):
        system = build("unet-2d", width=4)
    settings = system.settings.__class__(patch=(32, 32), batch=2, accumulate=4)
    widths, n, before, madds = [4, 8, 16, 32, 64], 32 * 32, 1, 0
    for level, width in enumerate(widths):
        madds += 9 * n // 4**level * (before * width + width * width)
        before = width
    for level, width in list(enumerate(widths))[:-1]:
        madds += n // 4**level * (4 * width * width // 2 + 9 * (2 * width * width + width * width))
    madds += n * 4
    found = full_size.flops(full_size.replace(system, settings=settings))
    assert found == 3 * 2 * madds * 2 * 4


def test_every_dataset_of_a_sweep_is_known():
    paths = [path for path in SWEEPS.glob("*.yml") if not path.stem.startswith("verdict-")]
    named = set(re.findall(r"data: (data/\w+)", "".join(path.read_text() for path in paths)))
    assert named <= set(full_size.SETS)
