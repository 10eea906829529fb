"""A new scan comes back on its own voxels, whatever the network saw; several models are averaged."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dsnotes.data.case import Case
from dsnotes.data.preprocess import Preprocess, resample, restore
from dsnotes.data.task import Task, read_task, task_of
from dsnotes.inference import predict, scan, to_label
from dsnotes.inference.scan import predict_scan, to_label_map
from dsnotes.networks.unet import UNet
from dsnotes.supervision import plain, supervise
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

WINDOW = Preprocess(clip=(-100.0, 300.0), normalise="window")
NAMES = {0: "background", 1: "kidney", 2: "tumour"}


def system(seed: int, *, dims: int = 3, classes: int = 3) -> System:
    torch.manual_seed(seed)
    network = supervise(UNet(width=4, depth=3, dims=dims, classes=classes), plain.Plain())
    for weight in network.parameters():  # far from undecided
        torch.nn.init.normal_(weight, 0, 0.3)
    return System(f"s{seed}", network, plain.Plain(), Settings(patch=(8, 16, 16)[-dims:]))


@pytest.fixture
def case() -> Case:
    image = np.random.default_rng(0).normal(50, 150, (13, 30, 27)).astype("f4")
    return Case("new", image, None, (3.0, 1.0, 1.0))


def test_without_resampling_it_is_predict_of_the_prepared_case(case):
    one, task = system(0), Task(NAMES, preprocessing=(WINDOW,))
    expected = predict(one, WINDOW(case), device="cpu")
    label, p = predict_scan([(one, task)], case, probabilities=True, device="cpu", progress=False)
    np.testing.assert_allclose(p, expected, atol=1e-5)
    np.testing.assert_array_equal(label, to_label(expected))
    streamed, nothing = predict_scan([(one, task)], case, device="cpu", progress=False)
    assert nothing is None
    np.testing.assert_array_equal(streamed, label)


def test_with_resampling_it_is_restored(case):
    one, steps = system(1), (Preprocess(spacing=(4.0, 1.5, 1.5)), WINDOW)
    prepared = WINDOW(resample(case, (4.0, 1.5, 1.5)))
    expected = restore(predict(one, prepared, device="cpu"), prepared)
    label, p = predict_scan([(one, Task(NAMES, preprocessing=steps))], case, probabilities=True, progress=False)
    assert label.shape == case.space
    np.testing.assert_allclose(p, expected, atol=1e-5)
    np.testing.assert_array_equal(label, expected.argmax(0))
    alone, _ = predict_scan([(one, Task(NAMES, preprocessing=steps))], case, progress=False)
    np.testing.assert_array_equal(alone, label)


@pytest.mark.parametrize("same", [True, False])
def test_several_are_averaged(case, same):
    """Also where each was prepared by the statistics of its own fold."""
    steps = [(WINDOW,), (WINDOW if same else replace(WINDOW, clip=(-50.0, 200.0)),)]
    models = [(system(k), Task(NAMES, preprocessing=steps[k])) for k in range(2)]
    expected = np.mean([predict(one, task.preprocessing[0](case), device="cpu") for one, task in models], 0)
    label, p = predict_scan(models, case, probabilities=True, device="cpu", progress=False)
    np.testing.assert_allclose(p, expected, atol=1e-5)
    np.testing.assert_array_equal(label, expected.argmax(0))


def test_large_probabilities_are_kept_in_half_precision(case, monkeypatch):
    models = [(system(k), Task(NAMES, preprocessing=(WINDOW, Preprocess(spacing=(3.0, 1.2, 1.2))))) for k in range(1)]
    label, _ = predict_scan(models, case, progress=False)
    monkeypatch.setattr(scan, "LARGE", 0)
    half, _ = predict_scan(models, case, progress=False)
    assert (half != label).mean() < 2e-3


@pytest.mark.parametrize("space", [(5, 20, 18), (20, 18)])
def test_a_flat_system_takes_slices_and_pictures(space):
    image = np.random.default_rng(0).normal(0, 1, space).astype("f4")
    case = Case("flat", image, None, (1.0,) * len(space))
    one = system(2, dims=2, classes=2)
    label, _ = predict_scan([(one, Task({0: "background", 1: "x"}))], case, progress=False)
    np.testing.assert_array_equal(label, to_label(predict(one, case, device="cpu")))


def test_mirroring_is_the_tasks_unless_given(case):
    one = system(3)
    mirrored = Task(NAMES, window={"mirror": True, "overlap": 0.25})
    _, p = predict_scan([(one, mirrored)], case, probabilities=True, progress=False)
    np.testing.assert_allclose(p, predict(one, case, mirror=True, overlap=0.25, device="cpu"), atol=1e-5)
    _, p = predict_scan([(one, mirrored)], case, mirror=False, probabilities=True, progress=False)
    np.testing.assert_allclose(p, predict(one, case, overlap=0.25, device="cpu"), atol=1e-5)


def test_regions_are_written_one_over_the_other():
    """nnU-Net's rule: of whole (1), core (2) and enhancing (3), the later one overwrites the earlier."""
    task = Task(NAMES, regions={"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}, order=(1, 2, 3))
    p = np.array([[0.9, 0.9, 0.9, 0.1, 0.2], [0.1, 0.8, 0.8, 0.1, 0.7], [0.1, 0.2, 0.9, 0.1, 0.2]], "f4")
    assert to_label_map(p, task.order).tolist() == [1, 2, 3, 0, 2]


def test_a_task_survives_its_file(tmp_path):
    task = Task(
        NAMES,
        channels=("T1", "T2"),
        preprocessing=(Preprocess(spacing=(3.0, 1.0, 1.0), clip=((0.0, 1.0), (2.0, 3.0))), Preprocess(channels=(0,))),
        regions={"whole": (1, 2)},
        order=(1,),
        postprocess="kidneys",
        window={"patch": (8, 16, 16), "overlap": 0.5},
        about={"cases": {"training": 3}},
    )
    task.save(tmp_path)
    assert read_task(tmp_path) == task
    assert read_task(tmp_path / "elsewhere") is None
    (tmp_path / "task.json").write_text('{"labels": 5}')
    with pytest.raises(ValueError, match="task.json cannot be read .*train again"):
        read_task(tmp_path)


def test_weights_that_give_nan_are_named(case):
    one = system(4)
    next(one.network.parameters()).data.fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN or infinite"):
        predict_scan([(one, task_of([], labels=NAMES))], case, progress=False)
