"""MSS U-Net's supervision and tables, equation by equation."""

import math

import pytest
import torch
from torch.nn import functional

from dsnotes.networks.unet import UNet
from dsnotes.papers import build, mss_unet
from dsnotes.supervision import Plain, loss_terms, supervise


def small(**options):
    return build("mss-unet", classes=3, width=4, patch=(8, 32, 32), **options)


def batch(size=(8, 32, 32)):
    g = torch.Generator().manual_seed(0)
    return {"image": torch.randn(2, 1, *size, generator=g), "label": torch.randint(0, 3, (2, *size), generator=g)}


def test_a_side_costs_equation_8():
    """Loss_layer = .4 (-ln SD_kidney)^.3 + .6 (-ln SD_tumour)^.3 + weighted CE; SD with squares, over the batch."""
    system, b = small(), batch()
    outputs = system.network(b["image"])
    t = functional.one_hot(b["label"], 3).movedim(-1, 1).float()
    p = outputs.logits.softmax(1)
    w = torch.tensor([0.28, 0.28, 0.44])
    expected = functional.cross_entropy(outputs.logits, b["label"], weight=w, reduction="none").mean().item()
    for c, w in ((1, 0.4), (2, 0.6)):
        dice = 2 * (p[:, c] * t[:, c]).sum() / ((p[:, c] ** 2).sum() + (t[:, c] ** 2).sum())
        expected += w * (-math.log(dice.item())) ** 0.3
    first = loss_terms(system.objective, system.network, b)["stride1"].item()
    weights = mss_unet.level_weights(len(outputs.side_outputs))
    assert first == pytest.approx(weights[0] * expected, rel=1e-4)


def test_level_weights_of_print_and_code():
    assert mss_unet.level_weights(5) == (0.4, 0.2, 0.2, 0.1, 0.1)
    assert mss_unet.level_weights(5, "official_code") == pytest.approx((0.6, 0.1, 0.1, 0.1, 0.1))
    assert sum(mss_unet.level_weights(3)) == pytest.approx(1)
    with pytest.raises(ValueError, match="5 levels, this network has 6. Pass halvings=5"):
        mss_unet.level_weights(6)


def test_the_presets_differ_in_weights_denominator_and_reduction():
    paper, code = small().objective, small(preset="official_code").objective
    assert (paper.loss.squared, code.loss.squared) == (True, False)
    assert (paper.reduction, code.reduction) == ("nearest", "official_code")
    assert paper.weights != code.weights
    assert (paper.loss.normalised, code.loss.normalised) == (False, True)
    assert paper.loss.absent == code.loss.absent == "kept"  # neither drops a class that a batch lacks


def test_the_ablation_has_four_corners():
    b = batch()
    terms = {
        strategies: list(loss_terms(small(strategies=strategies).objective, small(strategies=strategies).network, b))
        for strategies in ((), ("multi-scale",), ("exponential-log",), mss_unet.STRATEGIES)
    }
    assert terms[()] == ["cross-entropy", "dice"]
    assert terms["exponential-log",] == ["stride1"]
    assert terms["multi-scale",] == terms[mss_unet.STRATEGIES] == ["stride1", "stride2", "stride4"]
    assert isinstance(build("classic-unet-3d", width=4).objective, Plain)


def test_the_classic_network_is_the_same_without_side_heads():
    ours, classic = small(), build("classic-unet-3d", classes=3, width=4, patch=(8, 32, 32))
    assert list(ours.network.backbone.state_dict()) == list(classic.network.backbone.state_dict())
    assert not classic.network.heads


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_the_supervision_fits_the_plain_unet(dims, classes):
    goal = mss_unet.objective(classes, 4)
    net = supervise(UNet(dims=dims, classes=classes, width=2), goal)
    size = (16,) * dims
    b = {"image": torch.randn(2, 1, *size), "label": torch.randint(0, classes, (2, *size))}
    sum(loss_terms(goal, net, b).values()).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_each_side_heads_gradient_scales_with_its_weight():
    system, b = small(), batch()
    head = system.network.heads["sides"].branches["stride4"].weight
    (whole,) = torch.autograd.grad(sum(loss_terms(system.objective, system.network, b).values()), head)
    logits = system.network(b["image"]).side_outputs["stride4"]
    coarse = functional.interpolate(b["label"][:, None].float(), logits.shape[2:], mode="nearest-exact")[:, 0].long()
    alone = system.objective.loss(logits, functional.one_hot(coarse, 3).movedim(-1, 1).float())
    (one,) = torch.autograd.grad(alone, head)
    torch.testing.assert_close(whole, mss_unet.level_weights(3)[2] * one, rtol=1e-4, atol=1e-7)


def test_the_settings_are_the_papers():
    s = mss_unet.SETTINGS
    assert (s.lr, s.batch, s.iterations, s.patch) == (3e-4, 8, 250, (48, 192, 192))
    assert s.batch * s.iterations == 2000  # printed as "2508"
    assert (s.schedule, s.factor, s.patience, s.stop_patience) == ("plateau", 0.2, 30, 50)


def test_the_tables_are_whole():
    assert list(mss_unet.TABLES) == [1, 2, 3, 4, 5]
    for table in mss_unet.TABLES.values():
        assert all(len(row) == len(table.columns) for row in table.rows.values())
    kidney, tumour = mss_unet.TABLES[2], mss_unet.TABLES[3]
    recall = tumour.columns.index("recall")
    assert tumour.rows["classic-unet-3d"][recall] > tumour.rows["mss-unet"][recall]  # the slip the table names
    for table in (kidney, tumour):  # Jaccard follows from Dice for one case, and lies below J(mean Dice) + spread
        for row in table.rows.values():
            assert row[1] < row[0]


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({"strategies": ("deep",)}, r"strategies \['deep'\] are not the paper's. Choose from \['multi-scale'"),
        ({"preset": "code"}, r"preset='code' is unknown. Choose one of \['paper', 'official_code'\]"),
    ],
)
def test_wrong_options_are_answered(options, answer):
    with pytest.raises(ValueError, match=answer):
        small(**options)


def test_he_initialisation_of_the_heads_too():
    """Each has 3 × channels weights, so their spread is known to a few per cent."""
    torch.manual_seed(0)
    network = build("mss-unet", classes=3).network
    for name, head in network.heads["sides"].branches.items():
        expected = (2 / (1 + 0.01**2) / head.in_channels) ** 0.5
        assert head.weight.std().item() == pytest.approx(expected, rel=0.1), name
