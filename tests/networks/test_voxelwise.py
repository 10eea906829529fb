"""Classifiers of patches: public counts, patches where they should be, and that one pass answers for all of them."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from dsnotes.networks.baselines import cf_cnn
from dsnotes.networks.baselines.cascaded_cnn import CascadedCNN, TwoPath
from dsnotes.networks.baselines.cf_cnn import CFCNN, CentralPool, segments
from dsnotes.networks.baselines.db_resnet import DBResNet, central_intensities
from dsnotes.networks.baselines.mc_cnn import MCCNN
from dsnotes.networks.baselines.mcroi_cnn import MCROICNN, otsu, three_channels
from dsnotes.networks.baselines.mv_dcnn import MVDCNN
from dsnotes.networks.voxelwise import mirror, sections

BACKBONES = [
    (CFCNN, {"width": 4}, (2, 5, 4)),
    (CFCNN, {"width": 4, "dims": 2}, (5, 4)),
    (CFCNN, {"width": 4, "every": 2}, (1, 6, 5)),
    (MVDCNN, {"width": 4}, (2, 5, 4)),
    (DBResNet, {"width": 4}, (2, 5, 4)),
    (MCCNN, {"width": 4}, (12, 9)),
    (MCROICNN, {"width": 4}, (12, 9)),
    (CascadedCNN, {"width": 4}, (12, 9)),
]


def as_if_trained(network):
    """Norms that do something, and answers that differ from voxel to voxel by more than rounding."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.bias):
                nn.init.normal_(values, 0, 0.3)
            for values in (module.running_var, module.weight):
                nn.init.uniform_(values, 0.5, 2.0)
        if isinstance(module, nn.PReLU):
            nn.init.constant_(module.weight, 0.4)
    return network.eval()


@pytest.mark.parametrize(("network", "settings", "size"), BACKBONES)
@pytest.mark.parametrize("classes", [2, 3])
def test_every_voxel_has_the_scores_that_it_has_by_itself(network, settings, size, classes):
    torch.manual_seed(0)
    backbone = as_if_trained(network(classes=classes, **settings))
    image = torch.randn(2, 1, *size)
    with torch.no_grad():
        logits = backbone(image).logits
    assert logits.shape == (2, 1 if classes == 2 else 3, *size)
    last = [n - 1 for n in size]
    last = [n // 2 * 2 if settings.get("every") and axis else n for axis, n in enumerate(last)]  # what is classified
    at = torch.tensor([[0, *[0] * len(size)], [1, *last]])
    scores = next(iter(backbone.scores(image, at).values()))
    torch.testing.assert_close(scores, logits.movedim(1, -1)[tuple(at.unbind(1))], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("network", "settings", "size"),
    [
        (CFCNN, {}, (2, 9, 5)),
        (CFCNN, {"dims": 2, "in_channels": 2}, (9, 5)),
        (CFCNN, {"every": 3}, (1, 14, 8)),
        (MVDCNN, {}, (2, 3, 4)),
        (DBResNet, {}, (2, 3, 4)),
    ],
)
def test_predicting_folds_and_shares_and_gives_what_learning_sees(network, settings, size, monkeypatch):
    """Several bands of rows, several portions, several slices."""
    torch.manual_seed(0)
    monkeypatch.setattr(network, "patches_per_thread", 3)
    monkeypatch.setattr(cf_cnn, "BAND", 4)
    backbone = as_if_trained(network(width=4, **settings))
    image = torch.randn(2, backbone.in_channels, *size)
    by_patches = backbone(image).logits  # gradients are wanted, so each patch goes through by itself
    with torch.no_grad():
        predicted = backbone(image).logits
    differ = (predicted - by_patches).abs().max().item()
    assert differ < 1e-5
    assert differ < 1e-3 * (by_patches.max() - by_patches.min()).item(), "nor alike because all voxels are"
    assert predicted.requires_grad is False


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("network", "settings", "published", "last"),  # counts for two outputs: ours has one, and its last weights once
    [
        (CFCNN, {}, 3_549_148, 601),
        (CFCNN, {"width": 9}, 223_045, 151),
        (MVDCNN, {}, 5_323_235, 901),
        (MCCNN, {}, 239_458, 33),
        (MCROICNN, {}, 10_228, 101),
        (DBResNet, {}, 745_512, 151),
        (CascadedCNN, {"out_channels": 2}, 785_156, 0),
        (CascadedCNN, {"out_channels": 5, "in_channels": 4}, 1_921_034, 0),
    ],
)
def test_counts(network, settings, published, last):
    assert parameters(network(**settings)) == published - last


def test_one_network_of_the_cascade_counts_as_published():
    assert parameters(TwoPath(1, 64, 2)) == 332_226
    assert parameters(TwoPath(4, 64, 5)) == 809_637


def test_a_mirrored_axis_is_numpys():
    x = torch.randn(1, 1, 5, 3)
    for before, after in ((2, 3), (9, 12)):
        expected = np.pad(x.numpy(), ((0, 0), (0, 0), (before, after), (0, 0)), mode="reflect")
        assert np.array_equal(mirror(x, 2, before, after).numpy(), expected)
    assert torch.equal(mirror(x[:, :, :1], 2, 4, 1), x[:, :, :1].expand(-1, -1, 6, -1))


@pytest.mark.parametrize("across", [0, 1, 2])
def test_sections_lie_round_their_voxel(across):
    volume = torch.randn(2, 3, 7, 8, 9)
    z, y, x = 3, 4, 5
    (patch,) = sections(volume, torch.tensor([[1, z, y, x]]), across=across, side=5)
    cut = {0: (z, slice(2, 7), slice(3, 8)), 1: (slice(1, 6), y, slice(3, 8)), 2: (slice(1, 6), slice(2, 7), x)}
    assert torch.equal(patch, volume[(1, slice(None), *cut[across])])


@pytest.mark.parametrize("size", [8, 9, 18, 35, 36, 64])
def test_central_pooling_is_the_maximum_over_rectangles(size):
    lengths = segments(size)
    assert sum(lengths) == size
    assert len(lengths) == -(-size // 2)
    x = torch.randn(1, 2, size, size)
    ends = np.cumsum([0, *lengths])
    expected = torch.stack(
        [torch.stack([x[..., a:b, c:d].amax((2, 3)) for c, d in pairwise(ends)], dim=-1) for a, b in pairwise(ends)],
        dim=-2,
    )
    assert torch.equal(CentralPool(size)(x), expected)


def test_central_poolings_segments_are_printed_ones():
    assert segments(35) == [3, 3, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3]
    assert segments(18) == [3, 2, 2, 2, 1, 1, 2, 2, 3]


def test_the_multi_crop_pass_is_a_patchs_own():
    """A patch of 64 and its rim, with ordinary strided poolings, crops and a fully connected layer."""
    torch.manual_seed(0)
    net, image = MCCNN(width=3).eval(), torch.randn(1, 1, 90, 90)
    patch = image[..., 43 - 42 : 43 + 42, 45 - 42 : 45 + 42]  # round (43, 45): 32 + 10 before, 31 + 10 after and itself
    x = functional.max_pool2d(functional.conv2d(patch, net.conv1.weight, net.conv1.bias).relu(), 2)
    x = functional.max_pool2d(functional.conv2d(x, net.conv2.weight, net.conv2.bias).relu(), 2)
    x = functional.conv2d(x, net.conv3.weight, net.conv3.bias).relu()
    assert x.shape[-1] == 16
    crops = [functional.max_pool2d(functional.max_pool2d(x, 2), 2), functional.max_pool2d(x[..., 4:12, 4:12], 2)]
    joined = functional.conv2d(torch.cat([*crops, x[..., 6:10, 6:10]], dim=1), net.join.weight, net.join.bias)
    expected = net.output(joined.relu())[0, 0, 0, 0]
    torch.testing.assert_close(net(image).logits[0, 0, 43, 45], expected, rtol=1e-4, atol=1e-5)


def test_the_small_networks_pass_is_a_patchs_own():
    torch.manual_seed(0)
    net, image = MCROICNN(width=3).eval(), torch.randn(1, 1, 70, 70)
    x = three_channels(image)[..., 30 - 26 : 30 + 26, 35 - 26 : 35 + 26]
    for conv in (net.conv1, net.conv2, net.conv3):
        x = functional.max_pool2d(functional.conv2d(x, conv.weight, conv.bias).relu(), 2)
    x = functional.conv2d(x, net.join.weight, net.join.bias).relu()
    torch.testing.assert_close(net(image).logits[0, 0, 30, 35], net.output(x)[0, 0, 0, 0], rtol=1e-4, atol=1e-5)


def test_the_cascades_pass_is_a_patchs_own():
    net, image = CascadedCNN(width=3).eval(), torch.randn(1, 1, 80, 80)
    patch = image[..., 40 - 32 : 40 + 33, 41 - 32 : 41 + 33]
    thought = net.first(patch).sigmoid()
    assert thought.shape[-1] == 33
    expected = net.second(torch.cat([patch[..., 16:-16, 16:-16], thought], dim=1))[0, 0, 0, 0]
    torch.testing.assert_close(net(image).logits[0, 0, 40, 41], expected, rtol=1e-4, atol=1e-5)


def test_otsu_is_scikit_images_up_to_a_level():
    filters = pytest.importorskip("skimage.filters")
    image = torch.cat([torch.randn(500), 6 + torch.randn(300)]).view(1, 1, 20, 40)
    span = (image.max() - image.min()).item()
    assert otsu(image).item() == pytest.approx(filters.threshold_otsu(image.numpy()[0, 0], nbins=64), abs=span / 64)


def test_the_three_channels_are_image_bright_and_edge():
    image = torch.zeros(1, 1, 6, 8)
    image[..., 4:] = 2.0
    shown, bright, edge = three_channels(image)[0]
    assert torch.equal(shown, image[0, 0])
    assert torch.equal(bright, image[0, 0])
    assert edge[0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]


def test_central_intensities_know_the_centre_that_a_mean_forgets():
    patches = torch.randn(2, 3, 35, 35)
    changed = patches.clone()
    changed[..., 17, 17] += 1
    assert (central_intensities(changed) - central_intensities(patches)).bool().sum() == 2 * 3
    assert torch.equal(central_intensities(patches)[:, 4], patches[:, 0, 17, 17])
    changed = patches.clone()
    changed[..., :16, :] += 1
    assert torch.equal(central_intensities(changed), central_intensities(patches))


def test_what_lies_between_is_interpolated():
    net = CFCNN(width=4, every=3).eval()
    coarse = torch.arange(6.0).view(1, 1, 1, 2, 3)
    y = net.between(coarse, 5, 9)[0, 0, 0]
    assert y[0].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2, 2, 2])
    assert y[:, 0].tolist() == pytest.approx([0, 1, 2, 3, 3])
    with pytest.raises(ValueError, match="got 0. Pass every=1"):
        CFCNN(every=0)


@pytest.mark.parametrize("network", [MVDCNN, DBResNet])
def test_three_planes_need_a_volume(network):
    with pytest.raises(ValueError, match="three planes .*Build it with dims=3"):
        network(dims=2)


@pytest.mark.parametrize("network", [MCCNN, MCROICNN, CascadedCNN])
def test_the_others_are_for_slices(network):
    with pytest.raises(ValueError, match="dims=3, .*Build it with dims=2"):
        network(dims=3)


def test_the_cascades_second_network_does_not_teach_the_first():
    net = CascadedCNN(width=3)
    net(torch.randn(1, 1, 8, 8)).logits.sum().backward()
    assert all(p.grad is None for p in net.first.parameters())
    assert all(p.grad is not None for p in net.second.parameters())
