"""The dict of scores: its keys, its classes, and that cropping to the foreground changes no number."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dsnotes import metrics
from dsnotes.metrics import score

KEYS = [
    "dice",
    "iou",
    "ppv",
    "sensitivity",
    "accuracy",
    "hausdorff",
    "hausdorff95",
    "mean_surface_distance",
    "surface_dice",
]
SPACING = (2.0, 1.0, 0.7)


def maps(values=(0, 1, 2), shape=(8, 12, 14)):
    """Two blocky label maps with room around them."""
    rng = np.random.default_rng(0)
    inner = rng.choice(values, (2, *(n // 4 for n in shape))).repeat(2, 1).repeat(2, 2).repeat(2, 3)
    return np.pad(inner.astype(np.uint8), [(0, 0)] + [(n // 4, n - n // 4 - 2 * (n // 4)) for n in shape])


def test_one_class_has_plain_keys_and_the_values_of_the_single_functions():
    label, truth = maps((0, 1))
    table = score(label, truth, spacing=SPACING)
    assert list(table) == KEYS
    for key in KEYS:
        single = getattr(metrics, key)
        spaced = {"spacing": SPACING} if "haus" in key or "surface" in key else {}
        assert table[key] == pytest.approx(single(label, truth, **spaced)), key
        assert type(table[key]) is float
    assert score(label, truth, spacing=SPACING, eps=1)["dice"] == metrics.dice(label, truth, eps=1)


def test_several_classes_have_a_key_each_and_their_mean():
    label, truth = maps()
    table = score(label, truth, spacing=SPACING)
    assert list(table) == KEYS + [f"{key}_{c}" for c in (1, 2) for key in KEYS]
    for c in (1, 2):
        assert table[f"dice_{c}"] == metrics.dice(label == c, truth == c)
        assert table[f"accuracy_{c}"] == metrics.accuracy(label == c, truth == c)
        assert table[f"hausdorff_{c}"] == metrics.hausdorff(label == c, truth == c, spacing=SPACING)
    for key in KEYS:
        assert table[key] == pytest.approx((table[f"{key}_1"] + table[f"{key}_2"]) / 2)


def test_names_take_the_place_of_values_and_keep_absent_classes():
    label, truth = maps((0, 1))
    table = score(label, truth, spacing=SPACING, labels={0: "background", 1: "kidney", 7: "tumour"})
    assert [k for k in table if k.startswith("dice")] == ["dice", "dice_kidney", "dice_tumour"]
    assert table["dice_tumour"] == 1
    assert table["hausdorff_tumour"] == 0
    assert list(score(label, truth, spacing=SPACING, labels={0: "background", 1: "kidney"})) == KEYS


def test_a_class_that_is_missed_is_infinitely_far():
    label, truth = maps()
    label[label == 2] = 0
    table = score(label, truth, spacing=SPACING)
    assert table["dice_2"] == 0
    assert table["hausdorff_2"] == table["hausdorff"] == math.inf
    assert math.isfinite(table["hausdorff_1"])


def test_nothing_anywhere_is_perfect():
    empty = np.zeros((4, 5), dtype=np.uint8)
    assert score(empty, empty, spacing=(1, 1)) == {k: float(k in {*KEYS[:5], "surface_dice"}) for k in KEYS}


def test_names_in_a_list_are_those_of_0_1_2():
    label, truth = maps()
    listed = score(label, truth, spacing=SPACING, labels=["background", "kidney", "tumour"])
    assert listed == score(label, truth, spacing=SPACING, labels={0: "background", 1: "kidney", 2: "tumour"})
    assert "dice_tumour" in listed


def test_wrong_input_is_answered_with_the_remedy():
    label, truth = maps()
    with pytest.raises(ValueError, match=r"label has shape \(8, 12, 13\), the truth \(8, 12, 14\).*undo the crop"):
        score(label[..., :-1], truth, spacing=SPACING)
    with pytest.raises(TypeError, match=r"label is float32.*dsnotes.to_label\(label\)"):
        score(label.astype(np.float32), truth, spacing=SPACING)
    with pytest.raises(
        ValueError, match=r"hold \[2\], which labels=\{1: 'kidney'\} does not name.*isin\(label, \[1\]\)"
    ):
        score(label, truth, spacing=SPACING, labels={1: "kidney"})
    with pytest.raises(ValueError, match=r"names no foreground.*labels=\{1: 'tumour'\}"):
        score(label * 0, truth * 0, spacing=SPACING, labels={0: "background"})
    with pytest.raises(ValueError, match=r"values from 0 to 255.*label > 0"):
        score((label > 0) * np.uint8(255), truth, spacing=SPACING)
    with pytest.raises(ValueError, match=r"values from -1 to 2"):
        score(label.astype(int) - 1, truth, spacing=SPACING)
    with pytest.raises(ValueError, match=r"spacing \(1\.0,\) came; needed are 3 positive.*spacing=case\.spacing"):
        score(label, truth, spacing=(1,))


def test_regions_are_unions_as_kits19_counts_them():
    """A tumour that is called kidney costs the tumour's Dice and not the kidney's."""
    truth = np.zeros((4, 10, 10), np.uint8)
    truth[:, 2:8, 2:8], truth[:, 4:6, 4:6] = 1, 2
    label = np.minimum(truth, 1)
    table = score(label, truth, spacing=SPACING, regions={"kidney": (1, 2), "tumour": (2,)})
    assert (table["dice_kidney"], table["dice_tumour"], table["dice"]) == (1, 0, 0.5)
    assert score(label, truth, spacing=SPACING)["dice_1"] == pytest.approx(2 * 32 / (32 + 36))
    one = score(label, truth, spacing=SPACING, regions={"kidney": (1, 2)}, eps=1)
    assert one["dice"] == one["dice_kidney"] == 1
    with pytest.raises(ValueError, match=r"regions=.*such as regions=\{'kidney': \(1, 2\), 'tumour': \(2,\)\}"):
        score(label, truth, spacing=SPACING, regions={"none": ()})


def test_voxels_that_do_not_count_change_no_figure():
    """The ratios are those of the other voxels, strung together; distances those of what is left marked."""
    label, truth = maps()
    valid = np.random.default_rng(1).random(truth.shape) > 0.3
    table = score(label, truth, spacing=SPACING, valid=valid)
    rest = score(label[valid], truth[valid], spacing=(1.0,))
    for key, value in rest.items():
        if key.split("_")[0] in KEYS[:5]:
            assert table[key] == pytest.approx(value), key
    assert table["dice_1"] != score(label, truth, spacing=SPACING)["dice_1"]
    spoilt = np.where(valid, label, 2 - truth)
    assert score(spoilt, truth, spacing=SPACING, valid=valid) == table
    left = score(label * valid, truth * valid, spacing=SPACING)
    assert table["hausdorff_2"] == left["hausdorff_2"]
    everything = score(label, truth, spacing=SPACING, valid=np.ones_like(truth))
    assert everything == score(label, truth, spacing=SPACING)
    regions = {"regions": {"both": (1, 2)}}
    joined = score(label, truth, spacing=SPACING, valid=valid, **regions)["accuracy_both"]
    assert joined == pytest.approx(score(label[valid], truth[valid], spacing=(1.0,), **regions)["accuracy_both"])
    with pytest.raises(ValueError, match=r"valid has shape \(3,\), the label .*case\.extras\['valid'\]"):
        score(label, truth, spacing=SPACING, valid=np.ones(3))
