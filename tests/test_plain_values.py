"""What people pass: whole numbers for floats, lists and arrays for tuples, tensors for arrays; the rest is answered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import dsnotes
from dsnotes.data.case import Case
from dsnotes.data.preprocess import Preprocess, hu_window, resample
from dsnotes.inference import at_thresholds, keep_kidneys, remove_small, sliding_window
from dsnotes.metrics import (
    accuracy,
    agreement,
    confusion,
    consensus,
    dice,
    hausdorff,
    hausdorff95,
    iou,
    linear_cka,
    mean_surface_distance,
    ppv,
    sensitivity,
    slice_dice,
    slice_errors,
    slice_scores,
    tumour_scores,
)
from dsnotes.softmask import mask_from_recist, soft_mask, soft_masks, trimap_from_annotators, trimap_from_mask

LABEL = np.zeros((16, 16), np.uint8)
LABEL[4:10, 5:12] = 1
SHIFTED = np.roll(LABEL, 1, axis=0)
IMAGE = (LABEL + np.random.default_rng(0).normal(0, 0.1, LABEL.shape)).astype(np.float32)
TRIMAP = trimap_from_mask(LABEL, 2)
AXES = ((7, 5), (7, 11)), ((4, 8), (9, 8))


def case(**fields) -> Case:
    return Case(**{"name": "a", "image": IMAGE, "label": LABEL, "spacing": (1, 1)} | fields)


def same(first, second) -> None:
    np.testing.assert_equal(first, second)


@pytest.fixture(scope="module")
def system():
    return dsnotes.build("unet-2d", width=2)


def test_a_whole_number_is_a_float(system):
    p = np.stack([1 - IMAGE.clip(0, 1), IMAGE.clip(0, 1)])
    same(dsnotes.to_label(p[:1], threshold=1), 0 * LABEL)
    same(dsnotes.predict(system, case(), overlap=0), dsnotes.predict(system, case(), overlap=0.0))
    blank = torch.zeros(1, 1, 16, 16)
    same(sliding_window(torch.sigmoid, blank, patch=(8, 8), overlap=0).numpy(), np.full((1, 1, 16, 16), 0.5))
    same(keep_kidneys(LABEL, second=1), LABEL)
    same(dice(LABEL, SHIFTED, eps=1), dice(LABEL, SHIFTED, eps=1.0))
    same(consensus([LABEL, SHIFTED], share=1), LABEL & SHIFTED)
    same(soft_mask(IMAGE, TRIMAP, 1), soft_mask(IMAGE, TRIMAP, 1.0))
    same(hu_window(0, 1)(case()).image, IMAGE.clip(0, 1))
    assert set(at_thresholds(p[:1], thresholds=[0])) == {0.0}


def test_float64_is_a_probability():
    same(dsnotes.to_label(IMAGE[None].clip(0, 1).astype(np.float64)), LABEL)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_a_spacing_comes_as_any_sequence(kind):
    spacing = kind([2, 1])
    assert case(spacing=spacing).spacing == (2.0, 1.0)
    same(dsnotes.score(LABEL, SHIFTED, spacing=spacing), dsnotes.score(LABEL, SHIFTED, spacing=(2, 1)))
    for distance in (hausdorff, hausdorff95, mean_surface_distance):
        same(distance(LABEL, SHIFTED, spacing=spacing), distance(LABEL, SHIFTED, spacing=(2, 1)))
    same(tumour_scores(SHIFTED, LABEL, spacing=spacing), tumour_scores(SHIFTED, LABEL, spacing=(2, 1)))
    assert resample(case(), spacing).space == (8, 16)
    assert Preprocess(spacing=spacing)(case()).space == (8, 16)


def test_a_tensor_is_the_array_it_holds():
    image, label, shifted, trimap = (torch.tensor(array) for array in (IMAGE, LABEL, SHIFTED, TRIMAP))
    for ratio in (dice, iou, ppv, sensitivity, accuracy, confusion, slice_dice, slice_errors):
        same(ratio(label, shifted), ratio(LABEL, SHIFTED))
    for distance in (hausdorff, hausdorff95, mean_surface_distance, dsnotes.score, tumour_scores):
        same(distance(label, shifted, spacing=(1, 1)), distance(LABEL, SHIFTED, spacing=(1, 1)))
    same(slice_scores([(label, shifted)]), slice_scores([(LABEL, SHIFTED)]))
    same(consensus(torch.stack([label, shifted])), consensus([LABEL, SHIFTED]))
    same(agreement([label, shifted], prediction=label).dice, agreement([LABEL, SHIFTED], prediction=LABEL).dice)
    same(linear_cka(image, image.exp()), linear_cka(IMAGE, image.exp().numpy()))
    same(keep_kidneys(label), LABEL)
    same(remove_small(label, voxels=1, opening=0), LABEL)
    same(dsnotes.to_label(image[None].clip(0, 1)), LABEL)
    same(trimap_from_mask(label, 2), TRIMAP)
    for readers in ([label, shifted], torch.stack([label, shifted])):
        same(trimap_from_annotators(readers), trimap_from_annotators([LABEL, SHIFTED]))
    same(soft_mask(image, trimap), soft_mask(IMAGE, TRIMAP))
    same(soft_masks(image[None], trimap[None], workers=1), soft_masks(IMAGE[None], TRIMAP[None], workers=1))
    same(mask_from_recist(image, *AXES), mask_from_recist(IMAGE, *AXES))
    same(case(image=image, label=label).image, IMAGE)


def test_a_tensor_that_trains_or_is_a_brain_float_is_one_too():
    same(dsnotes.to_label(torch.tensor(IMAGE[None].clip(0, 1), requires_grad=True)), LABEL)
    same(dsnotes.to_label(torch.tensor(IMAGE[None].clip(0, 1)).bfloat16()), LABEL)


# In a notebook nothing looks at the annotations, which would answer first here: so these are asked in another process.
ASKED = """
import json, warnings
import numpy as np
import torch
import dsnotes
from dsnotes.data import Case
from dsnotes.inference import keep_kidneys, sliding_window
from dsnotes.metrics import dice, hausdorff
from dsnotes.softmask import soft_mask, trimap_from_annotators, trimap_from_mask

system = dsnotes.build("unet-2d", width=2)
image, label = np.zeros((16, 16), np.float32), np.zeros((16, 16), np.uint8)
case = Case("a", image, label, (1, 1))
answers = {}
for question in QUESTIONS:
    try:
        eval(question)
    except Exception as error:
        answers[question] = f"{type(error).__name__}: {error}"
print(json.dumps(answers))
"""

ANSWERS = {
    "Case('a', [[1.0]], None, (1, 1))": "TypeError: case a: the image is of type list; needed is an array or a tensor",
    "Case('a', image, [[1]], (1, 1))": "case a: the label is of type list; .*Pass label=None where there is none",
    "Case('a', image, None, None)": r"TypeError: case a: spacing None came; .*Pass \(5\.0, 0\.8, 0\.8\)",
    "Case('a', image, None, 1.0)": r"case a: spacing 1\.0 came; needed is one number of millimetres",
    "Case('a', image, None, '11')": "TypeError: case a: spacing '11' came",
    "dsnotes.predict(system, image)": r"TypeError: case is of type ndarray; .*Pass dsnotes\.data\.Case\('mine', image",
    "dsnotes.predict('unet-2d', case)": r"system has type str, .*Pass dsnotes\.build\('unet-2d'\)",
    "dsnotes.predict(system.network, case)": r"system has type Network, .*dsnotes\.build\(\"unet-2d\"\)",
    "dsnotes.predict(system, case, patch=32)": r"TypeError: patch=32 .*Pass patch=\(32, 32\)\.$",
    "dsnotes.predict(system, case, patch='32')": r"patch='32' .*Pass patch=\(64, 64\)\.$",
    "dsnotes.predict(system, case, mirror=1)": r"mirror=1 .*Pass mirror=True for all axes, mirror=\(1,\) for the",
    "dsnotes.show(image)": r"TypeError: case is of type ndarray; .*dsnotes\.open_case\(file\)",
    "dsnotes.to_label(case)": r"TypeError: p is of type Case; .*Pass the probabilities of one case, dsnotes\.predict",
    "dsnotes.score(label, label, spacing=None)": r"TypeError: .*spacing None came; .*Pass spacing=case\.spacing",
    "dsnotes.score(case, case, spacing=(1, 1))": r"the label is of type Case; .*dsnotes\.to_label\(p\) and case\.label",
    "dsnotes.score(label, label, spacing=(1, 1), labels='tumour')": r"labels='tumour' came; .*labels=\{1: 'kidney', 2:",
    "hausdorff(label, label, spacing=1)": r"TypeError: .*spacing 1 came; .*Pass spacing=case\.spacing",
    "dice([1], [1])": r"TypeError: the prediction is of type list",
    "keep_kidneys(case)": r"TypeError: label is of type Case; .*such as case\.label",
    "sliding_window(system.probabilities, image, patch=16)": r"patch=16 .*Pass patch=\(16, 16\)\.$",
    "sliding_window(system.probabilities, case, patch=(16, 16))": r"image is of type Case; .*Pass case\.image",
    "trimap_from_mask(case)": r"TypeError: mask is of type Case; .*such as case\.label == 1",
    "trimap_from_annotators(case)": r"TypeError: masks is of type Case; .*\[first, second\]",
    "trimap_from_annotators([label, case])": r"TypeError: masks\[1\] is of type Case",
    "soft_mask(case, label)": r"TypeError: image is of type Case; .*Pass case\.image",
    "soft_mask(image, None)": r"TypeError: trimap is of type NoneType; .*trimap_from_mask\(mask, radius\)",
}


@pytest.fixture(scope="module")
def answers() -> dict[str, str]:
    program = f"QUESTIONS = {list(ANSWERS)!r}\n{ASKED}"
    root = Path(__file__).resolve().parents[1]
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize(("question", "answer"), ANSWERS.items())
def test_what_has_no_one_meaning_is_answered_with_what_to_type(answers, question, answer):
    import re

    assert re.search(answer, answers.get(question, "nothing was said"))
