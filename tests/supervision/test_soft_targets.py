"""Soft masks as targets of any backbone: the terms, the losses that learn shares, and those that are refused."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import dsnotes
from dsnotes.losses import (
    bce_dice,
    binary_cross_entropy,
    cross_entropy,
    dice_semimetric,
    exponential_log,
    focal,
    full_scale,
    jaccard_metric,
    soft_dice,
    soft_iou,
)
from dsnotes.networks.unet import UNet
from dsnotes.supervision import SoftTargets
from dsnotes.supervision.multi_scale import entropy_and_dice
from dsnotes.supervision.soft_targets import preferred
from dsnotes.supervision.targets import probabilities


def of_probabilities(loss, **options):
    def named(logits, t):
        return loss(probabilities(logits), t, **options)

    named.__name__ = loss.__name__
    return named


def lesion_counts_thrice(logits, t):
    return functional.binary_cross_entropy_with_logits(logits, t, pos_weight=torch.tensor(3.0))


RIGHT = {
    "cross-entropy": cross_entropy,
    "Dice with squares": of_probabilities(soft_dice, squared=True),
    "Jaccard metric": of_probabilities(jaccard_metric),
    "Dice semimetric": of_probabilities(dice_semimetric),
    "cross-entropy and Dice": entropy_and_dice,
    "½ BCE and Dice with squares": lambda logits, t: (
        0.5 * cross_entropy(logits, t) + soft_dice(probabilities(logits), t)
    ),
}
WRONG = {
    "plain Dice": (of_probabilities(soft_dice, squared=False), "a sharper"),
    "IoU": (of_probabilities(soft_iou), "a sharper"),
    "focal": (focal, "a blunter"),
    "full scale": (full_scale, "a "),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", RIGHT)
def test_losses_that_are_lowest_at_the_target_are_accepted(name, channels, dims):
    assert preferred(RIGHT[name], channels=channels, dims=dims) is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", WRONG)
def test_losses_that_would_harden_or_blunt_a_soft_target_are_refused(name, channels):
    loss, better = WRONG[name]
    assert preferred(loss, channels=channels).startswith(better)
    with pytest.raises(ValueError, match=f"{better}.* prediction.*jaccard_metric"):
        SoftTargets(loss=loss).heads(UNet(width=2, depth=2, classes=max(channels, 2)))


def test_the_compound_loss_of_unet_plus_plus_is_refused_and_its_squared_form_is_not():
    assert preferred(bce_dice) == "a sharper"
    assert preferred(lambda logits, t: bce_dice(logits, t, squared=True)) is None
    assert preferred(lesion_counts_thrice) is not None
    logarithmic = of_probabilities(exponential_log, weights=(1.0,), squared=False)
    assert preferred(logarithmic) == "a sharper"
    assert preferred(of_probabilities(exponential_log, weights=(1.0,))) is None


def test_semimetrics_are_iou_and_dice_for_masks_and_zero_at_any_target():
    g = torch.Generator().manual_seed(0)
    p, t = (torch.rand(2, 1, 9, 9, generator=g) < 0.4).float(), torch.rand(2, 1, 9, 9, generator=g).round()
    torch.testing.assert_close(jaccard_metric(p, t, eps=0), soft_iou(p, t, eps=0))
    torch.testing.assert_close(dice_semimetric(p, t, eps=0), soft_dice(p, t, squared=False, eps=0))
    soft = torch.rand(2, 3, 9, 9, generator=g)
    assert jaccard_metric(soft, soft) == dice_semimetric(soft, soft) == 0
    whole = jaccard_metric(p, t, over_batch=True, eps=0)
    union = p.sum() + t.sum() - (p * t).sum()
    torch.testing.assert_close(whole, 1 - (p * t).sum() / union)


def batch(classes=2, size=(16, 16)):
    g = torch.Generator().manual_seed(0)
    soft = torch.rand(2, 1 if classes == 2 else classes, *size, generator=g)
    return {"image": torch.randn(2, 1, *size, generator=g), "label": torch.zeros(2, *size).long(), "soft": soft}


def test_the_term_is_the_loss_of_the_output_against_the_soft_mask():
    system = dsnotes.system("soft", UNet(width=2, depth=2), SoftTargets(loss=binary_cross_entropy))
    b = batch()
    outputs = system.network(b["image"])
    terms = system.objective.terms(outputs, b)
    by_torch = functional.binary_cross_entropy_with_logits(outputs.logits, b["soft"])
    assert list(terms) == ["soft"]
    torch.testing.assert_close(terms["soft"], by_torch)
    valid = torch.zeros(2, 16, 16, dtype=torch.bool)
    valid[:, :4] = True
    part = functional.binary_cross_entropy_with_logits(outputs.logits[:, :, :4], b["soft"][:, :, :4])
    torch.testing.assert_close(system.objective.terms(outputs, {**b, "valid": valid})["soft"], part)


@pytest.mark.parametrize("classes", [2, 3])
def test_deep_supervision_averages_the_soft_mask_over_each_cell(classes):
    system = dsnotes.system("soft", UNet(width=2, depth=3, classes=classes), SoftTargets(cross_entropy, deep=True))
    b = batch(classes)
    outputs = system.network(b["image"])
    terms = system.objective.terms(outputs, b)
    names = list(outputs.side_outputs)
    assert list(terms) == names
    coarse = names[1]
    t = functional.avg_pool2d(b["soft"], 2)
    weight = 0.5 / sum(2.0**-i for i in range(len(names)))
    torch.testing.assert_close(terms[coarse], weight * cross_entropy(outputs.side_outputs[coarse], t))


def test_cases_without_soft_masks_are_refused_with_a_remedy():
    objective, b = SoftTargets(), batch()
    outputs = dsnotes.system("soft", UNet(width=2, depth=2), objective).network(b["image"])
    with pytest.raises(ValueError, match="needs soft masks"):
        objective.terms(outputs, {"image": b["image"], "label": b["label"]})
