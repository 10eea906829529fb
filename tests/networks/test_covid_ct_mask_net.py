"""Mask R-CNN in plain PyTorch: counts, boxes against their definitions, maps against SciPy, losses that fall."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from dsnotes.networks.baselines.covid_ct_mask_net import CovidCTMaskNet
from dsnotes.networks.regions import align, anchors, decode, encode, not_suppressed, overlaps, paste
from dsnotes.networks.unet import UNet
from dsnotes.papers import build
from dsnotes.supervision import loss_terms, supervise
from dsnotes.supervision.detection import Detection, objects, sample
from dsnotes.training.step import PlainStep


def some_boxes(n: int) -> torch.Tensor:
    first = 40 * torch.rand(n, 2)
    return torch.cat([first, first + 1 + 20 * torch.rand(n, 2)], dim=1)


@pytest.mark.parametrize(("classes", "published"), [(2, 31_727_842), (3, 31_728_744)])
def test_counts_are_the_public_codes(classes, published):
    with torch.device("meta"):
        net = CovidCTMaskNet(in_channels=3, classes=classes)
    assert sum(p.numel() for p in net.parameters()) == published


@pytest.mark.parametrize("classes", [2, 3])
def test_levels_say_what_forward_gives(classes):
    net = CovidCTMaskNet(width=4, classes=classes).eval()
    features = net(torch.randn(2, 1, 64, 32))
    assert features.logits.shape == (2, 1 if classes == 2 else 3, 64, 32)
    for name, level in net.levels.items():
        assert features[name].shape == (2, level.channels, 64 // level.stride[0], 32 // level.stride[1]), name


def test_anchors_lie_round_the_cells_with_their_area_and_ratio():
    boxes = anchors((2, 3), 8, (4, 16), (0.25, 1.0, 4.0))
    assert boxes.shape == (2 * 3 * 6, 4)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert middle[::6].tolist() == [[4, 4], [4, 12], [4, 20], [12, 4], [12, 12], [12, 20]]
    height, width = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    assert (height * width)[:6].tolist() == pytest.approx([16] * 3 + [256] * 3)
    assert (height / width)[:3].tolist() == pytest.approx([0.25, 1, 4])


def test_overlaps_are_counted_pixels():
    a, b = torch.tensor([[0.0, 0, 4, 6], [2, 2, 8, 8]]), torch.tensor([[2.0, 2, 8, 8], [20, 20, 21, 21]])
    drawn = [[np.zeros((24, 24), bool) for _ in boxes] for boxes in (a, b)]
    for masks, boxes in zip(drawn, (a, b), strict=True):
        for mask, (y1, x1, y2, x2) in zip(masks, boxes.int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = True
    expected = [[(m & n).sum() / (m | n).sum() for n in drawn[1]] for m in drawn[0]]
    torch.testing.assert_close(overlaps(a, b), torch.tensor(expected).float())


def test_boxes_move_onto_each_other_and_stop_at_the_border():
    a, b = some_boxes(20), some_boxes(20)
    torch.testing.assert_close(decode(a, encode(a, b), (99, 99)), b, rtol=1e-4, atol=1e-4)
    (box,) = decode(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[1.0, -1.0, math.log(2), 0.0]]), (16, 16))
    assert box.tolist() == pytest.approx([5, 0, 16, 0])


def test_a_box_stays_unless_a_better_one_that_stays_covers_it():
    boxes, threshold = some_boxes(60), 0.3
    stays = []
    for index in range(len(boxes)):
        stays.append(
            not any(s and overlaps(boxes[j : j + 1], boxes[index : index + 1]) > threshold for j, s in enumerate(stays))
        )
    assert not_suppressed(boxes, threshold).tolist() == stays
    assert 0 < sum(stays) < len(stays)


def test_aligned_cells_are_means_of_linear_samples():
    map_, boxes = torch.randn(3, 12, 10), torch.tensor([[4.0, 6.0, 30.0, 33.0], [10.5, 1.0, 20.0, 39.0]])
    found = align(map_, boxes, 4, 2, samples=2)
    for box, cells in zip(boxes.tolist(), found, strict=True):
        at = (np.arange(4) + 0.5) / 4
        y, x = (box[0] + (box[2] - box[0]) * at) / 4 - 0.5, (box[1] + (box[3] - box[1]) * at) / 4 - 0.5
        grid = np.meshgrid(y, x, indexing="ij")
        for channel, cell in zip(map_, cells, strict=True):
            samples = ndimage.map_coordinates(channel.numpy(), grid, order=1, mode="nearest")
            expected = samples.reshape(2, 2, 2, 2).mean((1, 3))
            np.testing.assert_allclose(cell.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_mask_is_pasted_over_its_box():
    pasted = paste(torch.ones(2, 28, 28), torch.tensor([[2.0, 3, 7, 5], [0, 0, 12, 10]]), (12, 10))
    expected = torch.zeros(12, 10)
    expected[2:7, 3:5] = 1
    torch.testing.assert_close(pasted[0], expected)
    torch.testing.assert_close(pasted[1], torch.ones(12, 10))
    left = torch.zeros(1, 28, 28)
    left[..., :14] = 1
    assert paste(left, torch.tensor([[0.0, 0, 10, 10]]), (10, 10))[0, 5].round().tolist() == [1] * 5 + [0] * 5


def test_objects_are_the_components_of_each_class():
    label = torch.zeros(30, 40, dtype=torch.long)
    label[2:10, 3:13], label[10, 13], label[20:24, 20:30], label[0, 39] = 1, 1, 2, 1
    found = objects(label, 3, 5)
    assert found.kinds.tolist() == [1, 2]
    assert found.boxes.tolist() == [[2, 3, 11, 14], [20, 20, 24, 30]]
    assert [int(m.sum()) for m in found.masks] == [81, 40]
    assert len(objects(label, 3, 100).boxes) == 0


def test_at_most_three_quarters_of_what_counts_are_objects():
    yes, no = sample(torch.ones(900, dtype=torch.bool), torch.ones(900, dtype=torch.bool))
    assert (len(yes), len(no)) == (192, 64)
    yes, no = sample(torch.arange(900) < 10, torch.arange(900) >= 10)
    assert (len(yes), len(no)) == (10, 246)


def test_its_losses_fall_and_an_image_without_objects_is_background():
    torch.manual_seed(0)
    system = build("covid-ct-mask-net", width=4)
    label = torch.zeros(2, 64, 64, dtype=torch.long)
    label[0, 16:40, 20:44] = 1
    b = {"image": label[:, None] + 0.1 * torch.randn(2, 1, 64, 64), "label": label}
    step = PlainStep(system, system.settings)
    step.set_lr(3e-3)
    losses = [step(b)["loss"].item() for _ in range(8)]
    assert losses[-1] < 0.7 * losses[0]
    assert list(loss_terms(system.objective, system.network, b)) == [
        "anchor class",
        "anchor box",
        "region class",
        "region box",
        "mask",
    ]


def test_what_sure_detections_say_is_the_map():
    """One region that is sure of a class, and its mask everywhere: the map is that mask in that box."""
    net = CovidCTMaskNet(width=4).eval()
    net.propose = lambda told, space: torch.tensor([[8.0, 8, 24, 20], [40, 40, 60, 60]])
    net.judge = lambda pyramid, boxes: (torch.tensor([[-5.0, 5.0], [5.0, -5.0]]), torch.zeros(2, 2, 4))
    net.draw = lambda pyramid, boxes: torch.full((len(boxes), 2, 28, 28), 2.0)
    p = net(torch.randn(1, 1, 64, 64)).logits.sigmoid()[0, 0]
    expected = torch.zeros(64, 64)
    expected[8:24, 8:20] = torch.tensor(2.0).sigmoid()
    torch.testing.assert_close(p, expected, atol=2e-4, rtol=0)


def test_a_network_without_boxes_is_refused():
    with pytest.raises(TypeError, match="UNet .*Build covid-ct-mask-net"):
        supervise(UNet(width=2), Detection())
