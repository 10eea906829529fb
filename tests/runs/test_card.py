"""`dsnotes card`: what it says is what the run holds, and the worst cases are shown."""

import json
import shlex
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from dsnotes.cli import main
from dsnotes.data import phantoms
from dsnotes.runs.card import card, spread, worst
from dsnotes.runs.predict_command import load_run, weights_hash
from dsnotes.runs.provenance import provenance

PARAMETERS = {"data": "kidneys", "system": "unet-3d", "phantom_cases": 5, "phantom_size": [16, 32, 32], "fold": 0}
DICE = (0.9, 0.3, 0.7, 0.5, 0.8)


@pytest.fixture
def finished(run) -> Path:
    """A run whose five test cases were scored: the second is the worst, and was missed in one of its classes."""
    cases = phantoms.kidneys(5, seed=0, size=(16, 32, 32))
    parts = {"training": cases[:3], "validation": cases[3:4], "test": cases}
    folder = run(about=provenance("kidneys", cases, parts), ignore=3)
    rows = {
        case.name: {"dice": dice, "dice_kidney": dice, "dice_big tumour": dice / 2, "hausdorff95": 10 * dice}
        for case, dice in zip(cases, DICE, strict=True)
    }
    rows[cases[1].name]["hausdorff95"] = float("inf")
    content = {"parameters": PARAMETERS, "cases": rows, "started": "2026-01-02T03:04", "seconds": 7200}
    (folder / "result.json").write_text(json.dumps(content))
    return folder


def test_it_says_what_the_run_holds(finished):
    assert main(["card", str(finished)]) == 0
    text = (finished / "README.md").read_text(encoding="utf-8")
    system = load_run(str(finished))
    count = sum(weight.numel() for weight in system.network.parameters())
    assert f"{count:,} parameters; trained 2026-01-02" in text
    assert weights_hash(system.network) in text
    assert "cases: 3 training, 1 validation, 5 test" in text
    assert "segments kidney, big tumour in images of 1 channel" in text
    assert "Voxels of value 3 (ignore) counted in no loss and no score" in text
    assert "not for images of patients" in text  # they are phantoms
    assert "| hours | 2 |" in text
    sd = np.std(DICE, ddof=1)
    assert f"| Dice | {np.mean(DICE):.3f} ± {sd:.3f} | 0.300 | 5 |" in text
    assert f"| Dice, big tumour | {np.mean(DICE) / 2:.3f} ± {sd / 2:.3f} | 0.150 | 5 |" in text
    finite = np.delete(DICE, 1) * 10  # a class that was missed is infinitely far: the number of cases says so
    assert f"| Hausdorff 95 % (mm) | {finite.mean():.3f} ± {finite.std(ddof=1):.3f} | 9.000 | 4 |" in text


def test_the_three_worst_are_shown_the_worst_first(finished):
    text = card(finished).read_text(encoding="utf-8")
    names = [case.name for case in phantoms.kidneys(5, seed=0, size=(16, 32, 32))]
    shown = [text.index(f"{names[number]}, Dice {DICE[number]:.3f}") for number in (1, 3, 2)]
    assert shown == sorted(shown)
    assert f"{names[4]}, Dice" not in text
    pictures = [matplotlib.image.imread(finished / "card" / f"worst-{number}.png") for number in (1, 2, 3)]
    assert all(picture[..., :3].std() > 0.05 and min(picture.shape[:2]) > 100 for picture in pictures)
    assert not np.array_equal(pictures[0], pictures[1])
    assert text.count("](card/worst-") == 3


def test_the_command_makes_the_run_again(finished):
    text = card(finished).read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("dsnotes run"))
    words = shlex.split(line)
    given = dict(word.split("=", 1) for word in words if "=" in word)
    assert words[2] == "notebooks/80_experiment.py"
    assert given == {"data": "kidneys", "system": "unet-3d", "phantom_cases": "5", "phantom_size": "[16, 32, 32]"}
    assert f"dsnotes predict {finished.name} scan.nii.gz" in text


def test_a_dataset_that_is_gone_leaves_the_names_of_the_worst(finished):
    about = json.loads((finished / "result.json").read_text())
    about["parameters"]["data"] = "data/gone"
    (finished / "result.json").write_text(json.dumps(about))
    text = card(finished).read_text(encoding="utf-8")
    assert "No pictures: data='data/gone' is neither a folder" in text
    assert "](card/" not in text


def test_a_run_that_is_not_finished_has_no_card(run, capsys):
    folder = run(result=False)
    assert main(["card", str(folder)]) == 2
    assert "holds no result.json" in capsys.readouterr().err
    assert not (folder / "README.md").exists()


def test_spread_and_worst_by_hand():
    cases = {"a": {"dice": 0.5, "hausdorff95": 2.0}, "b": {"dice": 0.7, "hausdorff95": 4.0}, "c": {"dice": None}}
    assert spread(cases, "dice") == pytest.approx((0.6, 0.02**0.5, 0.5, 2))
    assert spread(cases, "hausdorff95") == pytest.approx((3.0, 2**0.5, 4.0, 2))  # far is bad
    assert spread(cases, "iou") is None
    assert worst(cases) == ["a", "b"]
