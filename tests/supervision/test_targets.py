"""Coarse targets: what each way of reducing a label keeps, loses and invents."""

import pytest
import torch
from torch.nn import functional

from dsnotes.networks.base import Network
from dsnotes.networks.unet import UNet
from dsnotes.supervision import loss_terms
from dsnotes.supervision.plain import Plain
from dsnotes.supervision.targets import REDUCTIONS, class_indices, downsample_target, one_hot


@pytest.mark.parametrize("how", REDUCTIONS)
@pytest.mark.parametrize(("size", "dims"), [((8, 8), 2), ((4, 8, 8), 3)])
def test_targets_match_their_side_and_lie_between_0_and_1(how, size, dims):
    label = torch.randint(0, 3, (2, *(16,) * dims))
    t = downsample_target(label, size, channels=3, how=how)
    assert t.shape == (2, 3, *size)
    assert t.min() >= 0
    assert t.max() <= 1


@pytest.mark.parametrize("how", REDUCTIONS)
def test_at_full_size_every_way_is_the_label_itself(how):
    label = torch.randint(0, 3, (2, 8, 8))
    assert torch.equal(downsample_target(label, (8, 8), channels=3, how=how), one_hot(label, 3))


def test_one_hot_is_pytorchs():
    label = torch.randint(0, 4, (2, 5, 6))
    assert torch.equal(one_hot(label, 4), functional.one_hot(label, 4).movedim(-1, 1).float())
    assert torch.equal(one_hot(label.clamp_max(1), 1)[:, 0], (label > 0).float())


def test_area_is_the_share_of_the_cell():
    label = torch.zeros(1, 4, 4, dtype=torch.long)
    label[0, :2, :2] = torch.tensor([[1, 1], [1, 0]])
    assert downsample_target(label, (2, 2), channels=1, how="area")[0, 0].tolist() == [[0.75, 0], [0, 0]]


def test_a_small_tumour_vanishes_by_nearest_and_survives_by_area_and_max():
    label = torch.zeros(1, 16, 16, dtype=torch.long)
    label[0, 1:3, 1:3] = 1
    kept = {
        how: downsample_target(label, (2, 2), channels=1, how=how).sum().item() for how in ("nearest", "area", "max")
    }
    assert kept == {"nearest": 0, "area": 4 / 64, "max": 1}


@pytest.mark.parametrize(("stride", "shift"), [(8, 4), (16, 8)])
def test_every_aligned_way_keeps_the_middle_and_the_corner_moves_it(stride, shift):
    """Upsampled again, the middle of a centred square must stay where it was."""
    n = 8 * stride
    label = torch.zeros(1, n, n, dtype=torch.long)
    edge = n // 4 + stride // 4
    label[0, edge : n - edge, edge : n - edge] = 1
    at = torch.arange(n).float()
    middle = {}
    for how in ("nearest", "area", "max", "corner"):
        up = functional.interpolate(downsample_target(label, (8, 8), channels=1, how=how), (n, n), mode="nearest")
        middle[how] = ((up[0, 0].sum(1) * at).sum() / up.sum() - (n - 1) / 2).item()
    assert middle == pytest.approx({"nearest": 0, "area": 0, "max": 0, "corner": shift}, abs=1e-3)


def test_only_the_official_code_invents_a_rim():
    label = torch.zeros(1, 32, 32, dtype=torch.long)
    label[0, 9:23, 9:23] = 2  # tumour in background: no kidney anywhere
    rim = {how: downsample_target(label, (16, 16), channels=3, how=how)[:, 1].sum().item() for how in REDUCTIONS}
    assert rim.pop("official_code") > 0
    assert set(rim.values()) == {0}


def test_an_unknown_way_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="how='mean' .*Choose one of"):
        downsample_target(torch.zeros(1, 4, 4, dtype=torch.long), (2, 2), channels=1, how="mean")


@pytest.mark.parametrize(
    ("value", "channels", "told"),
    [
        (
            255,
            1,
            r"holds class 255, but .* classes=2 \(0 to 1\)\. .*pass label > 0",
        ),
        (
            3,
            3,
            r"holds class 3, but the system was built with classes=3 \(0 to 2\)\. Build it with classes=4, or merge",
        ),
        (-1, 3, r"holds -1, but the system was built with classes=3 .*label\.clip\(0\)"),
    ],
)
def test_a_class_that_the_system_does_not_know_is_refused(value, channels, told):
    label = torch.zeros(2, 8, 8, dtype=torch.int64)
    label[1, 3, 3] = value
    with pytest.raises(ValueError, match=told):
        one_hot(label, channels)
    for how in REDUCTIONS:
        with pytest.raises(ValueError, match=told):
            downsample_target(label, (2, 2), channels=channels, how=how)


def test_a_whole_system_refuses_classes_it_does_not_know():
    network = Network(UNet(width=2, depth=2, classes=3))
    batch = {"image": torch.rand(1, 1, 8, 8), "label": torch.full((1, 8, 8), 3)}
    with pytest.raises(ValueError, match="holds class 3, but the system was built with classes=3"):
        loss_terms(Plain(), network, batch)


def test_a_label_of_another_grid_is_refused():
    logits = torch.zeros(2, 1, 8, 8)
    assert class_indices(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), logits).shape == (2, 8, 8)
    with pytest.raises(ValueError, match=r"the label has shape \(2, 4, 4\), the logits \(2, 1, 8, 8\)"):
        class_indices(torch.zeros(2, 4, 4, dtype=torch.long), logits)
