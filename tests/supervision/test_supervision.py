"""Plain and multi-scale supervision: terms, weights, gradients, and any supervision on any backbone."""

import pytest
import torch
from torch.nn import functional

from dsnotes.networks.unet import UNet
from dsnotes.supervision import MultiScale, Plain, halving, loss_terms, supervise
from dsnotes.supervision.full_size import FullSize


def batch(classes=2, dims=2, size=32):
    return {
        "image": torch.randn(2, 1, *(size,) * dims),
        "label": torch.randint(0, classes, (2, *(size,) * dims)),
    }


def test_plain_on_one_channel_is_bce_and_dice_of_the_output():
    objective = Plain()
    net, b = supervise(UNet(width=2), objective), batch()
    logits, t = net(b["image"]).logits, b["label"][:, None].float()
    terms, p = loss_terms(objective, net, b), logits.sigmoid()
    torch.testing.assert_close(terms["cross-entropy"], functional.binary_cross_entropy_with_logits(logits, t))
    torch.testing.assert_close(terms["dice"], 1 - 2 * (p * t).sum() / (p**2 + t**2).sum(), atol=1e-5, rtol=1e-5)


def test_plain_leaves_the_background_out_of_dice():
    from monai.losses import DiceLoss

    objective = Plain()
    net, b = supervise(UNet(width=2, classes=3), objective), batch(classes=3)
    oracle = DiceLoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        batch=True,
        squared_pred=True,
        smooth_nr=1e-5,
        smooth_dr=1e-5,
    )
    expected = oracle(net(b["image"]).logits, b["label"][:, None])
    torch.testing.assert_close(loss_terms(objective, net, b)["dice"], expected)


def test_a_weight_of_zero_takes_the_term_away():
    objective = Plain(dice=0.0)
    assert list(loss_terms(objective, supervise(UNet(width=2), objective), batch())) == ["cross-entropy"]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("classes", [2, 3])
def test_multi_scale_on_any_backbone(dims, classes):
    objective = MultiScale(reduction="area")
    net = supervise(UNet(dims=dims, classes=classes, width=2), objective)
    terms = loss_terms(objective, net, batch(classes, dims, size=16 if dims == 3 else 32))
    assert list(terms) == ["stride1", "stride2", "stride4", "stride8"]
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in net.heads.parameters())


def test_each_term_scales_with_its_weight():
    net, b = supervise(UNet(width=2), MultiScale()), batch()
    ones = loss_terms(MultiScale(weights=(1.0, 1.0, 1.0, 1.0)), net, b)
    printed = loss_terms(MultiScale(weights=(0.4, 0.3, 0.2, 0.1)), net, b)
    for weight, name in zip((0.4, 0.3, 0.2, 0.1), ones, strict=True):
        torch.testing.assert_close(printed[name], weight * ones[name])


def test_without_the_deep_weights_the_gradient_is_the_plain_networks():
    b = batch()
    net = supervise(UNet(width=2), MultiScale())
    parameters = list(net.backbone.parameters())
    only_top = MultiScale(weights=(1.0, 0.0, 0.0, 0.0))
    deep = torch.autograd.grad(sum(loss_terms(only_top, net, b).values()), parameters)
    plain = torch.autograd.grad(sum(loss_terms(Plain(), net, b).values()), parameters)
    for ours, theirs in zip(deep, plain, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_side_teaches_its_own_level_and_deeper_ones_only():
    net, b = supervise(UNet(width=2), MultiScale()), batch()
    loss_terms(MultiScale(), net, b)["stride4"].backward()
    reached = {
        level: any(p.grad is not None for p in block.parameters()) for level, block in enumerate(net.backbone.decoder)
    }
    assert reached == {0: False, 1: False, 2: True, 3: True}


def test_halving_sums_to_one():
    assert halving(3) == pytest.approx((4 / 7, 2 / 7, 1 / 7))


def test_too_few_weights_are_refused_before_the_first_step():
    with pytest.raises(ValueError, match=r"2 level weights \(0.9, 0.1\) came, but the network has 4 levels"):
        supervise(UNet(width=2), MultiScale(weights=(0.9, 0.1)))


def test_full_size_weighs_each_raised_prediction_against_the_whole_mask():
    from dsnotes.networks.baselines.dsn_3d import DSN3D, AuxiliaryClassifiers

    objective = FullSize(AuxiliaryClassifiers, {"stride1": 5.0, "stride2": 1.0, "stride4": 2.0})
    net, b = supervise(DSN3D(width=2), objective), batch(dims=3, size=16)
    terms, raised = loss_terms(objective, net, b), net(b["image"]).upsampled
    y = b["label"][:, None].float()
    for name, weight in objective.weights.items():
        torch.testing.assert_close(terms[name], weight * functional.binary_cross_entropy_with_logits(raised[name], y))
    with pytest.raises(KeyError, match=r"weights name \['stride8'\], but .*'stride"):
        loss_terms(FullSize(AuxiliaryClassifiers, {"stride8": 1.0}), net, b)
