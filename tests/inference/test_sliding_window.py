"""MONAI's sliding_window_inference is the oracle; the invariants are those of weighted averages."""

from __future__ import annotations

import sys
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from dsnotes.inference import mirror, sliding_window
from dsnotes.inference.sliding_window import window_starts, window_weights


def network(dims: int, classes: int = 2) -> nn.Module:
    """Two convolutions: enough to see where a window ends, for they pad with zeros there."""
    torch.manual_seed(0)
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    return nn.Sequential(conv(1, 4, 3, padding=1), nn.ReLU(inplace=True), conv(4, classes, 3, padding=1), nn.Sigmoid())


CASES = {
    "2-D": ((37, 53), (16, 24), 0.5),
    "2-D, little overlap": ((37, 53), (16, 10), 0.3),
    "2-D, much overlap": ((37, 30), (10, 10), 0.9),
    "3-D, odd": ((13, 17, 23), (8, 6, 11), 0.5),
    "3-D, thinner than the window": ((3, 17, 23), (8, 8, 8), 0.5),
    "3-D, smaller than the window": ((3, 5, 7), (8, 8, 8), 0.5),
    "3-D, one window": ((8, 8, 8), (8, 8, 8), 0.5),
    "3-D, no overlap": ((8, 16, 9), (4, 8, 3), 0.0),
}


@pytest.mark.parametrize("weights", ["gaussian", "constant"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("space", "patch", "overlap"), CASES.values(), ids=CASES.keys())
def test_equals_monai(space, patch, overlap, batch, weights):
    from monai.inferers import sliding_window_inference

    net = network(len(space))
    image = torch.randn(2, 1, *space, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        peer = sliding_window_inference(
            image, patch, sw_batch_size=batch, predictor=net, overlap=overlap, mode=weights, sigma_scale=0.125
        )
    ours = sliding_window(net, image, patch=patch, overlap=overlap, batch=batch, weights=weights)
    torch.testing.assert_close(ours, peer, rtol=0, atol=1e-5)


def test_tiling_of_a_constant_is_the_constant():
    constant = sliding_window(
        lambda x: torch.full((len(x), 3, *x.shape[2:]), 0.3), torch.zeros(1, 1, 19, 21, 11), patch=(8, 6, 5)
    )
    torch.testing.assert_close(constant, torch.full((1, 3, 19, 21, 11), 0.3), rtol=0, atol=1e-6)


def test_probabilities_stay_probabilities():
    ones = sliding_window(torch.ones_like, torch.zeros(1, 1, 41, 43), patch=(8, 10), overlap=0.75)
    assert ones.max() <= 1


def test_a_voxelwise_function_is_not_changed_by_windows():
    image = torch.randn(1, 1, 9, 30, 31)
    torch.testing.assert_close(sliding_window(torch.sigmoid, image, patch=(4, 8, 8)), image.sigmoid())


def test_weights_are_the_printed_gaussian():
    """exp(-d^2 / 2 sigma^2) with sigma = patch / 8, here 2: d = 0.5 in the middle of 16, 7.5 in the corner."""
    weight = window_weights((16,), "gaussian")
    assert weight[7].item() == pytest.approx(np.exp(-(0.5**2) / 8))
    assert weight[4].item() == pytest.approx(np.exp(-(3.5**2) / 8))
    assert weight[0].item() == pytest.approx(1e-3)  # exp(-7.03) = 0.0009 is lifted to the least weight
    assert (window_weights((3, 4), "constant") == 1).all()


def test_windows_overlap_by_half_and_end_with_the_image():
    assert window_starts(100, 32, 0.5) == [0, 16, 32, 48, 64, 68]
    assert window_starts(32, 32, 0.5) == [0]
    assert window_starts(5, 32, 0.5) == [-13]
    assert window_starts(12, 10, 0.99) == [0, 1, 2]


@pytest.mark.parametrize("lead", [(), (1,), (1, 1)], ids=["space", "channels", "batch"])
def test_array_or_tensor_with_or_without_leading_axes(lead):
    image = np.random.default_rng(0).normal(size=(9, 10, 11)).astype(np.float32)
    net = network(3)
    whole = sliding_window(net, torch.from_numpy(image)[None, None], patch=(4, 4, 4))
    for given in (image.reshape(*lead, *image.shape), torch.from_numpy(image).reshape(*lead, *image.shape)):
        ours = sliding_window(net, given, patch=(4, 4, 4))
        assert ours.shape == ((1, 2, 9, 10, 11) if len(lead) == 2 else (2, 9, 10, 11))
        torch.testing.assert_close(ours.reshape(whole.shape), whole)


def test_a_memory_map_and_integers_are_read_as_they_are(tmp_path):
    values = np.random.default_rng(0).integers(-1000, 1000, size=(12, 13)).astype(np.int16)
    np.save(tmp_path / "image.npy", values)
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    ours = sliding_window(lambda x: x / 1000, mapped, patch=(8, 8))
    np.testing.assert_allclose(ours[0].numpy(), values / 1000, atol=1e-6)


def test_a_network_that_works_in_place_does_not_change_the_image():
    image = torch.randn(1, 1, 8, 8)
    before = image.clone()
    sliding_window(lambda x: x.mul_(2).sigmoid_(), image, patch=(8, 8))
    assert torch.equal(image, before)


def test_no_gradient_is_kept():
    assert not sliding_window(network(2), torch.zeros(1, 1, 20, 20), patch=(8, 8)).requires_grad


def test_half_precision_predictions_are_summed_in_float32():
    """Summed in bfloat16, whose steps at 0.7 are 0.004, the mean over a hundred windows would not be 0.7 again."""
    value = torch.tensor(0.7).bfloat16()
    ours = sliding_window(
        lambda x: value.expand(len(x), 1, *x.shape[2:]), torch.zeros(1, 1, 32, 32), patch=(16, 16), overlap=0.9
    )
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, value.float().expand_as(ours), rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("space", [(16, 16, 16), (16, 16, 64)])
def test_one_batch_of_windows_lives_at_a_time(space, batch):
    """Neither the windows before nor their predictions survive, however many there are."""
    alive: weakref.WeakSet = weakref.WeakSet()
    counts, calls = [], []

    def predictor(x):
        assert len(x) <= batch
        calls.append(len(x))
        counts.append(sum(len(t) for t in alive))  # what is left from the calls before
        p = x.sigmoid()
        alive.update((x, p))
        return p

    sliding_window(predictor, torch.zeros(1, 1, *space), patch=(8, 8, 8), batch=batch)
    assert sum(calls) == 3 * 3 * (space[2] // 4 - 1)
    assert max(counts) == 0


def test_auto_takes_more_of_small_windows_than_of_large():
    taken = {}
    for patch in ((16, 16), (600, 600)):

        def predictor(x, patch=patch):
            taken.setdefault(patch, len(x))
            return x

        sliding_window(predictor, torch.zeros(1, 1, 700, 700), patch=patch, batch="auto")
    assert taken[16, 16] > 100
    assert taken[600, 600] == 1


def test_progress_is_quiet_unless_it_takes_long(monkeypatch, capsys):
    """A bar after five seconds, with what was done until then."""
    import tqdm.auto

    seen = []

    class Bar(tqdm.auto.tqdm):
        def __init__(self, **arguments):
            seen.append((arguments["initial"], arguments["total"]))
            super().__init__(**arguments)

        def update(self, n=1):
            seen.append(n)
            return super().update(n)

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    how = {"patch": (8, 8), "batch": 2, "progress": True}
    sliding_window(torch.sigmoid, torch.zeros(3, 1, 16, 8), **how)
    assert seen == []
    assert capsys.readouterr().err == ""
    clock = iter(range(0, 1000, 4))  # four seconds a batch
    slow = SimpleNamespace(monotonic=lambda: next(clock))
    monkeypatch.setattr(sys.modules[sliding_window.__module__], "time", slow)
    sliding_window(torch.sigmoid, torch.zeros(3, 1, 16, 8), **how)
    assert seen == [(4, 9), 2, 2, 1]


def test_mirrored_windows_equal_monai_with_the_same_mirrored_network():
    from monai.inferers import sliding_window_inference

    net, image = network(3), torch.randn(1, 1, 13, 11, 17)
    views = [(), (2,), (3,), (4,), (2, 3), (2, 4), (3, 4), (2, 3, 4)]

    def mirrored(x):
        return torch.stack([net(x.flip(view)).flip(view) for view in views]).mean(0)

    with torch.no_grad():
        peer = sliding_window_inference(image, (8, 8, 8), 2, mirrored, overlap=0.5, mode="gaussian")
    ours = sliding_window(mirror(net), image, patch=(8, 8, 8), batch=2)
    torch.testing.assert_close(ours, peer, rtol=0, atol=1e-5)


IMAGE = torch.zeros(1, 1, 16, 16)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"patch": (0, 8)}, r"whole numbers above 0, got \(0, 8\)"),
        ({"patch": (8, 8, 8, 8, 8)}, r"shape \(1, 1, 16, 16\) came with patch=.* one patch size per spatial axis"),
        ({"patch": (8,)}, "one patch size per spatial axis"),
        ({"image": torch.zeros(1, 1, 0, 16)}, "Pass a non-empty image"),
        ({"overlap": 1.0}, r"overlap .*got 1.0\. Pass 0 <= overlap < 1"),
        ({"overlap": -0.5}, r"overlap .*got -0.5"),
        ({"weights": "hann"}, "weights='hann' is unknown. Choose 'gaussian' or 'constant'"),
        ({"batch": 0}, "batch must be a whole number above 0 or 'auto', got 0"),
        ({"batch": "all"}, "batch .*got 'all'"),
        ({"predictor": lambda x: x[..., ::2]}, r"shape \(1, 1, 8, 4\), but \(1, 'classes', 8, 8\) is needed"),
    ],
)
def test_a_wrong_argument_is_answered_with_what_to_pass(change, text):
    arguments = {"predictor": torch.sigmoid, "image": IMAGE, "patch": (8, 8), **change}
    predictor, image = arguments.pop("predictor"), arguments.pop("image")
    with pytest.raises(ValueError, match=text):
        sliding_window(predictor, image, **arguments)


def test_a_network_whose_outputs_are_not_a_tensor_is_told_what_to_pass():
    with pytest.raises(TypeError, match=r"returned dict, but a tensor .* Pass system.probabilities"):
        sliding_window(lambda x: {"logits": x}, IMAGE, patch=(8, 8))
