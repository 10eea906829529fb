"""DSMS U-Net: counts of the grid, the modules' reach, and which decoder learns from what."""

import pytest
import torch
from torch.nn import functional

from dsnotes.networks.baselines.fcn import FCN
from dsnotes.networks.dsms_unet import DSMSUNet, ParallelConvs
from dsnotes.networks.unet import UNet
from dsnotes.papers import build, dsms_unet
from dsnotes.supervision import Restoration, supervise


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
    terms, outputs = system.objective(system.network, b), system.network(b["image"])
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
        system.objective(system.network, batch())[term].backward()
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
    ten, twenty = (Restoration(segmentation=ratio)(system.network, b) for ratio in (10.0, 20.0))
    torch.testing.assert_close(twenty["segmentation"], 2 * ten["segmentation"])
    torch.testing.assert_close(twenty["restoration"], ten["restoration"])


@pytest.mark.parametrize("loss", ["bce", "mse", "l1"])
@pytest.mark.parametrize(("dims", "classes"), [(2, 2), (2, 3), (3, 2)])
def test_restoration_on_the_plain_unet(loss, dims, classes):
    goal = Restoration(loss=loss)
    net = supervise(UNet(dims=dims, classes=classes, width=2), goal)
    sum(goal(net, batch(dims, 16, classes)).values()).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_the_whole_grid_in_3d():
    for module in ("none", "kcm", "msc"):
        net = DSMSUNet(dims=3, width=2, module=module).eval()
        assert net(torch.zeros(1, 1, 16, 16, 16)).logits.shape == (1, 1, 16, 16, 16)


def test_the_control_of_equal_size_is_within_a_percent():
    """MSC narrowed until it has KCM's weights: 35 n² + ... C; the notebook trains both."""
    with torch.device("meta"):
        msc = parameters(build("mscm-unet", narrow=27 / 34.9).network)
        kcm = parameters(build("kcm-unet").network)
    assert msc == pytest.approx(kcm, rel=0.01)


def test_table_1_does_not_bear_out_the_claim_of_best_in_all_three():
    table = dsms_unet.TABLES[1]
    best = {column: max(table.rows, key=lambda row: table.rows[row][i]) for i, column in enumerate(table.columns)}
    assert best == {"dice": "kcmdrs-unet", "ppv": "fcn", "sensitivity": "dsmsc-unet"}


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda: Restoration(loss="ssim"), "loss='ssim' cannot compare images here. Choose one of"),
        (lambda: DSMSUNet(module="ppm"), r"module='ppm' is unknown. Choose one of \['none', 'kcm', 'msc'\]"),
        (lambda: Restoration()(supervise(UNet(width=2), Restoration(restoration=0.0)), batch()), "restores no image"),
    ],
)
def test_wrong_settings_are_answered(call, answer):
    with pytest.raises(ValueError, match=answer):
        call()
