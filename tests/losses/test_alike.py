"""Every loss of a prediction and a target refuses two of different shapes, which would be broadcast."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dsnotes.losses.overlap import require_alike

NAMES = ("binary_cross_entropy", "bce_dice", "cross_entropy", "dice_coefficient", "exponential_log", "focal",
         "full_scale", "ms_ssim", "soft_dice", "soft_iou")  # fmt: skip
ASK = """
import json, sys, torch
from dsnotes import losses
told = {}
for name in json.loads(sys.argv[1]):
    told[name] = []
    for p, t in (((2, 1, 16, 16), (2, 3, 16, 16)), ((2, 1, 16, 16), (2, 16, 16))):
        try:
            value = getattr(losses, name)(torch.rand(p), torch.rand(t), **({"weights": (1,)} if "exp" in name else {}))
        except ValueError as error:
            value = error
        told[name].append(str(value))
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told():
    """What each answers where nothing checks annotations: in a process of its own, as a person meets it."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", ASK, json.dumps(NAMES)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_says_which_shapes_came_and_what_to_do(told, name):
    channels, label = told[name]
    assert channels.startswith("the prediction has shape (2, 1, 16, 16), the target (2, 3, 16, 16);")
    assert "Take the same classes of both: p[:, 1:] and t[:, 1:]" in channels
    assert label.startswith("the prediction has shape (2, 1, 16, 16), the target (2, 16, 16);")
    assert label.endswith("dsnotes.supervision.targets.one_hot(label, 1).")


@pytest.mark.parametrize(
    ("t", "cure"),
    [
        (
            (2, 3, 8, 8),
            r"to the prediction's size: .*downsample_target\(label, \(4, 4\), channels=3\)\.",
        ),
        ((2, 1, 8, 8), r"Take the same classes of both"),
        ((1, 3, 4, 4), r"Take both from the same batch\."),
        ((2, 4, 4), r"one_hot\(label, 3\)\."),
    ],
)
def test_the_cure_is_for_what_differs(t, cure):
    require_alike(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match=cure):
        require_alike(torch.zeros(2, 3, 4, 4), torch.zeros(t))
