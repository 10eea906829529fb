"""What cannot be trained is refused before anything is computed, and the answer says what to type."""

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch

from dsnotes.training.checks import check_run
from dsnotes.training.fit import fit
from dsnotes.training.settings import Settings

QUIET = {"device": "cpu", "progress": False, "amp": False}

WRONG = {
    "one case": ("fit(tiny, case)", "train is a single case, 'square'. Pass a list: train=[case]."),
    "one case to validate": ("fit(tiny, [case], case)", "val is a single case, 'square'. Pass a list: val=[case]."),
    "a name": ("fit('unet-2d', [case])", "'unet-2d' is a name, but fit needs a system. Pass dsnotes.build('unet-2d')"),
    "a network": ("fit(tiny.network, [case])", "fit needs a System, but a Network came. Pass for instance dsnotes"),
    "a generator": ("fit(tiny, (c for c in [case]))", "train is a generator, but every epoch reads the cases again. "
                    "Pass them as a list: train=list(cases)."),
    "a dict": ("fit(tiny, {'a': case})", "train is a dict, but every epoch reads the cases again. Pass them as a "
               "list: train=list(cases.values())."),
    "a folder": ("fit(tiny, 'here')", "train='here' is a path. Open it first: dsnotes.open_dataset('here')."),
    "arrays": ("fit(tiny, [case, case.image])", "train[1] is a ndarray, not a case. Convert each item: dsnotes"),
    "half an epoch": ("fit(tiny, [case], epochs=1.5)", "epochs must be a whole number, got 1.5."),
    "a text": ("fit(tiny, [case], batch='2')", "batch must be a whole number, got '2'. For instance batch=2."),
    "nan": ("fit(tiny, [case], lr=float('nan'))", "lr must be a number, got nan. For instance lr=0.001."),
    "no number": ("fit(tiny, [case], lr='1e-3')", "lr must be a number, got '1e-3'. For instance lr=0.001."),
    "infinity": ("fit(tiny, [case], lr=float('inf'))", "lr must be finite, got inf."),
    "a setting": ("Settings(weight_decay=None)", "weight_decay must be a number, got None. For instance weight_"),
    "one number": ("fit(tiny, [case], patch=32)", "patch=32 is a single number, but a patch has one per axis. Pass "
                   "patch=(32, 32), or patch=(32, 32, 32) in 3-D."),
    "half a pixel": ("fit(tiny, [case], patch=[16.5, 16])", "patch=(16.5, 16) must hold whole numbers, one per axis"),
    "sides": ("build('msds-unet', width=2, dims=2, sides=(1, 2, 3, 4))", "sides=(1, 2, 3, 4) must be a string of side "
              "numbers. Pass sides='(1234)', for instance; 4 is the output."),
    "a side": ("build('msds-unet', width=2, dims=2, sides=4)", "sides=4 must be a string of side numbers. Pass sides="),
}  # fmt: skip
ASK = """
import json, sys
import numpy as np
from dsnotes import build, fit
from dsnotes.data.case import Case
from dsnotes.training.settings import Settings

tiny = build("unet-2d", width=2)
case = Case("square", np.eye(16, dtype=np.float32), np.eye(16, dtype=np.uint8), (1.0, 1.0))
told = {}
for name, code in json.loads(sys.argv[1]).items():
    try:
        eval(code)
    except (ValueError, TypeError) as error:
        told[name] = str(error)
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told():
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", ASK, json.dumps({name: code for name, (code, _) in WRONG.items()})]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_trained_is_answered(told, name):
    assert told[name].startswith(WRONG[name][1])


def test_a_patch_may_be_a_list(tiny, discs):
    lists, tuples = (fit(tiny(epochs=1), discs(4), patch=patch, **QUIET) for patch in ([8, 16], (8, 16)))
    assert lists["loss"] == tuples["loss"]


SMALLEST = {"progress": False, "device": "cpu", "amp": False, "patch": (2, 2), "epochs": 1}


@pytest.mark.parametrize(
    ("norm", "batch", "told"),
    [
        ("batch", 1, r"patch \(2, 2\) with batch=1 .*stride \(2, 2\).* larger patch.*\(4, 4\)\. Or pass batch=2\.$"),
        ("instance", 2, r"patch \(2, 2\) with batch=2 leaves a single voxel .*for instance patch=\(4, 4\)\.$"),
    ],
)
def test_a_patch_that_leaves_a_single_voxel_is_answered_with_the_remedy(tiny, discs, norm, batch, told):
    with pytest.raises(ValueError, match=told):
        fit(tiny(norm=norm), discs(4), batch=batch, **SMALLEST)
    remedy = {"batch": 2} if norm == "batch" else {"batch": batch, "patch": (4, 4)}
    assert len(fit(tiny(norm=norm), discs(4), **SMALLEST | remedy)) == 1


def test_asking_whether_a_patch_is_large_enough_changes_nothing_of_the_training(tiny, discs):
    def dropping_out(*_) -> None:
        torch.rand(1)

    system = tiny()
    system.network.register_forward_pre_hook(dropping_out)
    before = deepcopy(system.network.state_dict())
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    check_run(system, Settings(patch=(2, 2), batch=2), discs(1), None, 0)
    assert torch.equal(torch.rand(2), expected)
    torch.testing.assert_close(system.network.state_dict(), before, rtol=0, atol=0)


def test_every_setting_may_be_given_by_name_and_a_misspelt_one_is_answered(tiny, discs):
    history = fit(tiny(), discs(4), epochs=2, schedule="step", step_every=1, factor=0.5, **QUIET)
    assert history["lr"] == [0.01, 0.005]
    with pytest.raises(TypeError, match="fit has no option 'iteration'. Did you mean iterations"):
        fit(tiny(), discs(4), iteration=2, **QUIET)
    with pytest.raises(TypeError, match="fit has no option 'memory'"):
        fit(tiny(), discs(4), memory=8, **QUIET)


def test_none_leaves_a_setting_as_it_is(tiny, discs):
    assert len(fit(tiny(epochs=2), discs(4), epochs=None, **QUIET)) == 2
