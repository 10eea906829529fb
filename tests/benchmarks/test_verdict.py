"""What a kept run of the verdict adds to those of notebook 80: the Dice of the output beside that of merged maps."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import verdict

import dsnotes
from dsnotes.data.phantoms import lung
from dsnotes.training.system import logits_to_probabilities


def test_the_output_is_predicted_behind_the_answer_in_one_pass():
    (case,) = lung(1, size=(16, 32, 32), seed=0)
    options = {"dims": 3, "width": 4, "halvings": 2, "patch": (16, 32, 32), "supervision": "two-pathway"}
    merging = dsnotes.build("nnu-net", in_channels=1, classes=2, **options)
    both = replace(merging, deploy=partial(verdict.with_output, deploy=merging.deploy))
    answer, output = np.split(dsnotes.predict(both, case), 2)
    np.testing.assert_array_equal(answer, dsnotes.predict(merging, case))
    np.testing.assert_array_equal(output, dsnotes.predict(replace(merging, deploy=logits_to_probabilities), case))
    assert np.abs(answer - output).max() > 1e-3  # an untrained network's other maps differ
