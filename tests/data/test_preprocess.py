"""Windows and normalisations from their formulas, statistics from NumPy over all voxels at once."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dsnotes.data.case import Case
from dsnotes.data.dataset import open_dataset
from dsnotes.data.preprocess import Preprocess, Statistics, foreground_statistics, hu_window


def ct(seed: int = 0, space=(4, 10, 12), channels=()) -> Case:
    rng = np.random.default_rng(seed)
    image = rng.normal(40, 300, (*channels, *space)).astype("f4")
    return Case(f"ct{seed}", image, (rng.random(space) < 0.2).astype("u1"), (1.0,) * len(space))


def test_hu_window():
    """MSDS-UNet: clip to [-1000, 400] HU and scale to [0, 1]."""
    case = Case("a", np.array([[-2000, -1000, -300, 400, 3000]], "f4"), None, (1.0, 1.0))
    np.testing.assert_allclose(hu_window(-1000, 400)(case).image, [[0, 0, 0.5, 1, 1]])
    with pytest.raises(ValueError, match=r"hu_window\(400, -1000\): pass the lower value first"):
        hu_window(400, -1000)


def test_kits_as_the_paper_prepares_it():
    """MSS U-Net 3.3: clip to the foreground's percentiles, subtract its mean, divide by its deviation."""
    case = ct()
    ready = Preprocess(clip=(-68.34, 285.91), normalise=(94.54, 70.52))(case)
    np.testing.assert_allclose(ready.image, (case.image.clip(-68.34, 285.91) - 94.54) / 70.52, atol=1e-5)
    assert ready.image.dtype == np.float32
    np.testing.assert_array_equal(ready.label, case.label)


def test_statistics_are_those_of_all_foreground_voxels():
    cases = [ct(seed, (3 + seed, 8, 9)) for seed in range(4)]
    voxels = np.concatenate([case.image[case.label > 0] for case in cases]).astype("f8")
    found = foreground_statistics(iter(cases))
    np.testing.assert_allclose(found.percentiles, [np.percentile(voxels, (0.5, 99.5))], rtol=1e-6)
    np.testing.assert_allclose(found.mean, voxels.mean(), rtol=1e-6)
    np.testing.assert_allclose(found.std, voxels.std(), rtol=1e-6)
    ready = Preprocess(normalise=found.z_score)
    scaled = np.concatenate([ready(case).image[case.label > 0] for case in cases])
    assert abs(scaled.mean()) < 1e-5
    assert abs(scaled.std() - 1) < 1e-5


def test_statistics_of_more_voxels_than_fit_in_memory():
    """Each case is brighter than the one before: whoever counts the later ones more often gets a higher median."""
    cases = [ct(seed, (8, 32, 32)) for seed in range(6)]
    cases = [replace(case, image=case.image * 0.01 + 100 * i) for i, case in enumerate(cases)]
    voxels = np.concatenate([case.image[case.label > 0] for case in cases]).astype("f8")
    few = foreground_statistics(cases, percentiles=(30, 70), most=2000)
    np.testing.assert_allclose(few.mean, voxels.mean(), rtol=1e-6)
    np.testing.assert_allclose(few.std, voxels.std(), rtol=1e-6)
    np.testing.assert_allclose(few.percentiles[0], np.percentile(voxels, (30, 70)), atol=2)


def test_statistics_of_every_channel():
    case = ct(channels=(2,))
    both = foreground_statistics([case])
    for channel in range(2):
        one = foreground_statistics([replace(case, image=case.image[channel])])
        assert both.percentiles[channel] == pytest.approx(one.percentiles[0])
        assert (both.mean[channel], both.std[channel]) == pytest.approx((one.mean[0], one.std[0]))
    ready = Preprocess(clip=both.percentiles, normalise=both.z_score)(case)
    low, high = both.percentiles[1]
    expected = (case.image[1].clip(low, high) - both.mean[1]) / both.std[1]
    np.testing.assert_allclose(ready.image[1], expected, atol=1e-5)


def test_cases_without_foreground_add_nothing():
    empty = replace(ct(1), label=np.zeros((4, 10, 12), "u1"))
    assert foreground_statistics([empty, ct(), empty]) == foreground_statistics([ct()])


def test_z_score_of_the_whole_image_and_minmax():
    case = ct(channels=(2,))
    for channel in range(2):
        image = case.image[channel].astype("f8")
        scored = Preprocess(normalise="image")(case).image[channel]
        np.testing.assert_allclose(scored, (image - image.mean()) / image.std(), atol=1e-5)
        scaled = Preprocess(normalise="minmax")(case).image[channel]
        np.testing.assert_allclose(scaled, (image - image.min()) / (image.max() - image.min()), atol=1e-6)


def test_z_score_of_what_is_not_zero():
    """A skull-stripped brain: its own mean and deviation, and the zeros about it stay zeros."""
    case = ct()
    case.image[:, :5] = 0
    brain = case.image[:, 5:].astype("f8")
    ready = Preprocess(normalise="nonzero")(case).image
    np.testing.assert_allclose(ready[:, 5:], (brain - brain.mean()) / brain.std(), atol=1e-5)
    assert not ready[:, :5].any()


@pytest.mark.parametrize("rule", ["image", "nonzero", "minmax"])
@pytest.mark.parametrize("value", [0.0, 0.1, -1024.0, 1e5])
def test_an_image_that_is_the_same_everywhere_becomes_zero(rule, value):
    case = Case("flat", np.full((4, 9, 9), value, "f4"), None, (1.0, 1.0, 1.0))
    assert not Preprocess(normalise=rule)(case).image.any()


def test_faint_images_keep_their_contrast():
    """Hippocampus volumes differ in scale by a factor of 10,000."""
    case = ct()
    faint = replace(case, image=case.image * np.float32(1e-4))
    both = [Preprocess(normalise="image")(one).image for one in (case, faint)]
    np.testing.assert_allclose(*both, atol=1e-4)


def test_nothing_asked_nothing_done():
    case = ct()
    assert Preprocess()(case) is case


def test_channels_and_merged_labels():
    case = ct(channels=(4,))
    label = np.random.default_rng(0).integers(0, 4, case.space).astype("u1")
    ready = Preprocess(channels=(2, 0), relabel=(0, 1, 1, 2))(replace(case, label=label))
    np.testing.assert_array_equal(ready.image, case.image[[2, 0]])
    np.testing.assert_array_equal(ready.label, np.array([0, 1, 1, 2])[label])
    assert ready.label.dtype == np.uint8
    assert Preprocess(relabel=(0, 1))(replace(case, label=None)).label is None


def test_settings_are_a_value_with_a_name():
    settings = Preprocess(spacing=(3.0, 0.78162, 0.78162), clip=((0.0, 1.0), (2.0, 3.0)), normalise="image")
    assert hash(settings) == hash(replace(settings))
    assert settings.json() == replace(settings).json() != replace(settings, image_order=1).json()
    assert json.loads(settings.json())["spacing"] == [3.0, 0.78162, 0.78162]


def test_wrong_settings():
    with pytest.raises(ValueError, match=r"normalise='z': pass 'image', .*foreground_statistics\(train\)\.z_score"):
        Preprocess(normalise="z")
    with pytest.raises(ValueError, match=r"normalise='window' .*: pass clip=\(low, high\) with it"):
        Preprocess(normalise="window")
    with pytest.raises(ValueError, match=r"2 pairs came for the 1 channels of case ct0\. Pass one pair for all"):
        Preprocess(clip=((0.0, 1.0), (0.0, 1.0)))(ct())
    with pytest.raises(ValueError, match=r"channels=\(1,\) came, but case ct0 has 1: pass some of \(0,\)"):
        Preprocess(channels=(1,))(ct())
    with pytest.raises(ValueError, match=r"relabel=\(0,\) names 1 values, but the label of case ct0 goes to 1"):
        Preprocess(relabel=(0,))(ct())
    with pytest.raises(ValueError, match=r"no case has a foreground voxel.*normalise='image'"):
        foreground_statistics([replace(ct(), label=np.zeros((4, 10, 12), "u1"))])
    with pytest.raises(ValueError, match=r"case ct0 has no label"):
        foreground_statistics([replace(ct(), label=None)])


def test_the_spleen_of_a_real_ct(real_data):
    data = open_dataset(real_data("spleen_ct_crop"))
    found = foreground_statistics(data)
    assert isinstance(found, Statistics)
    assert found.mean[0] == pytest.approx(85.6, abs=0.05)
    ready = Preprocess(spacing=(5.0, 1.6, 1.6), clip=found.percentiles, normalise=found.z_score)(data[0])
    assert ready.space == (26, 82, 81)
    assert abs(ready.image[ready.label > 0].mean()) < 0.1
