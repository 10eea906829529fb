"""Inf-Net's loss term by term, the release's slip, and what the weight and the border are."""

import pytest
import torch
from torch.nn import functional

from dsnotes.networks.baselines.inf_net import InfNet
from dsnotes.networks.unet import UNet
from dsnotes.supervision import loss_terms, supervise
from dsnotes.supervision.edge_guided import SCORES, EdgeGuided, border, weight


@pytest.fixture
def batch():
    label = torch.zeros(2, 64, 64, dtype=torch.long)
    label[0, 10:30, 20:40] = 1
    return {"image": torch.randn(2, 1, 64, 64), "label": label}


@pytest.mark.parametrize("reference_bce", [False, True])
def test_five_outputs_cost_what_the_paper_says(batch, reference_bce):
    objective = EdgeGuided(reference_bce)
    net = supervise(InfNet(width=8), objective).eval()
    maps, terms = net(batch["image"]).features, loss_terms(objective, net, batch)
    t = batch["label"][:, None].float()
    w = 1 + 5 * (functional.avg_pool2d(t, 31, stride=1, padding=15) - t).abs()
    for name in SCORES:
        z = functional.interpolate(maps[name], (64, 64), mode="bilinear")
        p = z.sigmoid()
        bce = -(t * p.log() + (1 - t) * (1 - p).log())
        bce = bce.mean() if reference_bce else ((w * bce).sum((1, 2, 3)) / w.sum((1, 2, 3))).mean()
        inter, union = (w * p * t).sum((1, 2, 3)), (w * (p + t - p * t)).sum((1, 2, 3))
        torch.testing.assert_close(terms[name], bce + (1 - (inter + 1) / (union + 1)).mean(), rtol=1e-4, atol=1e-5)
    edge = functional.interpolate(maps["edge"], (64, 64), mode="bilinear")
    torch.testing.assert_close(terms["edge"], functional.binary_cross_entropy_with_logits(edge, border(t)))
    assert list(terms) == [*SCORES, "edge"]


def test_what_is_deployed_is_the_last_refined_score(batch):
    net = supervise(InfNet(width=8), EdgeGuided()).eval()
    outputs = net(batch["image"])
    torch.testing.assert_close(
        outputs.logits, functional.interpolate(outputs.features["stride8"], (64, 64), mode="bilinear")
    )


def test_several_classes_are_asked_of_their_softmax(batch):
    batch["label"][1, 5:9, 5:9] = 2
    net = supervise(InfNet(width=8, classes=3), EdgeGuided())
    terms = loss_terms(EdgeGuided(), net, batch)
    sum(terms.values()).backward()
    assert all(term.isfinite() for term in terms.values())
    assert all(p.grad is not None for p in net.parameters())


def test_the_weight_is_on_what_is_hard():
    t = torch.zeros(1, 1, 101, 101)
    t[..., 50, 50] = 1
    w = weight(t)
    assert w[..., 50, 50].item() == pytest.approx(6 - 5 / 31**2, rel=1e-5)
    assert w[..., 0, 0].item() == 1
    assert w[..., 45, 45].item() == pytest.approx(1 + 5 / 31**2, rel=1e-4)


def test_the_border_is_where_a_window_holds_both():
    t = torch.zeros(1, 1, 9, 9)
    t[..., 2:7, 2:7] = 1
    expected = torch.zeros(1, 1, 9, 9)
    expected[..., 1:8, 1:8] = 1
    expected[..., 3:6, 3:6] = 0
    assert torch.equal(border(t), expected)


def test_another_network_is_answered(batch):
    net = supervise(UNet(width=2), EdgeGuided())
    with pytest.raises(ValueError, match=r"has no maps \['score32', 'coarse', 'edge'\].* build inf-net, or supervise"):
        loss_terms(EdgeGuided(), net, batch)
