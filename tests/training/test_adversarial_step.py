"""The game: who moves when and by which gradient; a run stopped and gone on with; a critic that no longer plays."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from dsnotes.losses import critic_loss
from dsnotes.networks.dsnet import DSNet
from dsnotes.networks.srgan import Generator
from dsnotes.supervision.base import supervise
from dsnotes.supervision.plain import Plain
from dsnotes.supervision.soft_adversarial import SoftAdversarial
from dsnotes.training.adversarial_step import AdversarialStep, CachedTeacherAdversarialStep, CachedTeacherStep, collapse
from dsnotes.training.batches import Draw
from dsnotes.training.fit import fit
from dsnotes.training.history import History
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

QUIET = {"progress": False, "device": "cpu", "amp": False}
GAME = SoftAdversarial(critic_width=4)


@pytest.fixture
def soft_discs(discs):
    """Discs with a soft mask: the label, smoothed."""

    def make(n, **how):
        cases = []
        for case in discs(n, **how):
            label = torch.from_numpy(case.label)[None, None].float()
            soft = nn.functional.avg_pool2d(label, 3, 1, 1)[0, 0].numpy()
            cases.append(replace(case, extras={"soft": soft}))
        return cases

    return make


@pytest.fixture
def player(tiny):
    def make(objective=GAME, seed=0, **settings):
        return replace(tiny(objective, seed=seed, **settings), make_step=AdversarialStep)

    return make


@pytest.fixture
def batch(soft_discs):
    def make(samples):
        return Draw(soft_discs(8), Settings(batch=samples, patch=(16, 16)), 2, None, 0, 0, torch.device("cpu"))(1, 0)[0]

    return make


def weights(module):
    return [p.detach().clone() for p in module.parameters()]


def test_one_step_is_the_networks_and_then_the_critics(player, batch):
    data, how = batch(4), {"optimiser": "sgd", "lr": 0.1, "clip": 0.1}
    system, other = player(**how), player(**how)
    step = system.make_step(system, system.settings)
    net, judge = other.network.train(), copy.deepcopy(step.critic)
    returned = step(data)

    first, second = (torch.optim.SGD(part.parameters(), lr=0.1, momentum=0.9) for part in (net.backbone, judge))
    outputs = net(data["image"])
    y = outputs.logits.sigmoid()
    b = {**data}
    fake = torch.cat([b["image"], y], 1)
    inter = (y * b["label"][:, None]).sum((1, 2, 3))
    dice = (1 - (2 * inter + 1e-5) / (y.sum((1, 2, 3)) + b["label"].sum((1, 2)) + 1e-5)).mean()
    loss = 0.5 * dice + 100 * (y - b["soft"]).abs().mean() - judge(fake).sigmoid().log().mean()
    loss.backward()
    nn.utils.clip_grad_norm_(net.backbone.parameters(), 0.1)
    first.step()
    judge.zero_grad()
    real, fake = judge(torch.cat([b["image"], b["soft"]], 1)), judge(fake.detach())
    critic_loss(real, fake).backward()
    assert nn.utils.clip_grad_norm_(judge.parameters(), 0.1) > 0.1, "the example must clip"
    second.step()

    torch.testing.assert_close(weights(system.network), weights(other.network), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weights(step.critic), weights(judge), rtol=1e-4, atol=1e-5)
    assert list(returned) == ["loss", "dice", "soft", "adversarial", "grad_norm", "critic", "score real", "score fake"]
    torch.testing.assert_close(returned["loss"], loss.detach(), rtol=1e-4, atol=0)
    torch.testing.assert_close(returned["score real"], real.sigmoid().mean().detach())
    torch.testing.assert_close(returned["score fake"], fake.sigmoid().mean().detach())
    assert not any(value.requires_grad for value in returned.values())


def test_each_player_moves_only_its_own_weights(player, batch):
    for still, moved in (("network", "critic"), ("critic", "network")):
        system = player()
        step = system.make_step(system, system.settings)
        for group in step.optimisers[still].param_groups:
            group["lr"] = 0.0
        parts = {"network": system.network, "critic": step.critic}
        before = {name: weights(part) for name, part in parts.items()}
        step(batch(4))
        torch.testing.assert_close(weights(parts[still]), before[still], rtol=0, atol=0)
        assert any(not torch.equal(a, b) for a, b in zip(weights(parts[moved]), before[moved], strict=True))


def test_the_critic_learns_to_tell_true_masks_from_constant_ones(player, batch):
    system, data = player(SoftAdversarial(critic_width=16)), batch(8)
    step = system.make_step(system, system.settings)
    for group in step.optimisers["network"].param_groups:
        group["lr"] = 0.0
    nn.init.zeros_(system.network.backbone.output.weight)  # 1/2 everywhere
    seen = [step(data) for _ in range(100)]
    assert seen[-1]["critic"] < 0.5 * seen[0]["critic"]
    assert seen[-1]["score real"] > 0.8 > 0.2 > seen[-1]["score fake"]


def test_micro_batches_are_shown_to_the_critic_with_their_shares(player, batch):
    """Without batch norm's own means of each part, they add up to the joint batch."""
    data, found = batch(4), []
    for accumulate in (1, 2, 3):
        system = player(SoftAdversarial(dice=0, critic_width=4), norm="instance", optimiser="sgd", clip=None)
        torch.manual_seed(1)
        step = AdversarialStep(system, replace(system.settings, accumulate=accumulate))
        step.critic[3] = nn.Identity()
        found.append((step(data), weights(system.network)))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


@pytest.mark.parametrize(("critic_lr", "expected"), [(None, 0.004), (0.001, 0.0004)])
def test_one_schedule_moves_both_rates(player, critic_lr, expected):
    system = player(lr=0.01)
    step = AdversarialStep(system, system.settings, critic_lr=critic_lr)
    step.set_lr(0.004)
    assert [step.optimisers[name].param_groups[0]["lr"] for name in ("network", "critic")] == pytest.approx(
        [0.004, expected]
    )


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_game_that_was_stopped_goes_on_without_a_changed_bit(player, soft_discs, tmp_path, stop_after):
    how = {"epochs": 4, "schedule": "poly", "augment": True}
    straight, first, again = player(**how), player(**how), player(seed=9, **how)
    torch.manual_seed(5)
    whole = fit(straight, soft_discs(6), soft_discs(3, seed=1), **QUIET)
    torch.manual_seed(5)  # the critic's first weights
    fit(first, soft_discs(6), soft_discs(3, seed=1), out=tmp_path, on_epoch=lambda h: len(h) == stop_after, **QUIET)
    history = fit(again, soft_discs(6), soft_discs(3, seed=1), out=tmp_path, **QUIET)
    torch.testing.assert_close(again.network.state_dict(), straight.network.state_dict(), rtol=0, atol=0)
    drop = ("seconds", "samples_per_second")
    assert [{k: v for k, v in r.items() if k not in drop} for r in history] == [
        {k: v for k, v in r.items() if k not in drop} for r in whole
    ]
    assert {"critic", "score real", "score fake", "val_loss_adversarial"} <= set(history.columns)


def test_both_optimisers_are_in_the_checkpoint(player, soft_discs, tmp_path):
    fit(player(), soft_discs(4), out=tmp_path, epochs=1, **QUIET)
    found = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert set(found["optimisers"]) == {"network", "critic"}
    assert (
        found["step"]["critic"].keys()
        == SoftAdversarial(critic_width=4).critic(player().network.backbone).state_dict().keys()
    )
    assert not any("critic" in name for name in found["network"])


def test_without_a_critic_there_is_no_game(tiny):
    system = tiny(Plain())
    with pytest.raises(TypeError, match=r"Plain has none. Use an objective such as SoftAdversarial"):
        AdversarialStep(system, system.settings)


def record(real, fake):
    return {"epoch": 1, "loss": 1.0, "seconds": 1.0, "score real": real, "score fake": fake}


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([(0.99, 0.01)] * 3, "the critic has won: for 3 epochs"),
        ([(0.5, 0.5)] * 4, "the critic is blind: for 3 epochs"),
        ([(0.99, 0.01)] * 2, None),
        ([(0.99, 0.01), (0.9, 0.1), (0.99, 0.01)], None),
        ([(0.53, 0.47)] * 5, None),
    ],
)
def test_a_critic_that_no_longer_plays_is_named(scores, said):
    found = collapse(History([record(*pair) for pair in scores]))
    assert (found is None) if said is None else found.startswith(said)


def test_a_won_game_is_warned_of_once_also_over_two_sittings(player, soft_discs, tmp_path):
    """A network that never moves: its critic wins."""

    class Still(AdversarialStep):
        def set_lr(self, lr):
            super().set_lr(0.05)
            for group in self.optimisers["network"].param_groups:
                group["lr"] = 0.0

    how = {"epochs": 12, "iterations": 20}
    system = replace(player(**how), make_step=Still)
    with pytest.warns(
        RuntimeWarning, match=r"the critic has won.*Slow it down with critic_lr= \(a tenth of lr, say\)"
    ) as seen:
        history = fit(system, soft_discs(6), out=tmp_path, on_epoch=lambda h: bool(h.notes[1:]), **QUIET)
    assert len(seen) == 1
    assert len(history) < 12, "the example must reach the collapse"
    again = fit(system, soft_discs(6), out=tmp_path, epochs=len(history) + 2, **QUIET)
    assert [note[:19] for note in again.notes].count("the critic has won:") == 1


def taught(step, objective=GAME, **settings):
    torch.manual_seed(0)
    generator = Generator(width=4, blocks=1, scale=2)
    nn.init.normal_(generator.output.weight, std=0.1)
    network = supervise(DSNet(width=2, generator=generator, factors=(1, 2)), objective)
    settings = Settings(**{"batch": 2, "epochs": 3, "lr": 1e-2, "patch": (16, 16), **settings})
    return System("taught", network, objective, settings, make_step=step)


@pytest.mark.parametrize("step", [CachedTeacherAdversarialStep, CachedTeacherStep])
def test_the_teacher_is_asked_once_an_image_and_nothing_else_changes(step, soft_discs):
    objective = GAME if step is CachedTeacherAdversarialStep else SoftAdversarial(adversarial=0)
    found = {}
    for memory in (0, 2**20):
        system = taught(partial(step, memory=memory), objective, batch=1, epochs=6)
        asked = listen(system)
        fit(system, soft_discs(5), soft_discs(3, seed=1), **QUIET)
        found[memory] = (sum(asked), copy.deepcopy(system.network.state_dict()))
        assert system.network.backbone.teacher.cache is None, "it is lent while terms are computed"
    assert (found[0][0], found[2**20][0]) == (6 * (5 + 3), 5 + 3)
    torch.testing.assert_close(found[0][1], found[2**20][1], rtol=0, atol=0)


def test_augmented_images_are_not_remembered_but_those_of_validation_are(soft_discs):
    system = taught(CachedTeacherStep, SoftAdversarial(adversarial=0), batch=1, epochs=4, augment=True)
    asked = listen(system)
    fit(system, soft_discs(5), soft_discs(3, seed=1), **QUIET)
    assert sum(asked) == 4 * 5 + 3


def test_dsnet_that_was_stopped_goes_on_without_a_changed_bit(soft_discs, tmp_path):
    """Teacher, memory, fusion, critic and both optimisers together."""
    straight, first, again = (taught(CachedTeacherAdversarialStep, epochs=4, schedule="poly") for _ in range(3))
    nn.init.ones_(again.network.backbone.output.weight)  # other weights to begin with: the checkpoint's count
    torch.manual_seed(5)
    whole = fit(straight, soft_discs(5), **QUIET)
    torch.manual_seed(5)  # the critic's first weights
    fit(first, soft_discs(5), out=tmp_path, on_epoch=lambda h: len(h) == 2, **QUIET)
    history = fit(again, soft_discs(5), out=tmp_path, **QUIET)
    torch.testing.assert_close(again.network.state_dict(), straight.network.state_dict(), rtol=0, atol=0)
    assert [r["loss"] for r in history] == [r["loss"] for r in whole]


def listen(system) -> list[int]:
    """How many images the teacher computes at a time, from now on."""
    asked = []
    system.network.backbone.teacher.generator.register_forward_hook(lambda m, given, out: asked.append(len(given[0])))
    return asked


def test_an_error_does_not_leave_the_memory_lent(soft_discs):
    system = taught(CachedTeacherStep, SoftAdversarial(adversarial=0))
    step = system.make_step(system, system.settings)
    with pytest.raises(ValueError, match="extras=.*'soft'"):
        step({"image": torch.zeros(2, 1, 16, 16), "label": torch.zeros(2, 16, 16, dtype=torch.long)})
    assert system.network.backbone.teacher.cache is None


def test_the_networks_term_leaves_the_critic_alone_and_the_critics_own_loss_does_not(player, batch):
    """The critic's weight gradients of the network's term are never used, so they are not computed."""
    system = player()
    step = system.make_step(system, system.settings)
    outputs, terms = step.forward_pass(batch(4))
    terms["adversarial"].backward()
    assert all(p.grad is None and p.requires_grad for p in step.critic.parameters())
    assert any(p.grad is not None and p.grad.any() for p in system.network.parameters())


@pytest.mark.parametrize("amp", [None, torch.bfloat16])
def test_the_critic_computes_in_the_steps_dtype_and_its_losses_in_float32(player, batch, amp):
    system, seen = player(), []
    step = system.make_step(system, system.settings, amp=amp)
    step.critic[0].register_forward_hook(lambda conv, given, made: seen.append(made.dtype))
    record = step(batch(4))
    assert set(seen) == {amp or torch.float32}
    assert {value.dtype for value in record.values()} == {torch.float32}
