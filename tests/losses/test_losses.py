"""Losses against the printed equations, hand-worked cases, PyTorch and MONAI."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from dsnotes import losses

BINARY = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]]])


def test_dice_of_a_case_worked_by_hand():
    """p = (.8 .2 .6 .4), t = (1 0 1 1): 2·1.8 / (2.0 + 3) plain, 2·1.8 / (1.2 + 3) squared."""
    p = torch.tensor([[[[0.8, 0.2], [0.6, 0.4]]]])
    plain = losses.dice_coefficient(p, BINARY, squared=False, eps=0.0)
    squared = losses.dice_coefficient(p, BINARY, squared=True, eps=0.0)
    assert plain.item() == pytest.approx(3.6 / 5.0)
    assert squared.item() == pytest.approx(3.6 / 4.2)


def test_gradient_is_the_one_printed_in_v_net():
    """Milletari et al. 2016, sec. 3: dD/dp_j = 2 [t_j (Σp² + Σt²) - 2 p_j Σpt] / (Σp² + Σt²)²."""
    p = torch.rand(1, 1, 4, 4, requires_grad=True)
    t = (torch.rand(1, 1, 4, 4) > 0.5).float()
    losses.soft_dice(p, t, eps=0.0).backward()
    size = (p * p).sum() + (t * t).sum()
    printed = 2 * (t * size - 2 * p * (p * t).sum()) / size**2
    torch.testing.assert_close(p.grad, -printed.detach())  # minus: the loss is 1 - D


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("over_batch", [True, False])
def test_soft_dice_equals_monais(squared, over_batch):
    from monai.losses import DiceLoss

    p, t = torch.rand(3, 2, 5, 6, 7), (torch.rand(3, 2, 5, 6, 7) > 0.7).float()
    oracle = DiceLoss(squared_pred=squared, batch=over_batch, smooth_nr=1e-5, smooth_dr=1e-5)
    torch.testing.assert_close(losses.soft_dice(p, t, squared=squared, over_batch=over_batch), oracle(p, t))


@given(st.integers(0, 2**31))
def test_on_binary_masks_both_denominators_are_dice(seed):
    g = torch.Generator().manual_seed(seed)
    p, t = ((torch.rand(1, 1, 6, 6, generator=g) > 0.5).float() for _ in range(2))
    dice = (2 * (p * t).sum() / (p.sum() + t.sum())).item() if p.sum() + t.sum() else 1.0
    for squared in (True, False):
        assert losses.dice_coefficient(p, t, squared=squared).item() == pytest.approx(dice, abs=1e-5)


def test_only_the_squared_denominator_is_content_with_a_soft_target():
    t = torch.full((1, 1, 4, 4), 0.5)
    p = torch.linspace(0.01, 1, 100)
    lowest = {
        squared: p[min(range(100), key=lambda i: losses.soft_dice(t * 0 + p[i], t, squared=squared).item())].item()
        for squared in (True, False)
    }
    assert lowest == {True: 0.5, False: 1.0}


def test_an_absent_class_counts_as_met_when_nothing_is_predicted():
    nothing = torch.zeros(1, 1, 4, 4)
    assert losses.soft_dice(nothing, nothing).item() == 0.0


@pytest.mark.parametrize("weights", [None, (0.28, 0.28, 0.44)])
def test_cross_entropy_on_hard_labels_is_pytorchs_weighted_mean(weights):
    logits, label = torch.randn(2, 3, 5, 6), torch.randint(0, 3, (2, 5, 6))
    t = functional.one_hot(label, 3).movedim(-1, 1).float()
    oracle = functional.cross_entropy(logits, label, weight=None if weights is None else torch.tensor(weights))
    torch.testing.assert_close(losses.cross_entropy(logits, t, weights=weights), oracle)


def test_cross_entropy_on_soft_targets_is_pytorchs():
    logits, t = torch.randn(2, 3, 5, 6), torch.rand(2, 3, 5, 6).softmax(1)
    torch.testing.assert_close(losses.cross_entropy(logits, t), functional.cross_entropy(logits, t))


def test_cross_entropy_of_one_channel_is_the_binary_one():
    logits, t = torch.randn(2, 1, 5, 6), torch.rand(2, 1, 5, 6)
    printed = -(t * logits.sigmoid().log() + (1 - t) * (1 - logits.sigmoid()).log()).mean()
    torch.testing.assert_close(losses.cross_entropy(logits, t), printed)


def test_class_weights_must_be_one_a_class():
    with pytest.raises(ValueError, match=r"2 class weights \(0.5, 0.5\) came for 3 classes\. .*one weight per class"):
        losses.cross_entropy(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), weights=(0.5, 0.5))


def test_bce_dice_is_zero_at_a_sure_and_right_prediction_and_not_symmetric():
    sure = (BINARY * 2 - 1) * 40
    assert losses.bce_dice(sure, BINARY).item() == pytest.approx(0, abs=1e-6)
    p, t = torch.tensor([[[[0.2]]]]), torch.tensor([[[[0.9]]]])
    assert losses.bce_dice(p.logit(), t).item() != pytest.approx(losses.bce_dice(t.logit(), p).item(), abs=1e-3)


def test_bce_dice_pulls_the_prediction_to_a_soft_target():
    logits = torch.zeros(1, 1, 1, 1, requires_grad=True)
    losses.bce_dice(logits, torch.full((1, 1, 1, 1), 0.9), squared=True).backward()
    assert logits.grad.item() < 0


# --- exponential-logarithmic ---------------------------------------------------------------------------------------


def one_class(dice: float):
    """p, t of one voxel set with D = dice: t all 1, p constant; plain denominator: 2p / (p + 1) = D."""
    p = dice / (2 - dice)
    return torch.full((1, 1, 8), p, dtype=torch.float64, requires_grad=True), torch.ones(1, 1, 8, dtype=torch.float64)


@pytest.mark.parametrize(
    ("dice", "slope"), [(0.05, 2.78), (0.2, 1.08), (0.5, 0.78), (0.8, 1.07), (0.95, 2.53), (0.99, 7.6)]
)
def test_slope_in_dice_is_the_one_of_the_formula(dice, slope):
    """|d/dD (-ln D)^0.3| = 0.3 (-ln D)^-0.7 / D; the printed digits are the notebook's."""
    p, t = one_class(dice)
    losses.exponential_log(p, t, weights=(1.0,), squared=False, eps=0.0).backward()
    dp_dD = 2 / (2 - dice) ** 2
    measured = abs(p.grad.sum().item()) * dp_dD
    assert measured == pytest.approx(0.3 * (-math.log(dice)) ** -0.7 / dice, rel=1e-6)
    assert measured == pytest.approx(slope, rel=0.01)


def test_slope_is_smallest_at_exp_minus_seven_tenths():
    d = torch.linspace(0.05, 0.95, 9001, dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(((-d.log()) ** 0.3).sum(), d)[0].abs()
    assert d[slope.argmin()].item() == pytest.approx(math.exp(-0.7), abs=1e-3)


def test_a_perfect_prediction_costs_nothing_much_and_has_a_finite_gradient():
    t = torch.zeros(2, 2, 4, 4)
    t[:, 0, :2], t[:, 1, 2:] = 1, 1
    p = t.clone().requires_grad_()
    loss = losses.exponential_log(p, t)
    loss.backward()
    assert loss.item() == pytest.approx(1e-6**0.3)
    assert p.grad.isfinite().all()


def test_a_class_absent_from_the_batch_is_left_out():
    t = torch.zeros(1, 2, 4, 4)
    t[:, 0, :2] = 1
    p = torch.rand(1, 2, 4, 4)
    alone = losses.exponential_log(p[:, :1], t[:, :1], weights=(1.0,))
    torch.testing.assert_close(losses.exponential_log(p, t, weights=(0.4, 0.6)), alone)
    nothing = losses.exponential_log(p, torch.zeros_like(t))
    assert nothing.item() == 0


def test_a_class_absent_from_the_batch_may_be_kept_as_the_equation_has_it():
    """.6 (-ln eps / (sum p^2 + eps))^.3 beside the class that is there: neither dropped nor rescaled."""
    t = torch.zeros(1, 2, 4, 4)
    t[:, 0, :2] = 1
    p = torch.rand(1, 2, 4, 4, requires_grad=True)
    loss = losses.exponential_log(p, t, absent="kept")
    of = 2 * (p[0, 0] * t[0, 0]).sum() / ((p[0, 0] ** 2).sum() + (t[0, 0] ** 2).sum())
    expected = 0.4 * (-of.log()) ** 0.3 + 0.6 * (-(1e-5 / ((p[0, 1] ** 2).sum() + 1e-5)).log()) ** 0.3
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=0)
    loss.backward()
    assert p.grad[0, 1].min() > 0  # marking less of the class makes it smaller
    with pytest.raises(ValueError, match=r"absent='no' is unknown. Choose one of \['left out', 'kept'\]"):
        losses.exponential_log(p, t, absent="no")


def test_cross_entropy_that_is_not_normalised_is_a_mean_over_voxels():
    """-1/n sum w_c t_c ln p_c: PyTorch's sum of weighted entries over the number of voxels."""
    logits, label, w = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5)), (0.28, 0.28, 0.44)
    t = functional.one_hot(label, 3).movedim(-1, 1).float()
    oracle = functional.cross_entropy(logits, label, weight=torch.tensor(w), reduction="none").mean()
    torch.testing.assert_close(losses.cross_entropy(logits, t, weights=w, normalised=False), oracle)


def test_weights_of_the_classes_are_counted():
    with pytest.raises(ValueError, match=r"2 weights \(0.4, 0.6\) came for 1 classes"):
        losses.exponential_log(torch.rand(1, 1, 4), torch.rand(1, 1, 4))


# --- reconstruction and the game -----------------------------------------------------------------------------------


def test_the_floor_of_uniform_greys_is_one_half():
    """∫₀¹ -(t ln t + (1 - t) ln(1 - t)) dt = 1/2."""
    greys = (torch.arange(4096.0).view(1, 1, 64, 64) + 0.5) / 4096
    assert losses.binary_entropy(greys).item() == pytest.approx(0.5, abs=1e-4)
    assert losses.restoration_bce(greys.logit(), greys).item() == pytest.approx(0, abs=1e-6)


def test_taking_the_floor_off_leaves_the_gradient_alone():
    logits, t = torch.randn(1, 1, 4, 4, requires_grad=True), torch.rand(1, 1, 4, 4)
    (ours,) = torch.autograd.grad(losses.restoration_bce(logits, t), logits)
    (bce,) = torch.autograd.grad(functional.binary_cross_entropy_with_logits(logits, t), logits)
    torch.testing.assert_close(ours, bce)


def test_min_max_per_image_and_channel():
    image = torch.randn(3, 2, 4, 5) * torch.tensor([1.0, 100.0, 0.0]).view(3, 1, 1, 1)
    scaled = losses.min_max(image)
    assert scaled[:2].amin((2, 3)).eq(0).all()
    assert scaled[:2].amax((2, 3)).eq(1).all()
    assert scaled[2].eq(0).all()


def test_the_game_is_binary_cross_entropy_on_both_sides():
    real, fake = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    d_real, d_fake = real.sigmoid(), fake.sigmoid()
    torch.testing.assert_close(losses.critic_loss(real, fake), -(d_real.log().mean() + (1 - d_fake).log().mean()))
    torch.testing.assert_close(losses.generator_loss(fake), -d_fake.log().mean())
    torch.testing.assert_close(losses.generator_loss(fake, saturating=True), (1 - d_fake).log().mean())
