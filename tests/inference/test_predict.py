from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dsnotes.data.case import Case
from dsnotes.inference import predict, sliding_window, to_label
from dsnotes.networks.base import Backbone, Features, Level, Network
from dsnotes.shapes import n_logits
from dsnotes.supervision import Supervision
from dsnotes.training.settings import Settings
from dsnotes.training.system import System


class Blur(Backbone):
    """One convolution: an instant stand-in for a network of stride 4."""

    def __init__(self, *, dims: int, classes: int = 2, in_channels: int = 1) -> None:
        super().__init__()
        self.in_channels, self.classes, self.stride = in_channels, classes, (4,) * dims
        self.levels = {"bottleneck": Level(1, self.stride)}
        torch.manual_seed(0)
        self.conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims](in_channels, n_logits(classes), 3, padding=1)
        self.sizes = []

    def forward(self, image):
        self.sizes.append(tuple(image.shape))
        return Features({}, image, {}, self.conv(image))


class NoObjective(Supervision):
    def terms(self, outputs, batch):
        return {}


def system_of(*, dims: int, patch=None, **backbone) -> System:
    return System("blur", Network(Blur(dims=dims, **backbone)), NoObjective(), Settings(patch=patch))


def case_of(*shape: int, axes: int | None = None) -> Case:
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return Case("one", image, None, (1.0,) * (axes or len(shape)))


def direct(system: System, image: np.ndarray) -> np.ndarray:
    return system.probabilities(torch.from_numpy(image)).numpy()


def test_an_image_whose_size_fits_is_seen_whole():
    system, case = system_of(dims=2), case_of(12, 16)
    p = predict(system, case)
    assert (p.shape, p.dtype) == ((1, 12, 16), np.float32)
    np.testing.assert_allclose(p, direct(system, case.image[None, None])[0], atol=1e-6)


def test_any_size_is_padded_to_the_stride_and_cropped_again():
    system, case = system_of(dims=2), case_of(13, 18)
    p = predict(system, case)
    assert system.network.backbone.sizes == [(1, 1, 16, 20)]
    padded = np.pad(case.image, ((1, 2), (1, 1)), constant_values=case.image.min())
    np.testing.assert_allclose(p, direct(system, padded[None, None])[0][:, 1:14, 1:19], atol=1e-6)


def test_a_volume_goes_slice_by_slice_through_a_2d_network():
    system, case = system_of(dims=2, classes=3, in_channels=2), case_of(2, 5, 12, 16, axes=3)
    p = predict(system, case, batch=2)
    assert p.shape == (3, 5, 12, 16)
    assert p.flags.c_contiguous
    assert [size[0] for size in system.network.backbone.sizes] == [2, 2, 1]
    for z in range(5):
        np.testing.assert_allclose(p[:, z], direct(system, case.image[None, :, z])[0], atol=1e-6)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_volume_of_one_slice_keeps_its_three_axes(dims):
    assert predict(system_of(dims=dims), case_of(1, 12, 16)).shape == (1, 1, 12, 16)


def test_a_3d_network_sees_the_windows_it_was_trained_on():
    system, case = system_of(dims=3, patch=(4, 8, 7)), case_of(9, 12, 16)
    p = predict(system, case, batch=1)
    assert set(system.network.backbone.sizes) == {(1, 1, 4, 8, 8)}  # 7 is raised to the stride
    whole = sliding_window(system.probabilities, case.image, patch=(4, 8, 8), overlap=0.5)
    np.testing.assert_allclose(p, whole.numpy(), atol=1e-6)
    system = system_of(dims=3)
    predict(system, case)
    assert system.network.backbone.sizes == [(1, 1, 12, 12, 16)]


def test_patch_and_overlap_are_handed_on():
    system, case = system_of(dims=2), case_of(20, 20)
    p = predict(system, case, patch=(8, 12), overlap=0.25)
    expected = sliding_window(system.probabilities, case.image, patch=(8, 12), overlap=0.25)
    np.testing.assert_allclose(p, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("mirror", "views"), [(True, [(), (-2,), (-1,), (-2, -1)]), ((1,), [(), (-1,)]), (False, [()])]
)
def test_mirroring_averages_the_views_of_the_network_s_axes(mirror, views):
    system, case = system_of(dims=2), case_of(12, 16)
    mean = np.mean([np.flip(direct(system, np.flip(case.image[None, None], v).copy()), v)[0] for v in views], axis=0)
    np.testing.assert_allclose(predict(system, case, mirror=mirror), mean, atol=1e-6)


def test_the_ensemble_of_a_system_is_what_is_deployed():
    system = replace(system_of(dims=2), deploy=lambda outputs: torch.full_like(outputs.logits, 0.25))
    np.testing.assert_allclose(predict(system, case_of(8, 8)), np.full((1, 8, 8), 0.25))


def test_bfloat16_is_near_float32_and_not_the_default_on_a_cpu():
    system, case = system_of(dims=2), case_of(12, 16)
    full, lowered = predict(system, case, device="cpu"), predict(system, case, device="cpu", amp=True)
    np.testing.assert_array_equal(full, predict(system, case, device="cpu", amp=False))
    assert 0 < np.abs(full - lowered).max() < 0.02
    assert lowered.dtype == np.float32
    assert "forward" not in vars(system.network)  # computes in float32 again


def test_label_of_one_channel_and_of_several():
    one = np.array([[[0.2, 0.5, 0.51]]], np.float32)
    assert to_label(one).tolist() == [[0, 0, 1]]
    assert to_label(one, threshold=0.1).tolist() == [[1, 1, 1]]
    several = np.random.default_rng(0).random((4, 5, 6, 7)).astype(np.float32)
    label = to_label(several)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, several.argmax(0))


def test_nan_belongs_to_no_class():
    with pytest.raises(ValueError, match=r"\(1, 2, 2\) hold NaN .* Look for NaN in the network's weights"):
        to_label(np.full((1, 2, 2), np.nan, np.float32))


@pytest.mark.parametrize(
    ("system", "case", "arguments", "text"),
    [
        ({"dims": 2}, (12, 16), {"patch": (10, 12)}, r"\(10, 12\) is not divisible by \(4, 4\).* patch=\(12, 12\)"),
        ({"dims": 2}, (12, 16), {"patch": (1, 9)}, r"nearest .*patch=\(4, 8\)"),
        ({"dims": 2}, (12, 16), {"patch": (8, 8, 8)}, r"has 3 axes, but system 'blur' is 2-D.* patch=\(16, 16\)"),
        ({"dims": 3, "patch": (8, 8)}, (8, 8, 8), {}, r"patch=\(8, 8\) has 2 axes, but system 'blur' is 3-D"),
        ({"dims": 3}, (12, 16), {}, r"'one' has 2 spatial axes \(12, 16\), .* Build it with dims=2"),
        ({"dims": 2, "in_channels": 2}, (12, 16), {}, r"has 1 channels, but system 'blur' takes 2.*in_channels=1"),
        ({"dims": 2}, (12, 16), {"mirror": (2,)}, r"cannot all be mirrored.* Choose from \(0, 1\)"),
        ({"dims": 2}, (12, 16), {"overlap": 1.5}, "overlap .*got 1.5"),
        ({"dims": 2}, (12, 16), {"batch": 0}, "batch .*got 0"),
        ({"dims": 2}, (12, 16), {"device": "gpu"}, "device='gpu' .*Pass device='auto' or device='cpu'"),
        ({"dims": 2}, (12, 16), {"amp": "half"}, "amp='half' is unknown. Pass 'auto', True"),
    ],
)
def test_what_does_not_fit_is_answered_with_what_does(system, case, arguments, text):
    with pytest.raises(ValueError, match=text):
        predict(system_of(**system), case_of(*case), **arguments)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_voxel_without_a_value_is_refused(value):
    case = case_of(8, 8)
    case.image[3, 4] = value
    with pytest.raises(ValueError, match="image of case 'one' holds NaN or infinite voxels.*nan_to_num"):
        predict(system_of(dims=2), case)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the GPU that the test misses")
def test_a_gpu_that_is_not_there():
    with pytest.raises(ValueError, match="device='cuda' .*Pass device='auto' or device='cpu'"):
        predict(system_of(dims=2), case_of(8, 8), device="cuda")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_is_answered_with_what_to_try(error):
    def fails(outputs):
        raise error

    system = replace(system_of(dims=2), deploy=fails)
    with pytest.raises(RuntimeError, match=r"memory for batch='auto' of windows \(16, 24\).* patch=\(8, 12\)"):
        predict(system, case_of(16, 24))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dims", [2, 3])
def test_the_gpu_predicts_what_the_cpu_does(dims):
    system, case = system_of(dims=dims, classes=3), case_of(9, 20, 24)
    expected = predict(system, case, device="cpu", mirror=True)
    np.testing.assert_allclose(predict(system, case, device="cuda", amp=False, mirror=True), expected, atol=1e-3)
    np.testing.assert_allclose(predict(system, case, device="cuda", mirror=True), expected, atol=0.02)


def test_a_small_volume_is_filled_up_as_in_training():
    """What lies round it must be what the network has learned to ignore: the lowest value of each channel."""
    from dsnotes.data.patches import draw_batch

    image = np.random.default_rng(0).normal(size=(2, 6, 5)).astype(np.float32) + np.array([3, -7]).reshape(2, 1, 1)
    case = Case("small", image.astype(np.float32), np.ones((6, 5), np.uint8), (1.0, 1.0))
    seen = []
    system = system_of(dims=2, in_channels=2)
    system.network.backbone.register_forward_hook(lambda module, args, out: seen.append(args[0].clone()))
    p = predict(system, case, patch=(12, 12))
    drawn = draw_batch([case], patch=(12, 12), batch=1, foreground=0.0, generator=torch.Generator().manual_seed(0))
    assert p.shape == (1, 6, 5)
    for channel in range(2):
        border, trained = seen[0][0, channel], drawn["image"][0, channel]
        assert border.min() == trained.min() == image[channel].min()
        assert (border == image[channel].min()).sum() == (trained == image[channel].min()).sum() == 144 - 30 + 1


def test_noise_of_the_views_is_part_of_the_prediction():
    system, case = system_of(dims=2), case_of(16, 16)
    plain, noisy = predict(system, case), predict(system, case, noise=0.2)
    assert 0 < np.abs(noisy - plain).max() < 0.5
    np.testing.assert_array_equal(noisy, predict(system, case, noise=0.2))
    averaged = predict(system, case, noise=0.2, mirror=True) - predict(system, case, mirror=True)
    assert np.abs(averaged).mean() < np.abs(noisy - plain).mean()  # of four draws, half of one's
