"""Other people's networks: the counts their own code has, the contract of a backbone, and each one's peculiarity."""

import ast
from pathlib import Path

import pytest
import torch

from dsnotes.networks import baselines
from dsnotes.networks.base import Network
from dsnotes.networks.baselines.dsn_3d import DSN3D, AuxiliaryClassifiers
from dsnotes.networks.baselines.fcn import FCN
from dsnotes.networks.baselines.rd_unet import ConvLSTM, DenseUnit, RDUNet, hard_sigmoid
from dsnotes.networks.baselines.v_net import VNet

FILES = sorted(path for path in Path(baselines.__file__).parent.glob("*.py") if path.stem != "__init__")
BACKBONES = [
    (FCN, {"width": 2}, (64, 64)),
    (VNet, {"width": 4}, (16, 16, 32)),
    (VNet, {"width": 4, "dims": 2}, (32, 48)),
    (DSN3D, {"width": 4}, (8, 16, 16)),
    (RDUNet, {"width": 2}, (5, 16, 24)),
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_links_its_paper_says_where_it_departs_and_stays_short(path):
    text = path.read_text(encoding="utf-8")
    says = ast.get_docstring(ast.parse(text))
    assert "https://" in says
    assert "Departs from" in says or "reconstruction" in says
    assert len(text.splitlines()) <= 150


@pytest.mark.parametrize(("network", "settings", "size"), BACKBONES)
@pytest.mark.parametrize("classes", [2, 3])
def test_levels_say_what_forward_gives(network, settings, size, classes):
    backbone = network(classes=classes, **settings).eval()
    features = backbone(torch.randn(2, 1, *size))
    assert features.logits.shape == (2, 1 if classes == 2 else 3, *size)
    for name, level in backbone.levels.items():
        expected = (2, level.channels, *(n // s for n, s in zip(size, level.stride, strict=True)))
        assert features[name].shape == expected, name


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("settings", "published"),
    [
        ({"out_channels": 2}, 45_600_316),
        ({"out_channels": 2, "width": 8}, 11_404_580),
        ({}, 45_596_309),
        ({"classes": 3}, 45_604_325),
    ],
)
def test_v_net_counts(settings, published):
    with torch.device("meta"):
        assert parameters(VNet(**settings)) == published


def test_v_net_adds_its_input_to_every_map_of_the_first_stage():
    net = VNet(width=4, in_channels=2).eval()
    torch.nn.init.zeros_(net.first[0].weight)
    torch.nn.init.zeros_(net.first[0].bias)
    image = torch.rand(1, 2, 16, 16, 16)
    torch.testing.assert_close(net(image).encoder["stride1"], image.repeat(1, 2, 1, 1, 1))
    with pytest.raises(ValueError, match=r"width=16 .*in_channels=3. Use width=18"):
        VNet(in_channels=3)


@pytest.mark.parametrize(("aux_bias", "published"), [(None, 6_240_098), (True, 7_026_790), (False, 7_026_662)])
def test_3d_dsn_counts(aux_bias, published):
    with torch.device("meta"):
        backbone = DSN3D(out_channels=2)
        heads = {} if aux_bias is None else {"aux": AuxiliaryClassifiers(backbone, aux_bias=aux_bias)}
        assert parameters(Network(backbone, heads)) == published


def test_3d_dsn_answers_three_times_at_full_size_and_has_no_skips():
    backbone = DSN3D(width=4)
    raised = Network(backbone, {"aux": AuxiliaryClassifiers(backbone)})(torch.randn(2, 1, 16, 16, 16)).upsampled
    assert list(raised) == ["stride1", "stride2", "stride4"]
    assert {tuple(z.shape) for z in raised.values()} == {(2, 1, 16, 16, 16)}


def test_rd_unet_counts_in_pytorch_and_in_keras():
    with torch.device("meta"):
        net = RDUNet()
    running = sum(buffer.numel() for name, buffer in net.named_buffers() if "running" in name)
    assert (parameters(net), parameters(net) + running) == (19_096_833, 19_100_161)


def test_rd_unets_dense_unit_does_not_let_its_first_map_out():
    unit = DenseUnit(3, 4).eval()
    x = torch.randn(1, 3, 2, 8, 8)
    y = unit(x)
    assert y.shape[1] == 3 + 4
    assert torch.equal(y[:, :3], x)


def test_rd_unets_recurrence_goes_forward_along_the_slices():
    lstm = ConvLSTM(2, 3)
    x = torch.randn(1, 2, 5, 6, 6)
    changed = x.clone()
    changed[:, :, 3] += 1
    before, after = lstm(x), lstm(changed)
    assert torch.equal(before[:, :, :3], after[:, :, :3])
    assert not torch.equal(before[:, :, 3:], after[:, :, 3:])


def test_rd_unets_cell_is_the_lstm_equations_on_one_pixel():
    """With 1x1 planes a convolutional LSTM is a fully connected one; PyTorch's, with its sigmoid for ours."""
    lstm = ConvLSTM(2, 3)
    oracle = torch.nn.LSTMCell(2, 3)
    with torch.no_grad():
        oracle.weight_ih.copy_(lstm.of_input.weight[:, :, 1, 1])
        oracle.weight_hh.copy_(lstm.of_state.weight[:, :, 1, 1])
        oracle.bias_ih.copy_(lstm.of_input.bias)
        oracle.bias_hh.zero_()
    x = 0.01 * torch.randn(1, 2, 4, 1, 1)  # small, where 0.2 x + 0.5 and the sigmoid nearly agree
    state = (torch.zeros(1, 3), torch.zeros(1, 3))
    for at in range(4):
        state = oracle(x[:, :, at, 0, 0], state)
    torch.testing.assert_close(lstm(x)[:, :, -1, 0, 0], state[0], atol=0.02, rtol=0.1)
    assert hard_sigmoid(torch.tensor([-3.0, 0.0, 1.0, 3.0])).tolist() == pytest.approx([0, 0.5, 0.7, 1])


def test_rd_unet_drops_channels_after_each_pooling():
    net, met = RDUNet(width=2), []
    net.drop.register_forward_hook(lambda module, given, made: met.append(tuple(made.shape[2:])))
    net(torch.zeros(1, 1, 3, 16, 24))
    assert met == [(3, 8, 12), (3, 4, 6), (3, 2, 3)]


def test_rd_unet_is_for_volumes():
    with pytest.raises(ValueError, match="dims=2, .*Build it with dims=3"):
        RDUNet(dims=2)
