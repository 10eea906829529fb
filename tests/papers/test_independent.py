"""The papers' formulas and rules once more, in NumPy and written from the papers' text alone, against ours.

Nothing of dsnotes but its public entry is used to compute what is expected. Where a printed formula cannot be meant as
it stands, the test says which reading is tested.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dsnotes
from dsnotes.metrics import score
from dsnotes.supervision.gradnorm import GradNorm
from dsnotes.training.settings import learning_rate


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def array(x):
    return x.detach().double().numpy()


def cross_entropy(p, t):
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()


def terms_of(system, batch):
    """Outputs and terms of one and the same pass."""
    with torch.no_grad():
        outputs = system.objective.run(system.network, batch)
        return outputs, {k: v.item() for k, v in system.objective.terms(outputs, batch).items()}


def batch_of(size, classes=2, n=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    image = torch.randn(n, 1, *size, generator=g)
    return {"image": image, "label": torch.randint(0, classes, (n, *size), generator=g)}


# --- MSDS-UNet -------------------------------------------------------------------------------------------------------


def f_dice(y, z):
    """Eq. 1, on probabilities: hits / (hits + (misses + false marks) / 2)."""
    hits, missed, wrong = (y * z).sum(), (y * (1 - z)).sum(), (z * (1 - y)).sum()
    return hits / (hits + 0.5 * (missed + wrong))


def per_image(y, z):
    return np.mean([1 - f_dice(a, b) for a, b in zip(y, z, strict=True)])


@pytest.mark.parametrize(("l1", "l2"), [(1.0, 1.0), (0.1, 10.0)])
def test_msds_equations_1_to_5(l1, l2):
    """f is a similarity: 1 - f is summed and minimised. The soft fusion's g is of the weighted sum of logits."""
    torch.manual_seed(0)
    system = dsnotes.build("msds-unet", width=2, dims=2, soft_weight=l1, local_weight=l2)
    batch = batch_of((32, 32))
    outputs, terms = terms_of(system, batch)
    y = batch["label"].double().numpy()[:, None]
    alpha = {"stride8": 0.2, "stride4": 0.2, "stride2": 0.2, "stride1": 0.4}  # "from the shallow layer to the high"
    z = {name: array(outputs.upsampled[name]) for name in alpha}
    hard = sum(a * per_image(y, sigmoid(z[name])) for name, a in alpha.items())
    soft = per_image(y, sigmoid(sum(a * z[name] for name, a in alpha.items())))
    local = 0.0
    for name, a in alpha.items():
        own = array(outputs.side_outputs[name])
        step = 32 // own.shape[-1]
        local += a * per_image(y[:, :, step // 2 :: step, step // 2 :: step], sigmoid(own))  # the middle of each cell
    assert sum(terms.values()) == pytest.approx(hard + l1 * soft + l2 * local, rel=1e-4)


def test_msds_average_of_all_global_branches():
    """ "The segmentation results from all global segmentation branches (hard and soft fusion) are … averaged"."""
    torch.manual_seed(0)
    system = dsnotes.build("msds-unet", width=2, dims=2)
    image = torch.randn(1, 1, 32, 32)
    system.network.eval()
    with torch.no_grad():
        maps = {name: array(z) for name, z in system.network(image).upsampled.items()}
    alpha = {"stride1": 0.4, "stride2": 0.2, "stride4": 0.2, "stride8": 0.2}
    fused = sigmoid(sum(alpha[name] * z for name, z in maps.items()))
    expected = (sum(sigmoid(z) for z in maps.values()) + fused) / 5
    np.testing.assert_allclose(array(system.probabilities(image)), expected, atol=1e-5)


def test_algorithm_1():
    """G_m = |grad a_m L_m|, r_m = (L_m / L_m(0)) / mean, L_grad = sum |G_m - mean(G) r_m^a|, a renormalised to 1.

    From 1 / M, not from 0 as printed: then the sum it is divided by would be 0. Its optimiser is not given: Adam.
    """
    rng = np.random.default_rng(0)
    a, lr, tasks = 1.5, 0.025, 4
    ours = GradNorm(tuple("abcd"), asymmetry=a, lr=lr)
    alpha, first = np.full(tasks, 1 / tasks), None
    m = v = np.zeros(tasks)
    for step in range(1, 6):
        losses, norms = rng.uniform(0.2, 1, tasks), rng.uniform(0.1, 2, tasks)
        first = losses if first is None else first
        pull, rate = alpha * norms, losses / first / np.mean(losses / first)
        slope = np.sign(pull - pull.mean() * rate**a) * norms
        m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
        alpha = alpha - lr * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        alpha = alpha / alpha.sum()
        ours.update(torch.tensor(losses), torch.tensor(norms))
        np.testing.assert_allclose(array(ours.weights), alpha, rtol=1e-4)


# --- DSMS U-Net ------------------------------------------------------------------------------------------------------


def test_dsms_equation_1_ten_to_one():
    """BCE of prediction and annotation, ten times; BCE of restoration and input once, less the input's own entropy."""
    torch.manual_seed(0)
    system = dsnotes.build("drs-unet", width=4)
    batch = batch_of((32, 32))
    outputs, terms = terms_of(system, batch)
    image = array(batch["image"])
    low, high = image.min((2, 3), keepdims=True), image.max((2, 3), keepdims=True)
    scaled = (image - low) / (high - low)
    inner = scaled[(scaled > 0) & (scaled < 1)]
    floor = -(inner * np.log(inner) + (1 - inner) * np.log(1 - inner)).sum() / scaled.size
    first = cross_entropy(sigmoid(array(outputs.logits)), batch["label"].numpy()[:, None])
    second = cross_entropy(sigmoid(array(outputs.restored)), scaled)
    assert sum(terms.values()) == pytest.approx(10 * first + second - floor, rel=1e-4)


# --- MSS U-Net -------------------------------------------------------------------------------------------------------


def test_mss_equations_1_2_5_to_8():
    torch.manual_seed(0)
    system = dsnotes.build("mss-unet", classes=3, width=4, patch=(8, 64, 64), halvings=5, preset="paper")
    batch = batch_of((8, 64, 64), classes=3)
    outputs, terms = terms_of(system, batch)
    total = 0.0
    published = (0.4, 0.2, 0.2, 0.1, 0.1)[: len(outputs.side_outputs)]
    for weight, side in zip(np.divide(published, sum(published)), outputs.side_outputs.values(), strict=True):
        p = softmax(array(side))
        steps = [n // m for n, m in zip((8, 64, 64), p.shape[2:], strict=True)]
        coarse = batch["label"].numpy()[(slice(None), *(slice(s // 2, None, s) for s in steps))]
        t = np.stack([coarse == c for c in range(3)], axis=1)
        dice = [2 * (p[:, c] * t[:, c]).sum() / ((p[:, c] ** 2).sum() + (t[:, c] ** 2).sum()) for c in range(3)]
        ell = 0.4 * (-np.log(dice[1])) ** 0.3 + 0.6 * (-np.log(dice[2])) ** 0.3
        w = np.reshape((0.28, 0.28, 0.44), (1, 3, 1, 1, 1))
        total += weight * (ell - (w * t * np.log(p)).sum(1).mean())
    assert sum(terms.values()) == pytest.approx(total, rel=1e-3)


def test_mss_rate_drops_after_thirty_epochs_without_progress():
    settings = dsnotes.build("mss-unet", width=4).settings
    flat = [1.0] * 100
    rates = [learning_rate(settings, epoch, flat[:epoch]) for epoch in range(70)]
    assert rates[0] == pytest.approx(3e-4)
    assert rates[30] == pytest.approx(3e-4)
    assert min(rates[31:34]) == pytest.approx(3e-4 * 0.2)
    assert rates[69] == pytest.approx(3e-4 * 0.2**2)


# --- µ-Net -----------------------------------------------------------------------------------------------------------


def l_bd(p, t):
    """Half the BCE and one minus Dice; Eq. 4 as printed has the logarithm on the label and lost two signs."""
    dice = [2 * (a * b).sum() / (a.sum() + b.sum()) for a, b in zip(p, t, strict=True)]
    return 0.5 * cross_entropy(p, t) + 1 - np.mean(dice)


def squared(ours, labels):
    return sum(((array(ours[name]) - array(labels[name])) ** 2).mean() for name in ours)


@pytest.mark.parametrize("variant", ["unet-deep", "mu-net-seg", "mu-net-rec", "mu-net-hyb"])
def test_mu_net_equations_6_11_12_13(variant):
    """alpha L_image + beta L_mask + a L_rem + b L_rei + gamma L_seg + xi L_seg' + lambda sum MSE + eta sum MSE'."""
    alpha, beta, a, b, lam, eta, gamma, xi = 5, 1, 1, 1, 9, 6, 1, 1  # BraTS, as published
    torch.manual_seed(0)
    system = dsnotes.build(variant, width=4)
    system.network.eval()  # one set of statistics for both passes
    batch = batch_of((32, 32))
    image, mask = batch["image"], batch["label"][:, None].float()
    _, terms = terms_of(system, batch)
    with torch.no_grad():
        x, g = system.network(image), system.network(mask)
    y, y_g, truth = sigmoid(array(x.logits)), sigmoid(array(g.logits)), array(mask)
    low, high = image.amin((2, 3), keepdim=True), image.amax((2, 3), keepdim=True)
    scaled = array((image - low) / (high - low))
    expected = alpha * l_bd(y, truth)
    if variant in ("unet-deep", "mu-net-seg", "mu-net-hyb"):
        expected += beta * l_bd(y_g, truth) + gamma * l_bd(y, y_g) + lam * squared(x.features, g.features)
    if variant in ("mu-net-rec", "mu-net-hyb"):
        r_g = sigmoid(array(g.restored))
        expected += a * cross_entropy(r_g, truth) + xi * l_bd(y, r_g)
        expected += eta * squared(x.features, g.restored_features)
    if variant != "unet-deep":
        expected += b * cross_entropy(sigmoid(array(x.restored)), scaled)
    assert sum(terms.values()) == pytest.approx(expected, rel=1e-4)


def test_mu_net_equation_14():
    """DICE, PPV, SEN and IoU with an epsilon of 1 above and below."""
    rng = np.random.default_rng(0)
    for share in (0.0, 0.02, 0.5):
        p, t = rng.random((2, 20, 20)) < share
        tp, fp, fn = (p & t).sum(), (p & ~t).sum(), (~p & t).sum()
        found = score(p, t, spacing=(1, 1), eps=1)
        assert found["dice"] == pytest.approx((2 * tp + 1) / (t.sum() + p.sum() + 1))
        assert found["ppv"] == pytest.approx((tp + 1) / (tp + fp + 1))
        assert found["sensitivity"] == pytest.approx((tp + 1) / (tp + fn + 1))
        assert found["iou"] == pytest.approx((tp + 1) / (t.sum() + p.sum() - tp + 1))


def test_the_rates_of_msds_and_mu_net():
    """0.001, times 0.1 every 50 epochs; 3e-4, times 0.9 every three epochs."""
    msds, mu = dsnotes.build("msds-unet", width=2).settings, dsnotes.build("mu-net-hyb", width=2).settings
    for epoch in (0, 2, 3, 49, 50, 149, 150):
        assert learning_rate(msds, epoch) == pytest.approx(1e-3 * 0.1 ** (epoch // 50))
        assert learning_rate(mu, epoch) == pytest.approx(3e-4 * 0.9 ** (epoch // 3))


# --- DSNet -----------------------------------------------------------------------------------------------------------


def test_dsnet_equations_2_to_6():
    """0.5 L_Seg + 100 L_Soft + 1 L_GAN, of S alone: -log D(x, S(x)); Dice of the probabilities, L1 as a mean."""
    torch.manual_seed(0)
    system = dsnotes.build("dsnet", width=4, teacher=dsnotes.papers.dsnet.super_resolution(width=4, blocks=1))
    batch = batch_of((16, 16))
    batch["soft"] = torch.rand(2, 1, 16, 16)
    system.network.eval()
    outputs, terms = terms_of(system, batch)
    fine = sigmoid(array(outputs.fine))
    truth = batch["label"].numpy()[:, None].repeat(4, 2).repeat(4, 3)
    soft = torch.nn.functional.interpolate(batch["soft"], scale_factor=4, mode="bilinear")
    dice = np.mean([2 * (p * t).sum() / (p.sum() + t.sum()) for p, t in zip(fine, truth, strict=True)])
    assert terms["dice"] == pytest.approx(0.5 * (1 - dice), rel=1e-4)
    assert terms["soft"] == pytest.approx(100 * np.abs(fine - array(soft)).mean(), rel=1e-4)
    critic = system.objective.critic(system.network.backbone).eval()
    image = torch.nn.functional.interpolate(batch["image"], scale_factor=4, mode="bicubic")
    score = sigmoid(array(critic(torch.cat([image, outputs.fine.sigmoid()], 1))))
    fooled = system.objective.adversarial_term(critic, outputs, batch)
    assert fooled.item() == pytest.approx(-np.log(score).mean(), rel=1e-4)
