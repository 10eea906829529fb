"""What a viewer accepts, what it refuses, and what it says then."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dsnotes.data.case import Case
from dsnotes.viewers.scene import WINDOWS, compose


def test_presets_are_the_usual_widths_and_levels_of_ct():
    """Level -600, width 1500 for lung; 40, 400 for soft tissue; 400, 1800 for bone."""
    levels = {name: ((low + high) / 2, high - low) for name, (low, high) in WINDOWS.items()}
    assert levels == {"lung": (-600, 1500), "soft": (40, 400), "bone": (400, 1800)}


def test_the_window_holds_all_but_a_hundredth_by_default(slice_):
    low, high = compose(slice_).window
    inside = (slice_.image >= low) & (slice_.image <= high)
    assert 0.985 <= inside.mean() <= 0.995


@pytest.mark.parametrize("planes", [(), (3,)])
def test_the_window_of_a_label_is_that_of_its_neighbourhood(planes):
    """What is farther than a sixteenth of the image from the label does not count, nor does another slice."""
    image = np.full((*planes, 64, 64), -1000.0, np.float32)
    label = np.zeros(image.shape, np.uint8)
    image[..., 20:40, 30:50], label[..., 24:36, 34:46] = np.linspace(0, 100, 20), 1
    if planes:
        image[0], label[0], label[0, 30, 30] = 5000, 0, 1
    case = Case("ct", image, label, (1.0,) * image.ndim)
    low, high = compose(case, window="label").window
    near = np.broadcast_to(np.linspace(0, 100, 20), (20, 20))  # 4 voxels around 12, within 64 / 16
    np.testing.assert_allclose((low, high), np.percentile(near, (3, 97)), rtol=1e-6)
    empty = Case("ct", image, np.zeros_like(label), (1.0,) * image.ndim)
    assert compose(empty, window="label").window == compose(empty).window


def test_a_constant_image_still_has_a_window():
    low, high = compose(Case("flat", np.zeros((8, 8), np.float32), None, (1.0, 1.0))).window
    assert high > low


def test_layers_that_are_not_there_are_not_listed(volume, slice_):
    assert compose(volume).layers == ("truth",)
    assert compose(Case("bare", volume.image, None, volume.spacing)).layers == ()
    everything = compose(slice_, prediction=slice_.label, soft=slice_.label * 0.5, readers=[slice_.label] * 2)
    assert everything.layers == ("soft", "truth", "readers", "prediction")
    assert list(everything.readers) == ["reader 1", "reader 2"]


def test_tensors_and_single_channel_probabilities_are_taken(slice_):
    p = torch.full((1, *slice_.space), 0.25, requires_grad=True)
    scene = compose(slice_, prediction=torch.from_numpy(slice_.label), soft=p)
    assert scene.soft.shape == slice_.space
    assert (scene.prediction == slice_.label).all()


def test_one_channel_of_several_is_shown(slice_):
    stack = np.stack([slice_.image, -slice_.image])
    case = Case("two channels", stack, slice_.label, slice_.spacing)
    assert (compose(case, channel=1).image == -slice_.image).all()
    with pytest.raises(ValueError, match=r"channel=2, but 'two channels' has 2: pass channel=0 … 1"):
        compose(case, channel=2)


def test_readers_that_the_case_brings_along(slice_):
    case = Case("read", slice_.image, slice_.label, slice_.spacing, {"readers": np.stack([slice_.label] * 4)})
    assert len(compose(case, readers=True).readers) == 4
    assert compose(case).readers == {}
    with pytest.raises(ValueError, match=r"readers=True, but 'plane' brings none: pass readers=\[label, label, …\]"):
        compose(slice_, readers=True)


def test_names_come_from_the_argument_then_from_the_case(slice_):
    case = Case("named", slice_.image, slice_.label, slice_.spacing, {"names": {1: "nodule"}})
    assert compose(case).name(1) == "nodule"
    assert compose(case, names={1: "tumour"}).name(1) == "tumour"
    assert compose(slice_).name(1) == "lesion"
    assert compose(slice_, prediction=slice_.label * 2).name(2) == "label 2"


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (
            {"prediction": np.zeros((5, 5), np.uint8)},
            r"prediction= has shape \(5, 5\), the image of 'plane' \(32, 40\)",
        ),
        ({"prediction": np.zeros((3, 32, 40), np.uint8)}, r"dsnotes\.to_label\(p\) makes one of probabilities"),
        ({"readers": [np.zeros((5, 5), np.uint8)]}, r"readers, 'reader 1', has shape \(5, 5\)"),
        ({"soft": np.zeros((3, 32, 40))}, r"of several classes pass one, soft=p\[2\]"),
        ({"prediction": np.full((32, 40), 0.3)}, r"holds values such as 0\.3, .* Pass probabilities as soft="),
        ({"prediction": np.full((32, 40), np.nan)}, r"holds values such as nan"),
        ({"soft": np.full((32, 40), 3.0)}, r"soft= reaches from 3 to 3, but a soft mask stays within 0 … 1"),
        ({"soft": np.full((32, 40), np.nan)}, r"soft= reaches from nan to nan"),
        ({"window": "liver"}, r"window='liver' is unknown\. Choose 'lung', 'soft', 'bone', 'label'"),
        ({"window": (100.0, -100.0)}, r"window=\(100, -100\) is empty: pass \(lowest, highest\)"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_remedy(slice_, layer, text):
    with pytest.raises(ValueError, match=text):
        compose(slice_, **layer)


def test_empty_labels_and_broken_voxels_are_said_not_refused(slice_):
    """A case refuses NaN, but an image may be spoilt later, and then one wants to see where."""
    case = Case("spoilt", slice_.image.copy(), slice_.label * 0, slice_.spacing)
    case.image[3, 4:7] = np.nan
    scene = compose(case, prediction=case.label)
    assert scene.notes == (
        "3 voxels are NaN or infinite (red)",
        "the label holds no foreground",
        "the prediction holds no foreground",
    )
    assert np.isfinite(scene.window).all()


def test_whole_numbers_in_floats_are_a_label_map(slice_):
    assert compose(slice_, prediction=slice_.label.astype(np.float64)).prediction.dtype == np.int64
