"""A step must be the textbook one, however it is cut into micro-batches and in whatever precision networks compute."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from dsnotes.networks.blocks import Conv3d
from dsnotes.networks.unet import UNet
from dsnotes.supervision import loss_terms
from dsnotes.supervision.base import Supervision, supervise
from dsnotes.supervision.plain import Plain
from dsnotes.training.batches import Draw
from dsnotes.training.fit import fit
from dsnotes.training.forward_pass import (
    ForwardPass,
    choose_dtype,
    flops,
    has_bfloat16,
    set_memory_format,
    to_channels_last,
)
from dsnotes.training.settings import Settings
from dsnotes.training.step import PlainStep, make_optimiser, micro_batches
from dsnotes.training.system import System


@dataclass(frozen=True)
class MeanLosses(Supervision):
    """Two terms that are means over samples, so that the joint gradient is the mean of the parts'."""

    def terms(self, outputs, batch):
        logits, t = outputs.logits, batch["label"].unsqueeze(1).float()
        bce = nn.functional.binary_cross_entropy_with_logits(logits, t)
        return {"cross-entropy": bce, "squares": 0.5 * (logits.sigmoid() - t).square().mean()}


@pytest.fixture
def batch(discs, tiny):
    def make(samples: int, **settings) -> dict:
        system = tiny(batch=samples, **settings)
        patch = replace(system.settings, patch=(16, 16))
        return Draw(discs(8), patch, 2, None, 0, 0, torch.device("cpu"))(1, 0)[0]

    return make


def weights(system) -> list[torch.Tensor]:
    return [p.detach().clone() for p in system.network.parameters()]


def test_one_step_is_forward_backward_clip_step(tiny, batch):
    data = batch(4)
    system, other = tiny(clip=0.1), tiny(clip=0.1)
    returned = PlainStep(system, system.settings)(data)

    optimiser = torch.optim.Adam(other.network.parameters(), lr=1e-2)
    terms = loss_terms(other.objective, other.network.train(), data)
    loss = terms["cross-entropy"] + terms["dice"]
    loss.backward()
    norm = nn.utils.clip_grad_norm_(other.network.parameters(), 0.1)
    optimiser.step()

    assert norm > 0.1, "the example must clip"
    torch.testing.assert_close(weights(system), weights(other))
    assert list(returned) == ["loss", "cross-entropy", "dice", "grad_norm"]
    torch.testing.assert_close(returned["loss"], loss.detach())
    torch.testing.assert_close(returned["grad_norm"], norm)
    assert not any(value.requires_grad for value in returned.values())


@pytest.mark.parametrize("accumulate", [2, 3, 4])
def test_accumulated_micro_batches_give_the_joint_batchs_step(tiny, batch, accumulate):
    """Also where the parts are uneven: 3 parts of 4 samples weigh 1/2, 1/4, 1/4."""
    data = batch(4)
    joint, parts = (tiny(MeanLosses(), norm="instance", optimiser="sgd", lr=0.1, clip=None) for _ in range(2))
    whole = PlainStep(joint, joint.settings)(data)
    split = PlainStep(parts, replace(parts.settings, accumulate=accumulate))(data)
    torch.testing.assert_close(weights(parts), weights(joint))
    torch.testing.assert_close(split, whole)


def test_micro_batches_hold_every_sample_once(batch):
    data = batch(4)
    pieces = list(micro_batches(data, 3))
    assert [share for _, share, _ in pieces] == [0.5, 0.25, 0.25]
    assert [last for *_, last in pieces] == [False, False, True]
    for name, value in data.items():
        assert torch.equal(torch.cat([part[name] for part, *_ in pieces]), value)


def test_the_loss_is_clipped_only_when_asked(tiny, batch):
    system = tiny(clip=None, optimiser="sgd", lr=1.0)
    before = weights(system)
    norm = PlainStep(system, system.settings)(batch(4))["grad_norm"]
    moved = torch.stack([(a - b).norm() for a, b in zip(before, weights(system), strict=True)]).norm()
    torch.testing.assert_close(moved, norm)


@pytest.mark.parametrize(
    ("settings", "oracle"),
    [
        ({"optimiser": "adam", "amsgrad": True, "weight_decay": 0.1},
         lambda p: torch.optim.Adam(p, 1e-2, amsgrad=True, weight_decay=0.1)),
        ({"optimiser": "adamw", "weight_decay": 0.1, "betas": (0.5, 0.999)},
         lambda p: torch.optim.AdamW(p, 1e-2, betas=(0.5, 0.999), weight_decay=0.1)),
        ({"optimiser": "sgd", "momentum": 0.8}, lambda p: torch.optim.SGD(p, 1e-2, momentum=0.8)),
    ],
)  # fmt: skip
def test_optimisers_are_pytorchs(settings, oracle):
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    steps = (make_optimiser(ours, Settings(lr=1e-2, **settings)), oracle(theirs.parameters()))
    for seed in range(4):
        x = torch.randn(7, 5, generator=torch.Generator().manual_seed(seed))
        for optimiser, module in zip(steps, (ours, theirs), strict=True):
            optimiser.zero_grad()
            module(x).square().mean().backward()
            optimiser.step()
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


def test_frozen_parts_are_left_alone(tiny, batch):
    system = tiny()
    system.network.backbone.encoder.requires_grad_(False)
    frozen = [p.clone() for p in system.network.backbone.encoder.parameters()]
    PlainStep(system, system.settings)(batch(4))
    torch.testing.assert_close(list(system.network.backbone.encoder.parameters()), frozen, rtol=0, atol=0)


@dataclass(frozen=True)
class Spy(Plain):
    """Looks at what `run` and `terms` get."""

    seen: list = None

    def run(self, network, batch):
        outputs = super().run(network, batch)
        self.seen.append(outputs.logits.dtype)
        return outputs

    def terms(self, outputs, batch):
        self.seen.append({outputs.logits.dtype, *(f.dtype for f in outputs.features.values())})
        assert not torch.is_autocast_enabled("cpu")
        return super().terms(outputs, batch)


def test_networks_compute_in_bfloat16_and_losses_get_float32(tiny, batch):
    spy = Spy(seen=[])
    system, data = tiny(spy), batch(4)
    lowered = PlainStep(system, system.settings, amp=torch.bfloat16)(data)
    assert spy.seen == [torch.bfloat16, {torch.float32}]
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in system.network.parameters())
    exact = PlainStep(tiny(), system.settings)(data)
    torch.testing.assert_close(lowered["loss"], exact["loss"], rtol=0.02, atol=0)
    assert lowered["loss"] != exact["loss"]


def test_a_step_replaces_no_forward_and_hooks_nothing(tiny, batch):
    system, data = tiny(), batch(4)
    step = PlainStep(system, system.settings, amp=torch.bfloat16, checkpointing=True)
    during = []

    class Looking(Plain):
        def run(self, network, batch):
            during.extend(name for m in network.modules() for name in vars(m) if name == "forward")
            during.extend(hook for m in network.modules() for hook in (*m._forward_hooks, *m._forward_pre_hooks))
            return super().run(network, batch)

    step.forward_pass.supervision = Looking()
    step(data)
    assert during == []


def test_evaluation_gives_outputs_and_terms_of_one_pass_without_learning(tiny, batch):
    system, data, calls = tiny(), batch(4), []
    step = PlainStep(system, system.settings)
    before = copy.deepcopy(system.network.state_dict())
    system.network.backbone.register_forward_hook(lambda *given: calls.append(1))
    outputs, terms = step.evaluate(data)
    assert calls == [1]
    assert not system.network.training
    assert not outputs.logits.requires_grad
    assert set(terms) == {"cross-entropy", "dice"}
    torch.testing.assert_close(system.network.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(outputs.logits, system.network(data["image"]).logits)


@pytest.mark.parametrize("name", ["loss", "grad_norm", "lr", "epoch"])
def test_a_term_may_not_take_a_name_of_the_history(tiny, batch, name):
    class Named(Plain):
        def terms(self, outputs, batch):
            return {name: outputs.logits.mean()}

    forward_pass = ForwardPass(tiny().network, Named())
    with pytest.raises(ValueError, match=f"a term '{name}', .*Name it after"):
        forward_pass(batch(2))


CPU = torch.device("cpu")
SMALL, BIG = (2, 1, 16, 16), (64, 1, 512, 512)


def chosen(amp, network, shape=BIG, *, monkeypatch=None, capable=True):
    if monkeypatch:
        monkeypatch.setattr("dsnotes.training.forward_pass.has_bfloat16", lambda device: capable)
    return choose_dtype(amp, network, device=CPU, shape=shape)


def test_auto_takes_bfloat16_on_a_cpu_that_has_it_for_networks_that_are_large(tiny, monkeypatch):
    """A rule of machine and network: nothing is measured, so a busy machine decides as an idle one does."""
    net, given = tiny().network, {"monkeypatch": monkeypatch}
    assert chosen("auto", net, **given)[0] is torch.bfloat16
    assert "operations per pass" in chosen("auto", net, **given)[1]
    assert chosen("auto", net, SMALL, **given)[0] is None
    assert chosen("auto", net, capable=False, **given)[0] is None
    assert chosen(True, net, SMALL)[0] is torch.bfloat16
    assert chosen(False, net)[0] is None
    with pytest.raises(ValueError, match=r"amp='fp16' is unknown. Pass 'auto', True \(bfloat16\) or False"):
        chosen("fp16", net)


def test_pytorchs_own_conv3d_is_not_trusted_with_bfloat16_on_a_cpu(monkeypatch):
    network = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1))
    assert chosen("auto", network, (1, 1, 64, 128, 128), monkeypatch=monkeypatch)[0] is None
    with pytest.raises(ValueError, match=r"Pass amp=False, or .*dsnotes\.networks\.blocks\.Conv3d"):
        chosen(True, network)


def test_what_a_machine_can_do_is_its_own_word():
    flags = {name: getattr(torch.cpu, name)() for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")}
    assert has_bfloat16(CPU) == any(flags.values())


def test_operations_are_counted_not_guessed(tiny):
    """Width 4, depth 2, 16²: the multiply-adds of every convolution by hand, two operations each."""
    system = tiny()
    before = copy.deepcopy(system.network.state_dict())
    full, half = 16 * 16, 8 * 8
    by_hand = full * 9 * (1 * 4 + 4 * 4) + half * 9 * (4 * 8 + 8 * 8) + half * 4 * 8 * 4 + full * 9 * (8 * 4 + 4 * 4)
    by_hand += full * 4
    assert flops(system.network, (1, 1, 16, 16)) == 2 * by_hand
    torch.testing.assert_close(system.network.state_dict(), before, rtol=0, atol=0)
    assert system.network.training


@pytest.mark.parametrize(
    ("dims", "amp", "expected"),
    [(2, None, False), (2, torch.bfloat16, True), (3, None, False), (3, torch.bfloat16, True)],
)
def test_channels_lie_last_in_bfloat16(dims, amp, expected):
    network = UNet(dims=dims, width=4, depth=2)
    to_channels_last(network, "auto", amp=amp)
    kernel, form = network.encoder[0][1][0].weight, {2: torch.channels_last, 3: torch.channels_last_3d}[dims]
    assert kernel.is_contiguous(memory_format=form) == expected
    with pytest.raises(ValueError, match=r"channels_last='yes' is unknown. Pass 'auto', True or False"):
        to_channels_last(network, "yes", amp=amp)


@pytest.mark.parametrize(("channels", "kernel"), [(2, 1), (1, 3)])
@pytest.mark.parametrize("dims", [2, 3])
def test_one_input_channel_does_not_bring_the_default_format_back(dims, channels, kernel):
    """PyTorch's own `.to(memory_format=…)` does nothing here, and the first stage of a network, or a whole critic of
    1 x 1 convolutions, computes in the slower format.
    """
    convolution, form = {2: (torch.nn.Conv2d, torch.channels_last), 3: (Conv3d, torch.channels_last_3d)}[dims]
    image = torch.rand(2, channels, *(8,) * dims)
    network = torch.nn.Sequential(convolution(channels, 16, kernel), convolution(16, 4, 1))
    strides, expected = [p.stride() for p in network.parameters()], network(image)
    set_memory_format(network, channels_last=True)
    with torch.autocast("cpu", torch.bfloat16):
        inner = network[0](image)
        found = network[1](inner)
    assert inner.is_contiguous(memory_format=form)
    assert found.is_contiguous(memory_format=form)
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)
    set_memory_format(network, channels_last=False)
    assert [p.stride() for p in network.parameters()] == strides
    torch.testing.assert_close(network(image), expected, rtol=0, atol=0)


def test_a_network_of_volumes_may_hold_convolutions_of_slices():
    """CF-CNN and others read patches of slices in a volume; on a GPU they train in bfloat16."""
    network = torch.nn.ModuleDict({"slices": torch.nn.Conv2d(4, 8, 3), "volumes": torch.nn.Conv3d(4, 8, 3)})
    before = copy.deepcopy(network.state_dict())
    to_channels_last(network, "auto", amp=torch.bfloat16)
    assert network["slices"].weight.is_contiguous(memory_format=torch.channels_last)
    assert network["volumes"].weight.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


def test_the_layout_in_memory_changes_a_step_by_rounding_alone(tiny, batch):
    found = []
    for channels_last in (False, True):
        system = tiny()
        to_channels_last(system.network, channels_last, amp=None)
        found.append(PlainStep(system, system.settings)(batch(4)))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def shallow() -> System:
    """A 3-D U-Net whose coarsest maps are two slices deep, its kernels three."""
    torch.manual_seed(0)
    return System("flat", supervise(UNet(dims=3, width=16, depth=3, norm="instance"), Plain()), Plain())


def test_no_gradient_in_bfloat16_comes_from_foreign_memory():
    """What a freed tensor left behind is 1e35 here; the CPU's own kernel takes it for a gradient, where it has one."""
    for channels, kernel, depth in ((32, 3, 2), (32, 5, 2), (32, 5, 3), (32, 5, 4), (1, 3, 2), (1, 5, 3)):
        for layout in (torch.contiguous_format, torch.channels_last_3d):
            conv = Conv3d(channels, 32, kernel, padding=kernel // 2)
            set_memory_format(conv, channels_last=layout is torch.channels_last_3d)
            x = torch.randn(2, channels, depth, 4, 4).contiguous(memory_format=layout).requires_grad_()
            exact = torch.autograd.grad(conv(x).square().sum(), [x, *conv.parameters()])
            for _ in range(4):
                left_behind = [
                    torch.full((n,), 1e35) for n in (channels * 32 * kernel**3, 32 * 32 * 54, 100_000, 1_000_000)
                ]
                del left_behind
                with torch.autocast("cpu", torch.bfloat16):
                    made = conv(x)
                assert made.dtype == torch.bfloat16
                found = torch.autograd.grad(made.float().square().sum(), [x, *conv.parameters()])
                for ours, expected in zip(found, exact, strict=True):
                    assert (ours - expected).norm() < 0.02 * expected.norm()


def gradients(system, data, **how) -> list[torch.Tensor]:
    _, terms = ForwardPass(system.network, system.objective, **how)(data)
    return list(torch.autograd.grad(sum(terms.values()), list(system.network.parameters())))


def test_what_is_computed_again_is_as_exact_as_it_was():
    """The blocks are gone through a second time in backward, outside of what the forward pass stood in."""
    system, found = shallow(), []
    data = {"image": torch.randn(2, 1, 8, 16, 16), "label": torch.ones(2, 8, 16, 16, dtype=torch.long)}
    for checkpointing in (False, True):
        found.append(gradients(system, data, amp=torch.bfloat16, checkpointing=checkpointing))
    torch.testing.assert_close(*found, rtol=0, atol=0)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_weights_are_cast_once_for_all_micro_batches(tiny, batch, accumulate):
    """With N convolutions of two parameters each, 2 N casts a step in the forward passes, however many these are.

    Transposed convolutions, which compute their gradients themselves, cast theirs in every pass.
    """
    system = tiny(accumulate=accumulate)
    step = PlainStep(system, system.settings, amp=torch.bfloat16)
    convolutions = [m for m in system.network.modules() if isinstance(m, nn.Conv2d)]
    parameters, cast = {p.data_ptr() for m in convolutions for p in m.parameters()}, []

    class Casts(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten._to_copy.default and args[0].data_ptr() in parameters:
                cast.append(args[0].data_ptr())
            return func(*args, **(kwargs or {}))

    data = batch(4, accumulate=1)
    with Casts():
        step(data)
    assert len(cast) == len(set(cast)) == 2 * len(convolutions)


def test_dropout_falls_as_it_fell_where_blocks_are_computed_again(tiny, discs):
    ends = []
    for checkpointing in (False, True):
        system = tiny()
        system.network.backbone.bottleneck.append(nn.Dropout(0.5))
        history = fit(system, discs(4), epochs=2, progress=False, device="cpu", checkpointing=checkpointing)
        ends.append((history.column("loss"), list(system.network.state_dict().values())))
    torch.testing.assert_close(*ends, rtol=0, atol=0)


def test_bfloat16_is_computed_again_in_bfloat16(tiny, discs):
    ends = []
    for checkpointing in (False, True):
        system = tiny()
        fit(system, discs(4), epochs=1, amp=True, progress=False, device="cpu", checkpointing=checkpointing)
        ends.append(list(system.network.state_dict().values()))
    torch.testing.assert_close(*ends, rtol=0, atol=0)


def test_a_compiled_network_decides_for_itself(tiny, discs):
    with pytest.raises(ValueError, match=r"compile and checkpointing came together.*Pass one of the two"):
        fit(tiny(), discs(2), progress=False, device="cpu", compile=True, checkpointing=True)
    with pytest.raises(ValueError, match=r"compile='fast' is unknown\. Pass True, False or one of 'reduce-overhead'"):
        fit(tiny(), discs(2), progress=False, device="cpu", compile="fast")
