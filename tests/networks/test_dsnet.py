"""DSNet's parts by the counts its description gives and the invariants its equations have."""

import pytest
import torch
from torch import nn

from dsnotes.networks.base import Network
from dsnotes.networks.critic import PixelCritic
from dsnotes.networks.dsnet import CBAM, EDRFM, FUSIONS, SDRFM, DSNet, mean_logits
from dsnotes.networks.heads import SideHeads
from dsnotes.networks.srgan import Generator
from dsnotes.networks.teacher import OutputCache, Teacher


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_counts_of_the_parts():
    with torch.device("meta"):
        assert (parameters(EDRFM()), parameters(SDRFM()), parameters(PixelCritic())) == (38_208, 44_704, 8_768)
        assert [parameters(CBAM(c)) for c in (64, 128, 256, 512, 1024)] == [680, 2_284, 8_564, 33_412, 132_260]


@pytest.mark.parametrize(
    ("settings", "count"),
    [({}, 57_765_757), ({"width": 32}, 14_460_129), ({"factors": (1, 2, 4, 8, 8)}, 35_118_941)],
)
def test_counts_of_the_backbone_behind_64_maps(settings, count):
    with torch.device("meta"):
        assert parameters(DSNet(fusion="interpolated", in_channels=64, **settings)) == count


@pytest.mark.parametrize(("fusion", "fused"), [("edrfm", 38_208), ("sdrfm", 44_704)])
def test_the_whole_is_its_parts_and_the_teacher_does_not_learn(fusion, fused):
    with torch.device("meta"):
        net = DSNet(fusion=fusion)
        assert parameters(net) == 57_765_757 + fused + 1_528_724
        assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 57_765_757 + fused


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize(("scale", "size"), [(4, (16, 24)), (2, (16, 32))])
@pytest.mark.parametrize("classes", [2, 3])
def test_levels_say_what_forward_gives(fusion, scale, size, classes):
    net = DSNet(width=2, classes=classes, fusion=fusion, scale=scale).eval()
    features = net(torch.randn(2, 1, *size))
    channels = 1 if classes == 2 else 3
    assert features.logits.shape == (2, channels, *size)
    assert features.fine.shape == (2, channels, *(scale * n for n in size))
    for name, level in net.levels.items():
        expected = (2, level.channels, *(n // s for n, s in zip(size, level.stride, strict=True)))
        assert features[name].shape == expected, name


def test_at_scale_1_the_backbone_is_a_plain_one():
    net = DSNet(width=2, fusion="interpolated", scale=1).eval()
    features = net(torch.randn(1, 1, 32, 32))
    assert features.fine is None
    assert features.logits.shape == (1, 1, 32, 32)
    assert [*net.sides()] == ["stride1", "stride2", "stride4", "stride8"]


def test_side_heads_fit_it_as_any_backbone():
    net = DSNet(width=2)
    sides = Network(net, {"sides": SideHeads(net)})(torch.randn(2, 1, 16, 16)).side_outputs
    assert {name: side.shape[-1] for name, side in sides.items()} == {"stride1": 16, "stride2": 8}


@pytest.mark.parametrize("channels", [1, 3])
def test_a_pixel_has_the_mean_probability_of_its_cell(channels):
    fine = 3 * torch.randn(2, channels, 16, 24)
    turn = torch.sigmoid if channels == 1 else (lambda z: z.softmax(1))
    torch.testing.assert_close(turn(mean_logits(fine, 4)), nn.functional.avg_pool2d(turn(fine), 4))


def test_a_pixel_stays_finite_however_sure_its_cell_is():
    """Also in bfloat16, where 1 - 1e-6 is 1; a cell half sure either way is undecided."""
    for sure in (200.0, -200.0):
        torch.testing.assert_close(mean_logits(torch.full((1, 1, 4, 4), sure), 4), torch.full((1, 1, 1, 1), sure))
        assert mean_logits(torch.full((1, 1, 4, 4), sure, dtype=torch.bfloat16), 4).isfinite().all()
    halves = torch.full((1, 1, 4, 4), 200.0)
    halves[..., :2] = -200
    assert mean_logits(halves, 4).item() == pytest.approx(0, abs=1e-4)


def test_untaught_cbam_halves_twice():
    """Zero MLP and zero 7x7: both gates are 1/2."""
    block = CBAM(8).eval()
    for parameter in (*block.channel.parameters(), block.space[0].weight):
        nn.init.zeros_(parameter)
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(block(x), x / 4)


def test_only_the_spatial_gates_have_the_momentum_of_the_gates():
    def momenta(net):
        norms = [(n, m) for n, m in net.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
        return {m.momentum for n, m in norms if ".space." in n}, {m.momentum for n, m in norms if ".space." not in n}

    assert momenta(DSNet(width=4, fusion="interpolated")) == ({0.01}, {0.1})  # as in CBAM's release
    assert momenta(DSNet(width=4, fusion="interpolated", gate_momentum=0.3)) == ({0.3}, {0.1})


def test_cbam_gates_lie_between_0_and_1_and_the_spatial_one_sees_the_gated_map():
    block, x = CBAM(8).eval(), torch.randn(2, 8, 9, 9)
    channel, space = block.gates(x)
    assert channel.shape == (2, 8, 1, 1)
    assert space.shape == (2, 1, 9, 9)
    assert 0 < min(channel.min(), space.min()) <= max(channel.max(), space.max()) < 1
    y = channel * x
    expected = block.space(torch.cat([y.max(1, keepdim=True)[0], y.mean(1, keepdim=True)], 1)).sigmoid()
    torch.testing.assert_close(space, expected)


def test_sdrfm_weighs_its_branches_to_1_channel_by_channel():
    module = SDRFM(features=4, width=8).eval()
    interpolated, taught = torch.randn(2, 1, 8, 8), torch.randn(2, 5, 8, 8)
    context, detail = module.branches(interpolated, taught)
    weights = module.weights(context, detail)
    assert weights.shape == (2, 2, 8, 1, 1)
    torch.testing.assert_close(weights.sum(0), torch.ones(2, 8, 1, 1))
    torch.testing.assert_close(module(interpolated, taught), weights[0] * context + weights[1] * detail)
    module.branches = lambda *given: (context, context)
    torch.testing.assert_close(module(interpolated, taught), context)


def test_the_pixel_critic_sees_one_pixel():
    critic = PixelCritic(2, 8).eval()
    pair = torch.randn(1, 2, 6, 6, requires_grad=True)
    critic(pair)[0, 0, 2, 3].backward()
    touched = pair.grad.abs().sum(1).nonzero().tolist()
    assert touched == [[0, 2, 3]]


def trained_teacher(**how):
    generator = Generator(width=4, blocks=1, scale=2)
    nn.init.normal_(generator.output.weight)
    return Teacher(generator, **how)


def test_the_teacher_stays_as_it_is_while_the_rest_trains():
    net = DSNet(width=2, generator=trained_teacher().generator).train()
    before = {name: value.clone() for name, value in net.teacher.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net(torch.randn(2, 1, 16, 16)).fine.sum().backward()
    optimiser.step()
    assert not any(module.training for module in net.teacher.generator.modules())
    assert all(p.grad is None for p in net.teacher.parameters())
    for name, value in net.teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("with_features", [True, False])
def test_what_is_remembered_is_what_was_answered(with_features):
    teacher, memory = trained_teacher(with_features=with_features), OutputCache()
    a, b, c = torch.randn(3, 1, 1, 8, 8)
    expected = torch.cat([teacher(a), teacher(c)])
    calls = []
    teacher.generator.register_forward_hook(lambda *given: calls.append(len(given[1][0])))
    teacher.cache = memory
    first = teacher(torch.cat([a, b]))
    again = teacher(torch.cat([b, a]))
    mixed = teacher(torch.cat([a, c]))
    teacher.cache = None
    assert calls == [1, 1, 1], "three images, each once"
    assert torch.equal(first.flip(0), again)
    torch.testing.assert_close(mixed, expected)
    assert (memory.hits, memory.misses) == (3, 3)
    assert expected.shape == (2, 5 if with_features else 1, 16, 16)
    teacher(a)
    assert len(calls) == 4, "without it, nothing is remembered"


def test_a_full_memory_keeps_what_comes_again_and_gives_up_on_what_does_not():
    teacher = trained_teacher(with_features=False)
    images = torch.randn(4, 1, 1, 8, 8)
    room = OutputCache(limit=2 * 16 * 16 * 4)
    teacher.cache = room
    for index in (0, 0, 1, 2, 2, 1, 0):
        teacher(images[index])
    assert room.open
    assert (room.hits, room.misses, room.size) == (3, 4, room.limit)
    useless = OutputCache(limit=room.limit)
    teacher.cache = useless
    for image in images:
        teacher(image)
    assert not useless.open
    assert not useless.outputs


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({"fusion": "best"}, r"fusion='best' is unknown. Choose one of \['interpolated', 'super-resolved'"),
        ({"dims": 3}, "dims=3, .*Build it with dims=2"),
        ({"scale": 3, "fusion": "interpolated"}, "scale=3 .*Pass 1, 2 or 4"),
        (
            {"in_channels": 2, "generator": Generator(width=2, blocks=1)},
            r"channels=1, but in_channels=2\..*in_channels=1",
        ),
    ],
)
def test_impossible_settings_are_answered(settings, answer):
    with pytest.raises(ValueError, match=answer):
        DSNet(width=2, **settings)
