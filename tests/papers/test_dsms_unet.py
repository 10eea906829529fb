"""DSMS U-Net: counts of the grid, the modules' reach, and which decoder learns from what."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from dsnotes.networks.base import Head, Network
from dsnotes.networks.baselines.fcn import FCN
from dsnotes.networks.baselines.v_net import VNet
from dsnotes.networks.dsms_unet import KERNELS, DSMSUNet, ParallelConvs, factor_like
from dsnotes.networks.unet import UNet
from dsnotes.papers import build, dsms_unet
from dsnotes.papers.protocol import under
from dsnotes.supervision import Restoration, loss_terms, supervise


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def batch(dims=2, size=32, classes=2):
    g = torch.Generator().manual_seed(0)
    return {
        "image": torch.randn(2, 1, *(size,) * dims, generator=g),
        "label": torch.randint(0, classes, (2, *(size,) * dims), generator=g),
    }


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("unet-2d", 31_042_369),
        ("drs-unet", 40_101_314),
        ("kcmdrs-unet", 50_557_634),
        ("dsmsc-unet", 53_342_914),
        ("kcm-unet", 31_042_369 + 10_456_320),
        ("mscm-unet", 31_042_369 + 13_241_600),
    ],
)
def test_parameter_counts(name, published):
    with torch.device("meta"):
        assert parameters(build(name).network) == published


def test_fcn_has_the_published_count_and_keeps_the_size():
    with torch.device("meta"):
        assert parameters(FCN(in_channels=3)) == 134_265_699
    assert FCN(width=2, classes=3)(torch.zeros(1, 1, 64, 96)).logits.shape == (1, 3, 64, 96)


def test_fcn_fuses_three_strides():
    net = FCN(width=2).eval()
    features = net(torch.randn(1, 1, 64, 64))
    assert {name: tuple(x.shape[2:]) for name, x in features.decoder.items()} == {
        "stride1": (64, 64),
        "stride8": (8, 8),
        "stride16": (4, 4),
    }
    with torch.no_grad():  # without its own scores, stride 8 is stride 16 interpolated
        net.scores["stride8"].weight.zero_()
        net.scores["stride8"].bias.zero_()
        f = net(torch.randn(1, 1, 96, 96))
    expected = functional.interpolate(f.decoder["stride16"], scale_factor=2, mode="bilinear")
    torch.testing.assert_close(f.decoder["stride8"][..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2])


@pytest.mark.parametrize(("kernels", "reach"), [((1, 3, 5), 5), ((3, 3, 3), 3)])
@pytest.mark.parametrize("size", [(16, 16), (17, 15)])
def test_reach_of_the_modules_by_gradient(kernels, reach, size):
    module = ParallelConvs(4, kernels=kernels, dims=2).eval()
    x = torch.randn(1, 4, *size, requires_grad=True)
    y = module(x)
    assert y.shape == x.shape
    y[0, :, 8, 8].sum().backward()
    rows, columns = x.grad.abs().sum((0, 1)).nonzero().T
    assert rows.max() - rows.min() + 1 <= reach
    assert columns.max() - columns.min() + 1 <= reach
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (reach, reach)


def test_weights_per_skip_are_35_and_27_channels_squared():
    def convolutions(kernels):
        module = ParallelConvs(8, kernels=kernels, dims=2)
        return sum(p.numel() for p in module.branches.parameters() if p.ndim == 4)

    assert convolutions((1, 3, 5)) == 35 * 64
    assert convolutions((3, 3, 3)) == 27 * 64


def test_terms_are_the_printed_sum_with_the_entropy_floor_taken_off():
    system, b = build("drs-unet", width=2), batch()
    terms, outputs = loss_terms(system.objective, system.network, b), system.network(b["image"])
    y = b["label"][:, None].float()
    torch.testing.assert_close(
        terms["segmentation"], 10 * functional.binary_cross_entropy_with_logits(outputs.logits, y)
    )
    low, high = b["image"].amin((2, 3), keepdim=True), b["image"].amax((2, 3), keepdim=True)
    x = (b["image"] - low) / (high - low)
    floor = functional.binary_cross_entropy(x, x)
    expected = functional.binary_cross_entropy_with_logits(outputs.restored, x) - floor
    torch.testing.assert_close(terms["restoration"], expected, atol=1e-5, rtol=1e-5)


def reached(module):
    return any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_each_decoder_learns_from_its_own_task_and_the_encoder_from_both():
    for term, decoder, restoration in (("segmentation", True, False), ("restoration", False, True)):
        system = build("dsmsc-unet", width=2)
        loss_terms(system.objective, system.network, batch())[term].backward()
        backbone = system.network.backbone
        assert reached(backbone.encoder)
        assert reached(backbone.decoder) == reached(backbone.skips) == decoder
        assert reached(system.network.heads["restoration"]) == restoration


def test_deployment_does_not_know_the_restoration_decoder():
    system, image = build("drs-unet", width=2), batch()["image"]
    before = system.probabilities(image)
    for p in system.network.heads["restoration"].parameters():
        torch.nn.init.normal_(p)
    assert torch.equal(system.probabilities(image), before)
    assert not system.network.deployed().heads


def test_doubling_the_ratio_doubles_the_segmentation_term_alone():
    system, b = build("drs-unet", width=2), batch()
    ten, twenty = (loss_terms(Restoration(segmentation=ratio), system.network, b) for ratio in (10.0, 20.0))
    torch.testing.assert_close(twenty["segmentation"], 2 * ten["segmentation"])
    torch.testing.assert_close(twenty["restoration"], ten["restoration"])


@pytest.mark.parametrize("loss", ["bce", "mse", "l1"])
@pytest.mark.parametrize(("dims", "classes"), [(2, 2), (2, 3), (3, 2)])
def test_restoration_on_the_plain_unet(loss, dims, classes):
    goal = Restoration(loss=loss)
    net = supervise(UNet(dims=dims, classes=classes, width=2), goal)
    sum(loss_terms(goal, net, batch(dims, 16, classes)).values()).backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("module", list(KERNELS))
@pytest.mark.parametrize("restoration", [0.0, 1.0])
@pytest.mark.parametrize("dims", [2, 3])
def test_every_cell_of_the_grid_learns_from_one_class(module, restoration, dims):
    goal = Restoration(restoration=restoration)
    net = supervise(DSMSUNet(dims=dims, width=2, module=module), goal)
    terms = loss_terms(goal, net, batch(dims, 16))
    assert list(terms) == ["segmentation", "restoration"][: 1 + bool(restoration)]
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in net.parameters())
    outputs = net(torch.zeros(1, 1, *(32,) * dims))
    assert outputs.logits.shape == (1, 1, *(32,) * dims)
    assert (outputs.restored is None) == (not restoration)
    assert not restoration or outputs.restored.shape == (1, 1, *(32,) * dims)


@pytest.mark.parametrize(("dims", "msc", "kcm"), [(2, 1 + 9 + 25, 27), (3, 1 + 27 + 125, 81)])
def test_the_control_of_equal_size(dims, msc, kcm):
    """KCM widened until it has MSC's weights: f (27 + 3) C² = (35 + 3) C²; and MSC narrowed to KCM's."""
    assert factor_like("kcm", "msc", dims=dims) == (msc + 3) / (kcm + 3)
    assert factor_like("msc", "kcm", dims=dims) == (kcm + 3) / (msc + 3)
    assert factor_like("msc", "msc", dims=dims) == factor_like("none", None, dims=dims) == 1
    with torch.device("meta"):
        full, control, widened, narrowed = (
            parameters(build(name, dims=dims, like=like).network)
            for name, like in (
                ("dsmsc-unet", None),
                ("kcmdrs-unet", None),
                ("kcmdrs-unet", "msc"),
                ("dsmsc-unet", "kcm"),
            )
        )
    assert control < 0.96 * full
    assert widened == pytest.approx(full, rel=0.002)
    assert narrowed == pytest.approx(control, rel=0.002)


def test_five_systems_of_table_1_and_all_of_them_learn_from_cross_entropy():
    """Eq. 1, under the recipe of the table's sweep and nothing else."""
    b = batch()
    assert set(dsms_unet.TABLES[1].rows) == {"fcn", "unet-2d", "drs-unet", "kcmdrs-unet", "dsmsc-unet"}
    for name in dsms_unet.TABLES[1].rows:
        system = under(build(name, width=2), "dsms")
        y = b["label"][:, None].float()
        images = b["image"] if name != "fcn" else functional.pad(b["image"], (0, 32, 0, 32))
        y = y if name != "fcn" else functional.pad(y, (0, 32, 0, 32))
        system.network.eval()
        terms = loss_terms(system.objective, system.network, {"image": images, "label": y[:, 0].long()})
        ratio = 1 if name in ("fcn", "unet-2d") else 10
        logits = system.network(images).logits
        expected = ratio * functional.binary_cross_entropy_with_logits(logits, y)
        assert list(terms) == [["segmentation", "restoration"], ["cross-entropy"]][ratio == 1]
        torch.testing.assert_close(next(iter(terms.values())), expected)


def test_gradient_accumulation_is_the_papers_and_leaves_the_step_of_the_joint_batch():
    """With instance norm: batch norm's statistics are those of a micro-batch, which no accumulation mends."""
    assert build("dsmsc-unet", width=2).settings is dsms_unet.SETTINGS
    assert dsms_unet.SETTINGS.accumulate > 1
    moved = []
    for parts in (1, 4):
        torch.manual_seed(0)
        system = build("dsmsc-unet", width=2, norm="instance")
        settings = replace(dsms_unet.SETTINGS, optimiser="sgd", lr=0.1, batch=4 // parts, accumulate=parts)
        b = {name: torch.cat([value, 1 - value]) for name, value in batch().items()}
        system.make_step(system, settings)(b)
        moved.append([p.detach() for p in system.network.parameters()])
    for joint, summed in zip(*moved, strict=True):
        torch.testing.assert_close(summed, joint, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "backbone", [UNet(width=2, residual=True), VNet(width=2, dims=2), FCN(width=2), UNet(width=2, depth=3)]
)
def test_restoration_on_other_backbones(backbone):
    goal = Restoration()
    net = supervise(backbone, goal)
    b = batch(size=64)
    sum(loss_terms(goal, net, b).values()).backward()
    assert net(b["image"]).restored.shape == b["image"].shape
    assert all(p.grad is not None for p in net.heads.parameters())


def test_restoration_reads_the_field_and_asks_not_who_restored():
    class Copy(Head):
        def forward(self, features, image):
            x = (image - image.amin((2, 3), keepdim=True)) / (image.amax((2, 3)) - image.amin((2, 3)))[..., None, None]
            return {"restored": x.logit(eps=1e-6)}

    b = batch()
    terms = loss_terms(Restoration(), Network(UNet(width=2), {"anything": Copy()}), b)
    torch.testing.assert_close(terms["restoration"], torch.zeros(()), atol=1e-5, rtol=0)  # no floor left


@pytest.mark.parametrize(("width", "count"), [(4, 525_807), (8, 2_100_123)])
def test_fcn_of_small_width(width, count):
    with torch.device("meta"):
        assert parameters(FCN(width=width)) == count


def test_table_1_does_not_bear_out_the_claim_of_best_in_all_three():
    table = dsms_unet.TABLES[1]
    best = {column: max(table.rows, key=lambda row: table.rows[row][i]) for i, column in enumerate(table.columns)}
    assert best == {"dice": "kcmdrs-unet", "ppv": "fcn", "sensitivity": "dsmsc-unet"}
    full = table.rows["dsmsc-unet"]
    improved = [name for name, row in table.rows.items() if all(a > b for a, b in zip(full, row, strict=True))]
    assert improved == ["unet-2d", "drs-unet"]


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda: Restoration(loss="ssim"), "loss='ssim' .*Choose one of"),
        (
            lambda: Restoration(segmentation=-1.0),
            "segmentation=-1.0, restoration=1.0 .*such as the paper's 10.0 and 1.0",
        ),
        (lambda: Restoration(segmentation=0.0, restoration=0.0), "Pass weights of 0 or more, one of them positive"),
        (lambda: DSMSUNet(module="ppm"), r"module='ppm' is unknown. Choose one of \['none', 'kcm', 'msc'\]"),
        (lambda: DSMSUNet(like="ppm"), r"module='ppm' is unknown. Choose one of"),
        (
            lambda: build("drs-unet", like="msc"),
            r"module='none' .*like='msc'.*choose both from \['kcm', 'msc'\]",
        ),
        (
            lambda: loss_terms(Restoration(), supervise(UNet(width=2), Restoration(restoration=0.0)), batch()),
            "restores no image",
        ),
    ],
)
def test_wrong_settings_are_answered(call, answer):
    with pytest.raises(ValueError, match=answer):
        call()
