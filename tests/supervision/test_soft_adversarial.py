"""DSNet's three terms as printed (signs put right), on its own fine grid and on any other backbone."""

import pytest
import torch
from torch.nn import functional

from dsnotes.losses import generator_loss
from dsnotes.networks.dsnet import DSNet
from dsnotes.networks.srgan import SRGAN, enlarged
from dsnotes.networks.unet import UNet
from dsnotes.supervision import loss_terms, supervise
from dsnotes.supervision.soft_adversarial import SoftAdversarial
from dsnotes.supervision.super_resolution import SuperResolution


def batch(size=(16, 16), classes=2):
    g = torch.Generator().manual_seed(0)
    label = torch.randint(0, classes, (2, *size), generator=g)
    soft = torch.rand(2, 1 if classes == 2 else classes, *size, generator=g)
    return {"image": torch.randn(2, 1, *size, generator=g), "label": label, "soft": soft}


def unet(objective, **settings):
    return supervise(UNet(width=2, depth=2, **settings), objective).eval()


def test_terms_are_the_papers():
    objective, b = SoftAdversarial(critic_width=4), batch()
    net = unet(objective)
    outputs, critic = net(b["image"]), objective.critic(net.backbone).eval()
    y, x = outputs.logits.sigmoid(), b["label"][:, None].float()
    dice = 2 * (y * x).sum((1, 2, 3)) / (y.sum((1, 2, 3)) + x.sum((1, 2, 3)))
    c = critic(torch.cat([b["image"], y], 1)).sigmoid()
    terms = objective.terms(outputs, b)
    assert list(terms) == ["dice", "soft"]
    torch.testing.assert_close(terms["dice"], 0.5 * (1 - dice).mean(), rtol=1e-4, atol=0)
    torch.testing.assert_close(terms["soft"], 100 * (y - b["soft"]).abs().mean())
    torch.testing.assert_close(objective.adversarial_term(critic, outputs, b), -c.log().mean())


def test_the_control_of_the_soft_mask_compares_with_the_mask():
    objective, b = SoftAdversarial(adversarial=0, binary=True), batch()
    outputs, x = unet(objective)(b["image"]), b["label"][:, None].float()
    terms = objective.terms(outputs, b)
    torch.testing.assert_close(terms["soft"], 100 * (outputs.logits.sigmoid() - x).abs().mean())
    torch.testing.assert_close(terms["dice"], SoftAdversarial(adversarial=0).terms(outputs, b)["dice"])
    torch.testing.assert_close(objective.pairs(outputs, b)[0], torch.cat([b["image"], x], 1))


def test_the_literal_game_is_offered():
    literal, b = SoftAdversarial(saturating=True, critic_width=4), batch()
    net = unet(literal)
    outputs, critic = net(b["image"]), literal.critic(net.backbone).eval()
    c = critic(torch.cat([b["image"], outputs.logits.sigmoid()], 1)).sigmoid()
    torch.testing.assert_close(literal.adversarial_term(critic, outputs, b), (1 - c).log().mean())


def test_the_binarised_dice_of_print_has_no_gradient_and_ours_has():
    objective, b = SoftAdversarial(soft=0, adversarial=0), batch()
    net = unet(objective)
    net.zero_grad()
    loss_terms(objective, net, b)["dice"].backward()
    assert net.backbone.output.weight.grad.abs().sum() > 0
    hard = (net(b["image"]).logits.sigmoid() >= 0.5).float()
    assert not hard.requires_grad


def test_a_fine_answer_is_compared_on_its_own_grid():
    objective, b = SoftAdversarial(critic_width=4), batch()
    net = supervise(DSNet(width=2, fusion="interpolated"), objective).eval()
    y = net(b["image"]).fine.sigmoid()
    assert y.shape == (2, 1, 64, 64)
    blocks = b["label"][:, None].float().repeat_interleave(4, 2).repeat_interleave(4, 3)
    smooth = functional.interpolate(b["soft"], scale_factor=4, mode="bilinear")
    dice = 2 * (y * blocks).sum((1, 2, 3)) / (y.sum((1, 2, 3)) + blocks.sum((1, 2, 3)))
    terms = loss_terms(objective, net, b)
    torch.testing.assert_close(terms["dice"], 0.5 * (1 - dice).mean(), rtol=1e-4, atol=0)
    torch.testing.assert_close(terms["soft"], 100 * (y - smooth).abs().mean())
    real, fake = objective.pairs(net(b["image"]), b)
    torch.testing.assert_close(real, torch.cat([enlarged(b["image"], 4), smooth], 1))
    torch.testing.assert_close(fake, torch.cat([enlarged(b["image"], 4), y], 1))
    torch.testing.assert_close(net(b["image"]).logits.sigmoid(), functional.avg_pool2d(y, 4))


@pytest.mark.parametrize("classes", [2, 3])
def test_it_fits_other_backbones_and_every_weight_learns(classes):
    objective, b = SoftAdversarial(critic_width=4), batch(classes=classes)
    net = unet(objective, classes=classes).train()
    critic, outputs = objective.critic(net.backbone), net(b["image"])
    assert critic[0].in_channels == (2 if classes == 2 else 4)
    (sum(objective.terms(outputs, b).values()) + objective.adversarial_term(critic, outputs, b)).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_a_weight_of_0_leaves_its_term_out_and_needs_nothing():
    objective, b = SoftAdversarial(soft=0, adversarial=0), batch()
    del b["soft"]
    net = unet(objective)
    assert not net.heads
    assert list(loss_terms(objective, net, b)) == ["dice"]


def test_the_network_holds_no_critic():
    net = unet(SoftAdversarial(critic_width=4))
    assert not net.heads
    assert all(name.startswith("backbone.") for name in net.state_dict())


@pytest.mark.parametrize(
    ("objective", "change", "answer"),
    [
        (
            SoftAdversarial(adversarial=0),
            "without",
            "needs soft masks, .*extras=.*'soft'",
        ),
        (
            SoftAdversarial(adversarial=0),
            "channels",
            r"the soft mask has shape \(.*3.*\), the prediction \(.*1.*\)\. extras\['soft'\]",
        ),
    ],
)
def test_what_is_missing_is_said(objective, change, answer):
    b = batch()
    if change == "without":
        del b["soft"]
    if change == "channels":
        b["soft"] = b["soft"].expand(-1, 3, -1, -1)
    net = unet(objective)
    with pytest.raises(ValueError, match=answer):
        loss_terms(objective, net, b)


def test_the_pixel_critic_is_for_slices():
    with pytest.raises(ValueError, match=r"this backbone is 3-D. Pass adversarial=0"):
        SoftAdversarial().critic(UNet(width=2, depth=2, dims=3))
    assert supervise(UNet(width=2, depth=2, dims=3), SoftAdversarial(adversarial=0))


def test_super_resolution_is_squares_in_units_of_the_images_variance():
    objective, image = SuperResolution(critic_width=4), batch((32, 32))["image"]
    net = supervise(SRGAN(width=2, blocks=1), objective).eval()
    made = net(image).logits
    terms = loss_terms(objective, net, {"image": image})
    each = (made - image).square().mean((1, 2, 3)) / image.var((1, 2, 3))
    torch.testing.assert_close(terms["squares"], each.mean())
    in_hu = loss_terms(objective, net, {"image": 1000 * image - 500})
    torch.testing.assert_close(in_hu["squares"], terms["squares"], rtol=1e-3, atol=0)
    _, fake = objective.pairs(net(image), {"image": image})
    critic = objective.critic(net.backbone).eval()
    term = objective.adversarial_term(critic, net(image), {"image": image})
    torch.testing.assert_close(term, 1e-3 * generator_loss(critic(fake)))
    assert list(terms) == ["squares"]
