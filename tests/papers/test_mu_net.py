"""µ-Net as systems: counts, supervisions on other backbones, deployment, and what its tables say of themselves."""

import io
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from dsnotes.losses import bce_dice, full_scale, soft_dice
from dsnotes.networks.base import Network
from dsnotes.networks.baselines.attention_unet import AttentionUNet
from dsnotes.networks.baselines.m_net import MNet
from dsnotes.networks.baselines.mlds_net import MLDSNet
from dsnotes.networks.baselines.res_unet_plus_plus import ResUNetPlusPlus
from dsnotes.networks.baselines.unet3_plus import UNet3Plus
from dsnotes.networks.baselines.unet_plus_plus import UNetPlusPlus
from dsnotes.papers import build, mu_net, systems
from dsnotes.supervision import loss_terms, supervise
from dsnotes.supervision.pseudo_labels import PseudoLabels

FAMILY = ("unet-deep", "unet-auto", "mu-net-seg", "mu-net-rec", "mu-net-hyb")


def batch(classes=2, dims=2, size=32, n=2):
    g = torch.Generator().manual_seed(0)
    return {
        "image": torch.randn(n, 1, *(size,) * dims, generator=g),
        "label": torch.randint(0, classes, (n, *(size,) * dims), generator=g),
    }


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "training", "deployed"),
    [
        ("unet-deep", 31_042_369, 31_042_369),
        ("unet-auto", 58_951_298, 31_042_369),
        ("mu-net-hyb", 31_051_202, 31_042_369),
        ("mu-net-vae", 31_042_369 + 7_531_409, 31_042_369),
        ("unet-deep++", 36_628_481, 36_628_481),
        ("unet-auto++", 36_628_481 + 27_908_929, 36_628_481),
        ("mu-net-seg++", 36_637_314, 36_628_481),
        ("mu-net-rec++", 36_637_314, 36_628_481),
        ("mu-net-hyb++", 36_637_314, 36_628_481),
        ("attention-unet", 34_877_421, 34_877_421),
        ("res-unet++", 4_062_673, 4_062_673),
        ("unet++", 9_162_852, 9_162_753),
        ("unet3+", 26_988_485, 26_970_625),
        ("m-net", 8_538_596, 8_538_596),
        ("mlds-net", 31_174_918, 31_046_657),
        ("unet-up", 31_042_369 + 128 + 256 + 512 + 3, 31_042_369),
        ("unet-down", 31_042_369 + 128 + 256 + 512 + 3, 31_042_369),
    ],
)
def test_parameters_in_training_and_deployed(name, training, deployed):
    with torch.device("meta"):
        network = build(name).network
        assert (parameters(network), parameters(network.deployed())) == (training, deployed)


@pytest.mark.parametrize("name", [f"{name}++" for name in FAMILY])
def test_the_family_on_unet_plus_plus_deploys_it_bit_for_bit(name):
    torch.manual_seed(0)
    system, b = build(name, width=4), batch()
    step = system.make_step(system, replace(system.settings, lr=1e-3))
    record = step(b)
    assert all(value.isfinite() for value in record.values())
    plain = Network(UNetPlusPlus(width=4))
    saved = io.BytesIO()
    torch.save(system.network.deployed().state_dict(), saved)
    saved.seek(0)
    plain.load_state_dict(torch.load(saved))
    assert torch.equal(plain.eval()(b["image"]).logits.sigmoid(), system.probabilities(b["image"]))


def test_the_tied_decoder_on_unet_plus_plus_is_the_adjoint_of_its_first_column():
    """<conv(u), v> = <u, convᵀ(v)> for both convolutions of every level; and the levels' shapes agree."""
    system = build("mu-net-hyb++", width=2)
    tied = system.network.heads["tied"].double()
    backbone = system.network.backbone.double()
    for block in (*backbone.encoder, backbone.bottleneck):
        for conv in (block[0][0], block[1][0]):
            u = torch.randn(1, conv.in_channels, 9, 7, dtype=torch.float64)
            v = torch.randn(1, conv.out_channels, 9, 7, dtype=torch.float64)
            forward = functional.conv2d(u, conv.weight, padding=1)
            back = tied.back(v, conv, torch.zeros(conv.in_channels, dtype=torch.float64))
            torch.testing.assert_close((forward * v).sum(), (u * back).sum())
    outputs = system.network(torch.randn(2, 1, 32, 32, dtype=torch.float64))
    assert {k: x.shape for k, x in outputs.restored_features.items()} == {
        k: x.shape for k, x in outputs.features.items()
    }


CARRIES = [  # (backbone, the variants it can carry); what it cannot, it refuses by name
    (AttentionUNet, {"deep", "auto", "seg", "rec", "vae", "hyb"}),
    (MLDSNet, {"deep", "auto", "seg", "rec", "vae", "hyb"}),
    (MNet, {"deep", "auto", "vae"}),
    (ResUNetPlusPlus, {"deep", "auto", "vae"}),
    (UNet3Plus, {"deep"}),
]


@pytest.mark.parametrize(("network", "carried"), CARRIES)
def test_every_baseline_carries_the_pseudo_labels_its_features_allow(network, carried):
    for variant in ("deep", "auto", "rec", "vae", "hyb"):
        goal, backbone = PseudoLabels(variant), network(width=4)
        if variant not in carried:
            with pytest.raises(ValueError, match=r"Use PseudoLabels\('deep'\)|such as unet-2d"):
                supervise(backbone, goal)
            continue
        net = supervise(backbone, goal)
        sum(loss_terms(goal, net, batch()).values()).backward()
        assert all(p.grad is not None for p in net.parameters()), variant


def test_unet_plus_plus_teaches_its_four_answers_alike_and_answers_with_the_last_or_their_mean():
    b, system = batch(), build("unet++", width=4)
    raised = system.network(b["image"]).upsampled
    terms, t = loss_terms(system.objective, system.network, b), b["label"][:, None].float()
    assert list(terms) == ["depth4", "depth3", "depth2", "depth1"]
    for name, term in terms.items():
        torch.testing.assert_close(term, bce_dice(raised[name], t) / 4)
    last = system.probabilities(b["image"])
    mean = build("unet++", width=4, answer="mean")
    mean.network.load_state_dict(system.network.state_dict())
    answers = mean.network.eval()(b["image"]).upsampled.values()
    torch.testing.assert_close(mean.probabilities(b["image"]), sum(z.sigmoid() for z in answers) / 4)
    assert torch.equal(last, next(iter(answers)).sigmoid())
    assert list(mean.network.deployed().heads) == ["upsampled"]
    with pytest.raises(ValueError, match=r"answer='best' is unknown. Choose one of \['last', 'mean'\]"):
        build("unet++", answer="best")


def test_unet3_plus_and_m_net_weigh_what_they_raise():
    b = batch()
    t = b["label"][:, None].float()
    system = build("unet3+", width=2)
    raised = system.network(b["image"]).upsampled
    for name, term in loss_terms(system.objective, system.network, b).items():
        torch.testing.assert_close(term, full_scale(raised[name], t) / 5)
    system = build("m-net", width=2)
    raised, terms = system.network(b["image"]).upsampled, loss_terms(system.objective, system.network, b)
    assert terms.keys() == raised.keys() == {"stride1", "stride2", "stride4", "stride8", "mean"}
    p = sum(raised[f"stride{s}"].sigmoid() for s in (1, 2, 4, 8)) / 4
    torch.testing.assert_close(terms["mean"], 0.6 * soft_dice(p, t, squared=False, over_batch=True, eps=1.0))
    torch.testing.assert_close(system.probabilities(b["image"]), p)


def test_mlds_net_and_unet_down_ask_each_cell_for_every_class_it_holds():
    """One voxel of class 2 in a cell of class 1: at stride 16 both planes are 1 there."""
    label = torch.ones(2, 32, 32, dtype=torch.long)
    label[:, 3, 5] = 2
    b = {"image": torch.randn(2, 1, 32, 32), "label": label}
    held = torch.zeros(2, 3, 2, 2)
    held[:, 1] = 1
    held[:, 2, 0, 0] = 1
    system = build("mlds-net", classes=3, width=2)
    outputs, terms = system.network(b["image"]), loss_terms(system.objective, system.network, b)
    expected = functional.binary_cross_entropy_with_logits(outputs.side_outputs["stride16"], held)
    torch.testing.assert_close(terms["stride16"], expected)
    torch.testing.assert_close(terms["output"], functional.cross_entropy(outputs.logits, label))
    down = build("unet-down", classes=3, width=2)
    assert list(loss_terms(down.objective, down.network, b)) == ["output", "stride2", "stride4", "stride8"]


def test_unet_up_compares_every_raised_side_with_the_whole_mask():
    b, system = batch(), build("unet-up", width=2)
    raised, t = system.network(b["image"]).upsampled, b["label"][:, None].float()
    for name, term in loss_terms(system.objective, system.network, b).items():
        assert raised[name].shape == t.shape
        torch.testing.assert_close(term, bce_dice(raised[name], t) / 4)


def test_the_settings_are_the_papers():
    s = mu_net.SETTINGS
    assert (s.lr, s.schedule, s.step_every, s.factor, s.stop) == (3e-4, "exponential", 3, 0.9, "twice_best")
    assert mu_net.PRESETS["cardiac"] == (7, 1, 4, 1, 9, 6)
    spleen = build("mu-net-hyb", width=2, preset="spleen")
    assert spleen.objective.mask == 5
    assert (spleen.settings.batch, spleen.settings.patch, spleen.settings.lr) == (1, (480, 480), 3e-4)
    cardiac = build("unet-deep++", width=2, preset="cardiac").settings
    assert (cardiac.batch, cardiac.patch) == (2, (320, 320))
    assert build("mu-net-rec", width=2).settings == s == build("mu-net-rec", width=2, preset="brats").settings
    with pytest.raises(ValueError, match=r"preset='heart' is unknown. The paper's datasets are \['brats'"):
        build("mu-net-hyb", preset="heart")


def test_every_row_of_the_tables_is_a_system_that_names_its_table():
    assert list(mu_net.TABLES) == [1, 2, 3, 4, 5]
    for number, table in mu_net.TABLES.items():
        assert all(len(row) == len(table.columns) for row in table.rows.values())
        if number > 1:
            assert set(table.rows) - {"imp.", "imp.++"} == set(systems(f"mu-net-{number}"))


def test_the_improvements_are_the_differences_of_table_4():
    rows = mu_net.TABLES[4].rows
    for imp, ours, theirs in (("imp.", "mu-net-hyb", "unet-2d"), ("imp.++", "mu-net-hyb++", "unet++")):
        assert rows[imp] == pytest.approx([a - b for a, b in zip(rows[ours], rows[theirs], strict=True)], abs=1e-6)


@pytest.mark.parametrize("number", [3, 5])
def test_hours_are_hours_an_epoch_times_epochs_except_where_a_slip_says_so(number):
    wrong = {
        (name, dataset)
        for name, row in mu_net.TABLES[number].rows.items()
        for (dataset, each, epochs, total) in zip(mu_net.PRESETS, row[::3], row[1::3], row[2::3], strict=True)
        if abs(each * epochs - total) > 0.5e-4 * (epochs + 1) + 1e-9  # four decimals each
    }
    assert {dataset for _, dataset in wrong} == {"liver"}
    named = {
        3: {"fcn", "unet-2d", "attention-unet", "res-unet++", "unet++"},
        5: {"unet-2d", "unet-deep", "unet-auto", "unet++", "unet-deep++", "unet-auto++"},
    }
    assert {name for name, _ in wrong} == named[number]


@pytest.mark.parametrize(("number", "named"), [(2, {"unet3+"}), (4, {"unet-deep", "unet-auto", "mu-net-seg"})])
def test_mean_iou_is_at_least_what_mean_dice_allows_except_where_a_slip_says_so(number, named):
    """IoU = D / (2 - D) is convex in D, so that mean IoU ≥ D̄ / (2 - D̄)."""
    wrong = {
        (name, dataset)
        for name, row in mu_net.TABLES[number].rows.items()
        if not name.startswith("imp.")
        for dataset, d, iou in zip(mu_net.PRESETS, row[::4], row[3::4], strict=True)
        if iou < d / (2 - d) - 1e-4
    }
    assert wrong == {(name, "spleen") for name in named}


def test_what_the_slips_say_of_two_tables_at_once():
    two, four = mu_net.TABLES[2].rows, mu_net.TABLES[4].rows
    apart = {name for name in two.keys() & four.keys() if two[name] != four[name]}
    assert apart == {"unet-2d", "mu-net-hyb++"}
    assert all(two[name][:12] == four[name][:12] for name in apart)  # the liver alone
    hours = {name: row[2::3] for name, row in mu_net.TABLES[5].rows.items()}
    slower = [a > d for a, d in zip(hours["unet-auto"], hours["unet-deep"], strict=True)]
    assert slower == [True, False, True, False]
    assert [a > d for a, d in zip(hours["unet-auto++"], hours["unet-deep++"], strict=True)] == [
        False,
        True,
        True,
        False,
    ]


def test_res_unet_plus_plus_smooths_its_dice_by_one():
    """1 - (2 Σpt + 1) / (Σp + Σt + 1), sums over the whole batch."""
    system, b = build("res-unet++", width=8), batch()
    p, t = system.network.eval()(b["image"]).logits.sigmoid(), b["label"][:, None].float()
    (dice,) = loss_terms(system.objective, system.network, b).values()
    torch.testing.assert_close(dice, 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))


def test_without_norm_the_tied_decoder_has_none_either():
    """2,945 biases of its own beside the 31,030,593 of a U-Net that is convolutions alone."""
    with torch.device("meta"):
        network = build("mu-net-hyb", norm="none").network
    assert parameters(network) == 31_030_593 + 2_945
    assert not any(isinstance(m, torch.nn.BatchNorm2d | torch.nn.InstanceNorm2d) for m in network.modules())


@pytest.mark.parametrize("dataset", ["brats", "cardiac", "spleen", "liver"])
def test_a_preset_for_batch_norm_divides_lambda_and_eta_by_ten_and_nothing_else(dataset):
    printed, learning = (build("mu-net-hyb", width=2, preset=p) for p in (dataset, f"{dataset}-batch-norm"))
    assert printed.objective.features in (8, 9)
    assert printed.objective.restored_features == 6
    tenth = {"features": printed.objective.features / 10, "restored_features": 0.6}
    assert learning.objective == replace(printed.objective, **tenth)
    assert learning.settings == printed.settings


def test_the_norm_decides_what_lambda_means():
    """At first weights, as printed: the feature term outweighs the output's with batch norm, and is nothing without."""
    terms = {}
    for norm in ("batch", "none"):
        torch.manual_seed(0)
        system = build("unet-deep", width=8, norm=norm)
        terms[norm] = loss_terms(system.objective, system.network.train(), batch(size=48))
    assert terms["batch"]["features"] > 2 * terms["batch"]["output"]
    assert terms["none"]["features"] < terms["none"]["output"] / 100


def test_the_weights_of_the_levels_are_options():
    given = {"levels": {"stride16": 1.0}, "restored_levels": {"stride1": 2.0}}
    objective = build("mu-net-hyb", width=2, **given).objective
    assert (objective.levels, objective.restored_levels) == tuple(given.values())
    assert build("mu-net-hyb", width=2).objective.levels is None
