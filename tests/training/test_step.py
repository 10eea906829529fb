"""A step must be the textbook one, however it is cut into micro-batches and in whatever precision networks compute."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from dsnotes.networks.unet import UNet
from dsnotes.supervision.base import supervise
from dsnotes.supervision.plain import Plain
from dsnotes.training.batches import Draw
from dsnotes.training.precision import Terms, choose, dry, flops, in_float32, safely, speedup
from dsnotes.training.settings import Settings
from dsnotes.training.step import PlainStep, make_optimiser, micro_batches
from dsnotes.training.system import System


@dataclass(frozen=True)
class MeanLosses:
    """Two terms that are means over samples, so that the joint gradient is the mean of the parts'."""

    def heads(self, backbone):
        return {}

    def __call__(self, network, batch):
        logits, t = network(batch["image"]).logits, batch["label"].unsqueeze(1).float()
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
    terms = other.objective(other.network.train(), data)
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
    """Looks at what an objective gets, by whatever door it goes in."""

    seen: list = None

    def __call__(self, network, batch):
        outputs, features = network(batch["image"]), network.backbone(batch["image"])
        self.seen.append((outputs.logits.dtype, features.logits.dtype, *(f.dtype for f in outputs.features.values())))
        return super().__call__(network, batch)


def test_networks_compute_in_bfloat16_and_losses_get_float32(tiny, batch):
    spy = Spy(seen=[])
    system, data = tiny(spy), batch(4)
    inside = []
    system.network.backbone.bottleneck.register_forward_hook(lambda *given: inside.append(given[-1].dtype))
    lowered = PlainStep(system, system.settings, amp=torch.bfloat16)(data)
    assert inside == [torch.bfloat16] * 3
    assert set(spy.seen[0]) == {torch.float32}
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in system.network.parameters())
    exact = PlainStep(tiny(), system.settings)(data)
    torch.testing.assert_close(lowered["loss"], exact["loss"], rtol=0.02, atol=0)
    assert lowered["loss"] != exact["loss"]


def test_outside_a_step_the_network_is_untouched(tiny, batch):
    system, data = tiny(), batch(4)
    PlainStep(system, system.settings, amp=torch.bfloat16)(data)
    assert "forward" not in vars(system.network)
    assert "forward" not in vars(system.network.backbone)
    del data["label"]
    with pytest.raises(KeyError):
        Terms(system.network, system.objective, amp=torch.bfloat16)(data)
    assert "forward" not in vars(system.network), "an error inside must not leave the network changed either"


def test_float32_reaches_every_tensor_inside():
    half = torch.ones(2, dtype=torch.bfloat16)
    raised = in_float32({"a": half, "b": [half, None], "c": (half, torch.ones(1, dtype=torch.int64))})
    assert raised["a"].dtype == raised["b"][0].dtype == raised["c"][0].dtype == torch.float32
    assert raised["b"][1] is None
    assert raised["c"][1].dtype == torch.int64


@pytest.mark.parametrize("name", ["loss", "grad_norm", "lr", "epoch"])
def test_a_term_may_not_take_a_name_of_the_history(tiny, batch, name):
    class Named(Plain):
        def __call__(self, network, batch):
            return {name: network(batch["image"]).logits.mean()}

    terms = Terms(tiny().network, Named())
    with pytest.raises(ValueError, match=f"names a term '{name}', which the history keeps for itself. Name it after"):
        terms(batch(2))


CPU = torch.device("cpu")


def test_auto_takes_bfloat16_on_a_cpu_only_where_it_is_clearly_faster():
    assert choose("auto", CPU, lambda: 2.0) == (
        torch.bfloat16,
        "networks compute in bfloat16: a bfloat16 step takes 0.50 of a float32 one on this CPU",
    )
    assert choose("auto", CPU, lambda: 1.1)[0] is None
    assert choose("auto", CPU, lambda: None)[0] is None
    assert choose(True, CPU, lambda: 1 / 0)[0] is torch.bfloat16, "asked for: nothing is measured"
    assert choose(False, CPU, lambda: 1 / 0)[0] is None
    with pytest.raises(ValueError, match=r"amp='fp16' is unknown. Pass 'auto', True \(bfloat16\) or False"):
        choose("fp16", CPU, lambda: None)


def test_the_dry_steps_that_measure_leave_no_trace(tiny, batch, monkeypatch):
    system, data = tiny(), batch(4)
    before = copy.deepcopy(system.network.state_dict())
    system.network.eval()
    dry(Terms(system.network, system.objective), data, backward=True)
    torch.testing.assert_close(system.network.state_dict(), before, rtol=0, atol=0)
    assert all(p.grad is None for p in system.network.parameters())
    assert not system.network.training
    assert speedup(system, data) is None, "so small a step is not worth measuring"
    monkeypatch.setattr("dsnotes.training.precision.WORTH_MEASURING", 0)
    assert 0.05 < speedup(system, data) < 20


def test_operations_are_counted_not_guessed(tiny, batch):
    """Width 4, depth 2, 16²: the multiply-adds of every convolution by hand, two operations each."""
    system, data = tiny(), batch(1)
    full, half = 16 * 16, 8 * 8
    by_hand = full * 9 * (1 * 4 + 4 * 4) + half * 9 * (4 * 8 + 8 * 8) + half * 4 * 8 * 4 + full * 9 * (8 * 4 + 4 * 4)
    by_hand += full * 4
    assert flops(Terms(system.network, system.objective), data) == 2 * by_hand


def shallow() -> System:
    """A 3-D U-Net whose coarsest maps are two slices deep, its kernels three."""
    torch.manual_seed(0)
    return System("flat", supervise(UNet(dims=3, width=16, depth=3, norm="instance"), Plain()), Plain())


def test_no_gradient_in_bfloat16_comes_from_foreign_memory():
    """What a freed tensor left behind is 1e35 here; the CPU's own kernel takes it for a gradient, where it has one."""
    conv, x = nn.Conv3d(32, 32, 3, padding=1), torch.randn(2, 32, 2, 4, 4)
    forward = safely(conv)
    (exact,) = torch.autograd.grad(conv(x).square().sum(), conv.weight)
    for _ in range(4):
        left_behind = [torch.full((n,), 1e35) for n in (32 * 32 * 27, 32 * 32 * 54, 32 * 32 * 32, 100_000, 1_000_000)]
        del left_behind
        with torch.autocast("cpu", torch.bfloat16):
            made = forward(x)
        (found,) = torch.autograd.grad(made.float().square().sum(), conv.weight)
        assert (found - exact).norm() < 0.1 * exact.norm()


def test_what_is_computed_again_is_as_exact_as_it_was():
    """The blocks are gone through a second time in backward, when the network is no longer told to be careful."""
    system, found = shallow(), []
    data = {"image": torch.randn(2, 1, 8, 16, 16), "label": torch.ones(2, 8, 16, 16, dtype=torch.long)}
    for checkpointing in (False, True):
        terms = Terms(system.network, system.objective, amp=torch.bfloat16, checkpointing=checkpointing)
        found.append(dry(terms, data, backward=True))
    torch.testing.assert_close(*found, rtol=0, atol=0)


@pytest.mark.parametrize(("depth", "expected"), [(8, torch.float32), (16, torch.bfloat16), (4, torch.bfloat16)])
def test_only_convolutions_of_volumes_shallower_than_their_kernel_stay_in_float32(depth, expected):
    """The coarsest maps have a quarter of the depth: two slices are too few, one and four are not."""
    system, seen = shallow(), []
    system.network.backbone.bottleneck[0][0].register_forward_hook(lambda conv, given, made: seen.append(made.dtype))
    data = {"image": torch.randn(2, 1, depth, 16, 16), "label": torch.ones(2, depth, 16, 16, dtype=torch.long)}
    Terms(system.network, system.objective, amp=torch.bfloat16)(data)
    assert seen == [expected]
    assert "forward" not in vars(system.network.backbone.bottleneck[0][0])
