"""An ignored voxel counts in no loss: each loss equals the one computed on the rest, whatever stands in the voxel."""

import pytest
import torch

from dsnotes.losses import cross_entropy, soft_dice
from dsnotes.networks.unet import UNet
from dsnotes.shapes import Outputs
from dsnotes.supervision import supervise
from dsnotes.supervision.base import loss_terms
from dsnotes.supervision.multi_scale import ExponentialLogAndEntropy, MultiScale
from dsnotes.supervision.plain import Plain, foreground
from dsnotes.supervision.targets import one_hot, probabilities
from dsnotes.supervision.two_pathway import TwoPathway, distance
from dsnotes.supervision.valid import on_valid


def batch(classes: int, *, size=(16, 16)) -> dict[str, torch.Tensor]:
    label = torch.randint(0, classes, (2, *size))
    valid = torch.rand(2, *size) > 0.3
    return {"image": torch.randn(2, 1, *size), "label": label, "valid": valid}


@pytest.mark.parametrize("classes", [2, 4])
def test_plain_is_the_loss_of_the_rest(classes):
    """Written with the rest alone: the valid voxels of both images, one after the other."""
    one = batch(classes)
    logits = torch.randn(2, 1 if classes == 2 else classes, 16, 16)
    rest = torch.cat([logits[k][:, one["valid"][k]] for k in range(2)], 1)[None]
    label = torch.cat([one["label"][k][one["valid"][k]] for k in range(2)])[None]
    t = one_hot(label, logits.shape[1])
    found = Plain().terms(Outputs(logits), one)
    torch.testing.assert_close(found["cross-entropy"], cross_entropy(rest, t))
    expected = soft_dice(foreground(probabilities(rest)), foreground(t), over_batch=True)
    torch.testing.assert_close(found["dice"], expected)


def test_two_pathway_takes_its_mean_over_images_of_the_rest_of_each():
    one = batch(2)
    logits = torch.randn(2, 1, 16, 16)
    each = [
        distance(logits[k][:, one["valid"][k]][None], one["label"][k][one["valid"][k]][None, None].float())
        for k in range(2)
    ]
    found = on_valid(distance, logits, one["label"][:, None].float(), one["valid"], per_image=True)
    torch.testing.assert_close(found, torch.stack(each).mean())


OBJECTIVES = [
    Plain(),
    Plain(over_batch=False),
    MultiScale(),
    MultiScale(loss=ExponentialLogAndEntropy(dice_weights=(0.4, 0.6), entropy_weights=None)),
    TwoPathway(),
    TwoPathway(objective="none"),
]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_stands_in_an_ignored_voxel_changes_nothing(objective):
    """Neither the label there nor the logits: the gradient of every logit there is zero."""
    torch.manual_seed(1)
    network = supervise(UNet(width=4, depth=5, classes=3), objective)
    one = batch(3, size=(32, 32))
    one["valid"][:], one["valid"][:, :16, 16:] = True, False  # whole cells, so that no coarse voxel is mixed
    other = one | {"label": torch.where(one["valid"], one["label"], (one["label"] + 1) % 3)}
    for name, value in loss_terms(objective, network, one).items():
        torch.testing.assert_close(value, loss_terms(objective, network, other)[name])
    without = {k: v for k, v in one.items() if k != "valid"}
    changed = {k: v for k, v in other.items() if k != "valid"}
    before, after = (sum(loss_terms(objective, network, x).values()) for x in (without, changed))
    assert abs(float((before - after).detach())) > 1e-4  # it would have


def test_no_gradient_reaches_an_ignored_voxel():
    one = batch(3)
    logits = torch.randn(2, 3, 16, 16, requires_grad=True)
    sum(Plain().terms(Outputs(logits), one).values()).backward()
    ignored = ~one["valid"][:, None].expand_as(logits)
    assert not logits.grad[ignored].any()
    assert logits.grad[~ignored].all()


def test_where_nothing_counts_the_loss_is_zero():
    one = batch(3) | {"valid": torch.zeros(2, 16, 16, dtype=torch.bool)}
    logits = torch.randn(2, 3, 16, 16, requires_grad=True)
    loss = sum(Plain().terms(Outputs(logits), one).values())
    loss.backward()
    assert float(loss.detach()) == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("reduction", ["nearest", "corner", "area", "max"])
def test_a_cell_with_an_ignored_voxel_counts_at_no_coarse_level(reduction):
    """Whichever voxels of a cell the target reads, and whatever stands in the ignored one."""
    objective = MultiScale(reduction=reduction)
    network = supervise(UNet(dims=2, classes=2, width=2, depth=3), objective).eval()
    one = batch(2) | {"valid": torch.ones(2, 16, 16, dtype=torch.bool)}
    for at in ((0, 0), (1, 1), (2, 2), (3, 3)):
        one["valid"][:, at[0], at[1]] = False
    other = one | {"label": torch.where(one["valid"], one["label"], 1 - one["label"])}
    expected, found = (loss_terms(objective, network, each) for each in (one, other))
    assert expected["stride2"] > 0
    torch.testing.assert_close(found, expected)
