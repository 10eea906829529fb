"""nnU-Net's recipe as published, and every supervision of the five papers on its two networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dsnotes
from dsnotes.data.case import Case
from dsnotes.papers import nnu_net
from dsnotes.training.step import make_optimiser

PATCH = {2: (32, 32), 3: (16, 16, 16)}


def discs(dims, n=2):
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(s) for s in PATCH[dims]], indexing="ij"))
    cases = []
    for number in range(n):
        label = (((grid - PATCH[dims][0] / 2) ** 2).sum(0) < 30).astype(np.uint8)
        image = (label + 0.3 * rng.standard_normal(label.shape)).astype(np.float32)
        cases.append(Case(f"disc{number}", image, label, (1.0,) * dims, {"soft": label[None].astype(np.float32)}))
    return cases


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ["nnu-net", "resenc"])
@pytest.mark.parametrize("supervision", nnu_net.SUPERVISIONS)
def test_every_supervision_trains_both_networks(name, supervision, dims):
    if supervision == "soft+critic" and dims == 3:
        with pytest.raises(ValueError, match="dims=2"):
            fitted(name, supervision, dims)
        return
    history, before, after = fitted(name, supervision, dims)
    assert np.isfinite(history[-1]["loss"])
    assert not torch.equal(before, after)


def fitted(name, supervision, dims):
    torch.manual_seed(0)
    system = dsnotes.build(name, width=4, dims=dims, patch=PATCH[dims], halvings=2, supervision=supervision)
    first = next(system.network.parameters()).detach().clone()
    how = {"epochs": 1, "iterations": 1, "batch": 2, "augment": False, "progress": False, "patch": PATCH[dims]}
    history = dsnotes.fit(system, discs(dims), **how)
    return history, first, next(system.network.parameters()).detach()


def test_halving_weights_are_nnu_nets():
    """1, 1/2, 1/4, … with 0 for the coarsest, divided by their sum."""
    system = dsnotes.build("nnu-net", width=2, patch=(64, 64, 64), halvings=4)
    levels = len(system.network.backbone.sides())
    weights = np.array([1 / 2**i for i in range(levels)])
    weights[-1] = 0
    weights /= weights.sum()
    np.testing.assert_allclose(system.objective.weights, weights[:-1])
    assert system.objective.levels == tuple(system.network.backbone.sides())[:-1]


def test_the_recipe_is_nnu_nets():
    settings = dsnotes.build("resenc", width=2, patch=(32, 32, 32)).settings
    assert (settings.epochs, settings.iterations, settings.batch) == (1000, 250, 2)
    (group,) = make_optimiser(torch.nn.Linear(1, 1), settings).param_groups
    assert (group["lr"], group["momentum"], group["nesterov"]) == (1e-2, 0.99, True)
    assert (group["weight_decay"], settings.clip, settings.schedule, settings.power) == (3e-5, 12, "poly", 0.9)
    assert settings.augment == "nnu-net"


def test_loss_is_cross_entropy_and_the_dice_with_plain_sums():
    g = torch.Generator().manual_seed(0)
    logits, label = torch.randn(2, 3, 4, 4, generator=g), torch.randint(0, 3, (2, 4, 4), generator=g)
    t = torch.nn.functional.one_hot(label, 3).movedim(-1, 1).float()
    p = logits.softmax(1)
    dice = (2 * (p * t).sum((0, 2, 3)) + 1e-5) / (p.sum((0, 2, 3)) + t.sum((0, 2, 3)) + 1e-5)
    expected = torch.nn.functional.cross_entropy(logits, label) + 1 - dice[1:].mean()
    torch.testing.assert_close(nnu_net.EntropyAndDice(over_batch=True)(logits, t), expected)


def test_restoration_beside_dice_adds_a_tenth_of_its_term_to_the_control():
    torch.manual_seed(0)
    system = dsnotes.build("nnu-net", width=4, dims=2, patch=PATCH[2], halvings=2, supervision="restoration+dice")
    image, label = torch.rand(2, 1, *PATCH[2]), torch.randint(0, 2, (2, *PATCH[2]))
    outputs, batch = system.network(image), {"image": image, "label": label}
    p, t = outputs.logits.sigmoid()[:, 0], label.float()
    entropy = torch.nn.functional.binary_cross_entropy(p, t)
    dice = (2 * (p * t).sum() + 1e-5) / (p.sum() + t.sum() + 1e-5)
    terms = system.objective.terms(outputs, batch)
    assert terms["segmentation"].item() == pytest.approx((entropy + 1 - dice).item(), rel=1e-5)
    control = dsnotes.build("nnu-net", width=4, dims=2, patch=PATCH[2], halvings=2, supervision="none").objective
    assert terms["segmentation"].item() == pytest.approx(sum(control.terms(outputs, batch).values()).item(), rel=1e-6)
    full = dsnotes.build("nnu-net", width=4, dims=2, patch=PATCH[2], halvings=2, supervision="restoration").objective
    assert terms["restoration"].item() == pytest.approx(
        0.1 * full.terms(outputs, batch)["restoration"].item(), rel=1e-6
    )


def test_an_unknown_supervision_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="'mss\\+exp-log'"):
        dsnotes.build("nnu-net", supervision="mss-exp-log")
