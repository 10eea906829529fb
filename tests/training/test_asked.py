"""What is no system, no cases and no number is told what to type, as a person meets it: where annotations are free."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dsnotes.training.fit import fit

QUIET = {"device": "cpu", "progress": False, "amp": False}

WRONG = {
    "one case": ("fit(tiny, case)", "train is a single case, 'square'. Pass a list: train=[case]."),
    "one case to validate": ("fit(tiny, [case], case)", "val is a single case, 'square'. Pass a list: val=[case]."),
    "a name": ("fit('unet-2d', [case])", "'unet-2d' is a name, fit trains what was built. Pass dsnotes.build('unet-2"),
    "a network": ("fit(tiny.network, [case])", "fit trains a System, and a Network came. Pass one that was built"),
    "a generator": ("fit(tiny, (c for c in [case]))", "train is a generator, but every epoch comes back to the cases. "
                    "Pass them as a list: train=list(cases)."),
    "a dict": ("fit(tiny, {'a': case})", "train is a dict, but every epoch comes back to the cases. Pass them as a "
               "list: train=list(cases.values())."),
    "a folder": ("fit(tiny, 'here')", "train='here' is a path. Pass what is there: dsnotes.open_dataset('here')."),
    "arrays": ("fit(tiny, [case, case.image])", "train[1] is a ndarray, not a case. Make each of them one: dsnotes"),
    "half an epoch": ("fit(tiny, [case], epochs=1.5)", "epochs=1.5 is no whole number. Pass one, such as epochs=2."),
    "a text": ("fit(tiny, [case], batch='2')", "batch='2' is no whole number. Pass one, such as batch=2."),
    "nan": ("fit(tiny, [case], lr=float('nan'))", "lr=nan is no number. Pass one, for instance lr=0.001."),
    "no number": ("fit(tiny, [case], lr='1e-3')", "lr='1e-3' is no number. Pass one, for instance lr=0.001."),
    "infinity": ("fit(tiny, [case], lr=float('inf'))", "lr=inf throws every weight away. Pass a finite rate"),
    "a setting": ("Settings(weight_decay=None)", "weight_decay=None is no number. Pass one, for instance weight_"),
    "one number": ("fit(tiny, [case], patch=32)", "patch=32 is one number, a patch has one for each axis. Pass "
                   "patch=(32, 32), or patch=(32, 32, 32) in 3-D."),
    "half a pixel": ("fit(tiny, [case], patch=[16.5, 16])", "patch=(16.5, 16) holds what is no whole number. Pass as"),
    "sides": ("build('msds-unet', width=2, dims=2, sides=(1, 2, 3, 4))", "sides=(1, 2, 3, 4) is no text of the sides' "
              "numbers. Pass sides='(1234)', for instance; 4 is the output."),
    "a side": ("build('msds-unet', width=2, dims=2, sides=4)", "sides=4 is no text of the sides' numbers. Pass s"),
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
